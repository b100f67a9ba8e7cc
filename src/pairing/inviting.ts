import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { refused } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { fingerprintOf } from '../identity/index.ts'
import type { Endpoint } from '../rpc/index.ts'
import {
  DEFAULT_INVITE_MS,
  KEEP_INVITE_MS,
  MAX_BAD_PROOFS,
  MAX_COUNTED_PEERS,
  MAX_INVITE_ADDRESSES,
  MAX_INVITE_MS,
  MAX_INVITES,
  MAX_PAIRS,
  MAX_REDEEMS,
  MIN_INVITE_MS,
  PAIR,
  REDEEM_WINDOW_MS
} from './constants.ts'
import type { Invite, InviteInit, PairingInit } from './index.ts'
import type { Ledger } from './ledger.ts'
import { answerMac, inviteMac, isSame, rootOf } from './macs.ts'
import { type RedeemRequest, type RedeemTerms, redeemAnswer, redeemRequest } from './messages.ts'
import { type InviteRow, type PairRow, readInvite, savePair } from './rows.ts'
import { signStatement } from './statements.ts'
import { writeToken } from './token.ts'

export interface PairingContext extends Pick<PairingInit, 'identity' | 'store' | 'vault' | 'network' | 'rpc' | 'name'> {
  readonly ledger: Ledger
  readonly clock: () => number
}

/** Makes an invite: it is on disk when this resolves. */
export async function makeInvite(context: PairingContext, init: InviteInit): Promise<Invite> {
  const { identity, store, vault, network, clock } = context
  const { forMs = DEFAULT_INVITE_MS, level = 'known' } = init
  if (!(forMs >= MIN_INVITE_MS && forMs <= MAX_INVITE_MS))
    throw new MeshError('INVALID_ARGUMENT', 'an invite is good for 1 second to 7 days')
  if (!['known', 'trusted', 'owner'].includes(level))
    throw new MeshError('INVALID_ARGUMENT', 'an invite makes a peer known, trusted or owner')
  const id = randomBytes(8).toString('base64url')
  const secret = randomBytes(16)
  const now = clock()
  const expiresAt = now + Math.ceil(forMs)
  const [, added] = await store.write([
    { sql: 'DELETE FROM invite WHERE expires_at < ?', params: [now - KEEP_INVITE_MS] },
    {
      sql: `INSERT INTO invite (id, sealed, level, expires_at) SELECT ?, ?, ?, ?
            WHERE (SELECT count(*) FROM invite WHERE redeemed_by IS NULL AND failures < ? AND expires_at > ?) < ?`,
      params: [id, await seal(vault, secret), level, expiresAt, MAX_BAD_PROOFS, now, MAX_INVITES]
    }
  ])
  if (added === 0) throw new MeshError('BUSY', `${MAX_INVITES} invites wait to be redeemed already`)
  const token = writeToken({
    v: 1,
    peer: identity.id,
    addresses: addressesFor(network.status().addresses),
    id,
    secret: secret.toString('base64url'),
    exp: Math.floor(expiresAt / 1_000),
    level
  })
  return { token, expiresAt: new Date(expiresAt).toISOString(), fingerprint: fingerprintFor(identity.id, id, secret) }
}

/** What two people compare: that both have the same invite of the same node. */
export function fingerprintFor(inviter: string, id: string, secret: Buffer): string {
  return fingerprintOf(inviter, id, secret.toString('base64url'))
}

export function seal(vault: PairingInit['vault'], secret: Buffer): Promise<string> {
  return vault.seal(secret.toString('base64url'))
}

/** Serves `pair/1.0.0`. */
export async function createRedeeming(context: PairingContext): Promise<Endpoint> {
  const { vault, ledger, store, identity, name, clock } = context
  const count = createCounter(clock)
  // An unknown id costs the same as a known one
  const decoy = await seal(vault, randomBytes(16))

  const redeem = async (invitee: string, request: RedeemRequest) => {
    const redemption = { inviter: identity.id, invitee, nonce: request.nonce }
    const invite = inviteOf(store, request.invite)
    const secret = Buffer.from(await vault.open(invite?.sealed ?? decoy), 'base64url')
    const isProven = isSame(request.mac, inviteMac(secret, redemption))
    if (invite === undefined || !isProven) {
      if (invite !== undefined) await noteFailure(store, invite.id)
      // The same to whoever has no invite, whatever is wrong
      throw refused('unknown', 'there is no such invite')
    }
    const pair = await pairBy(context, { invite, secret, invitee, name: request.name })
    await ledger.settle(pair)
    const statement = invite.level === 'owner' ? await signStatement(identity, invitee, pair.pairedAt) : undefined
    const terms: RedeemTerms = {
      level: invite.level,
      name,
      pairedAt: new Date(pair.pairedAt).toISOString(),
      ...(statement === undefined ? {} : { statement })
    }
    return redeemAnswer.parse({ ...terms, mac: answerMac(secret, redemption, terms) })
  }

  return {
    protocol: PAIR,
    handle(body, { caller: { peer } }) {
      count(peer)
      const { success, data } = redeemRequest.safeParse(body)
      if (!success) throw new MeshError('INVALID_MESSAGE', 'not a request to redeem an invite')
      return redeem(peer, data)
    }
  }
}

