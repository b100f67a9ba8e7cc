import { TRUST_LEVELS, type TrustLevel } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { MAX_ENDED_PAIRS } from './constants.ts'
import type { Pair, PairingInit } from './index.ts'
import { type PairRow, readPair } from './rows.ts'

/** The pairs, in memory as they are on disk. */
export interface Ledger {
  readonly live: ReadonlyMap<string, PairRow>
  byInvite(invite: string): PairRow | undefined
  /** Whether this peer's pair by this invite has been ended here. */
  wasEnded(peer: string, invite: string): boolean
  /** Takes a pair that has been written. */
  admit(row: PairRow): void
  /** Gives the peer its level and name, unless that is done. */
  settle(row: PairRow): Promise<void>
  /** Undoes the pair. @throws {MeshError} NOT_FOUND, IO */
  end(peer: string): Promise<void>
  /** The pair's root secret, opened once. */
  root(row: PairRow): Promise<Buffer>
}

type LedgerInit = Pick<PairingInit, 'store' | 'vault' | 'trust' | 'emit'> & { readonly clock: () => number }

export function createLedger({ store, vault, trust, emit, clock }: LedgerInit): Ledger {
  const live = new Map<string, PairRow>()
  const roots = new WeakMap<PairRow, Promise<Buffer>>()
  for (const row of store.all('SELECT * FROM pair WHERE ended_at IS NULL')) {
    const pair = readPair(row)
    live.set(pair.peer, pair)
  }

  const isLive = ({ peer, invite }: PairRow): boolean => live.get(peer)?.invite === invite

  return {
    live,
    byInvite: (invite) => [...live.values()].find((pair) => pair.invite === invite),
    wasEnded: (peer, invite) =>
      store.get('SELECT 1 FROM pair WHERE peer = ? AND invite = ? AND ended_at IS NOT NULL', [peer, invite]) !==
      undefined,
    admit: (row) => void live.set(row.peer, row),
    async settle(row) {
      if (row.settled) return
      await setStanding(trust, row)
      const { peer, invite, name } = row
      await store.write([{ sql: 'UPDATE pair SET settled = 1 WHERE peer = ? AND invite = ?', params: [peer, invite] }])
      if (isLive(row)) {
        const settled = { ...row, settled: true }
        const root = roots.get(row)
        if (root !== undefined) roots.set(settled, root)
        live.set(peer, settled)
      }
      emit('peer:paired', { peer, name, level: trust.of(peer).level })
    },
    async end(peer) {
      const row = live.get(peer)
      if (row === undefined)
        throw new MeshError('NOT_FOUND', `there is no pair with ${peer.slice(0, 80)}`, {
          hint: 'pryx-mesh pairs lists them'
        })
      // First the level: what fails after it leaves less, not more, than was asked for
      const { level, alias } = trust.of(peer)
      await trust.set(peer, {
        ...(level === 'blocked' ? {} : { level: 'unknown' }),
        ...(alias === row.name ? { alias: '' } : {}),
        reason: 'unpaired'
      })
      await store.write([
        { sql: "UPDATE pair SET ended_at = ?, sealed = '', statement = NULL WHERE peer = ?", params: [clock(), peer] },
        {
          sql: `DELETE FROM pair WHERE ended_at IS NOT NULL AND peer NOT IN
                  (SELECT peer FROM pair WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?)`,
          params: [MAX_ENDED_PAIRS]
        }
      ])
      live.delete(peer)
    },
    root(row) {
      const known = roots.get(row)
      if (known !== undefined) return known
      const opening = vault.open(row.sealed).then((text) => Buffer.from(text, 'base64url'))
      roots.set(row, opening)
      return opening
    }
  }
}

/** What may be shown of a pair. */
export function describePair(row: PairRow, trust: Pick<PairingInit['trust'], 'of'>, keyId: string): Pair {
  const { peer, name, pairedAt, fingerprint } = row
  const { level, alias } = trust.of(peer)
  return {
    peer,
    name,
    ...(alias === undefined ? {} : { alias }),
    level,
    pairedAt: new Date(pairedAt).toISOString(),
    fingerprint,
    keyId
  }
}

/** Never lowers a level, and never lets a blocked peer in again. */
async function setStanding(trust: PairingInit['trust'], { peer, level, name }: PairRow): Promise<void> {
  const before = trust.of(peer)
  const raised = before.level !== 'blocked' && rank(level) >= rank(before.level) ? { level } : {}
  const named = before.alias === undefined && trust.named(name) === undefined ? { alias: name } : {}
  const reason = 'paired by an invite'
  try {
    await trust.set(peer, { ...raised, ...named, reason })
  } catch (err) {
    // The name was taken meanwhile, or can't be an alias
    if (!(err instanceof MeshError) || (err.code !== 'ALREADY_EXISTS' && err.code !== 'INVALID_ARGUMENT')) throw err
    await trust.set(peer, { ...raised, reason })
  }
}

function rank(level: TrustLevel): number {
  return TRUST_LEVELS.indexOf(level)
}