interface Redeeming {
  readonly invite: InviteRow
  readonly secret: Buffer
  readonly invitee: string
  readonly name: string
}

/** Burns the invite and writes the pair, both or neither; or finds the pair that it has made with the same peer. */
async function pairBy(context: PairingContext, { invite, secret, invitee, name }: Redeeming): Promise<PairRow> {
  const { store, vault, ledger, identity, clock } = context
  if (ledger.live.size >= MAX_PAIRS && !ledger.live.has(invitee))
    throw new MeshError('BUSY', 'the node has as many pairs as it takes')
  const attempt = randomBytes(16).toString('base64url')
  const now = clock()
  const pair: PairRow = {
    peer: invitee,
    invite: invite.id,
    name,
    level: invite.level,
    pairedAt: now,
    fingerprint: fingerprintFor(identity.id, invite.id, secret),
    sealed: await seal(vault, rootOf(secret, identity.id, invitee)),
    statement: undefined,
    settled: false
  }
  const [burned = 0] = await store.write([
    {
      sql: `UPDATE invite SET redeemed_by = ?1, attempt = ?2
            WHERE id = ?3 AND redeemed_by IS NULL AND failures < ?4 AND expires_at > ?5`,
      params: [invitee, attempt, invite.id, MAX_BAD_PROOFS, now]
    },
    savePair(pair, attempt)
  ])
  if (burned === 1) {
    ledger.admit(pair)
    return pair
  }
  return pairBefore(context, invite.id, invitee)
}

/**
 * The answer got lost, and the invitee asks again; or the invite isn't good. Why not is told to who has its secret.
 *
 * @throws {MeshError} UNAUTHENTICATED
 */
function pairBefore({ store, ledger, clock }: PairingContext, id: string, invitee: string): PairRow {
  const invite = inviteOf(store, id)
  if (invite === undefined || invite.expiresAt <= clock()) throw refused('expired', 'the invite has expired')
  if (invite.redeemedBy === undefined) throw refused('revoked', 'the invite was burned by wrong guesses')
  if (invite.redeemedBy !== invitee) throw refused('replayed', 'the invite has been used by another peer')
  const pair = ledger.live.get(invitee)
  if (pair?.invite === id) return pair
  throw refused('revoked', 'the pair that the invite made has been ended')
}

function inviteOf(store: PairingInit['store'], id: string): InviteRow | undefined {
  const row = store.get('SELECT * FROM invite WHERE id = ?', [id])
  return row && readInvite(row)
}

async function noteFailure(store: PairingInit['store'], id: string): Promise<void> {
  await store.write([
    { sql: 'UPDATE invite SET failures = failures + 1 WHERE id = ? AND redeemed_by IS NULL', params: [id] }
  ])
}

/** Those that others can reach go first; the peer's own id is said once in the token. */
function addressesFor(addresses: readonly string[]): string[] {
  const isLoopback = (address: string): boolean => /^\/(ip4\/127\.|ip6\/::1\/)/.test(address)
  const plain = addresses.map((address) => address.replace(/\/p2p\/[^/]+$/, ''))
  const sorted = [...plain.filter((each) => !isLoopback(each)), ...plain.filter(isLoopback)]
  return sorted.slice(0, MAX_INVITE_ADDRESSES)
}

function createCounter(clock: () => number): (peer: string) => void {
  const counts = new LRUCache<string, { since: number; count: number }>({ max: MAX_COUNTED_PEERS })
  return (peer) => {
    const now = clock()
    const known = counts.get(peer)
    const current = known !== undefined && now - known.since < REDEEM_WINDOW_MS ? known : { since: now, count: 0 }
    if (current.count >= MAX_REDEEMS)
      throw new MeshError('BUSY', 'too many attempts to pair', { hint: 'wait a minute' })
    current.count += 1
    counts.set(peer, current)
  }
}
