import { createHmac } from 'node:crypto'
import { printableName } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import {
  DEFAULT_KEY_MS,
  DEFAULT_OVERLAP_MS,
  MAX_DEAD_KEYS,
  MAX_KEY_MS,
  MAX_KEY_SCOPES,
  MAX_KEYS,
  MAX_OVERLAP_MS,
  MAX_SCOPE_LENGTH,
  MIN_KEY_MS
} from './constants.ts'
import { newId, newKey } from './format.ts'
import { checkPeer, createHeld } from './held.ts'
import type { ApiKeyInfo, ApiKeyInit, ApiKeys, ApiKeysInit } from './index.ts'
import { infoOf, type KeyRow, readRow, stateOf } from './rows.ts'
import { createVerifier, hashesAt } from './verifier.ts'

/** Node's timers take no more than 2^31 − 1 ms. */
const MAX_TIMER_MS = 86_400_000

export function createApiKeys(init: ApiKeysInit): ApiKeys {
  const { store, vault, onRevoke, onHeldChange = () => {}, clock = Date.now } = init
  const pepper = vault.derive('api-keys')
  const hash = (key: string): Buffer => createHmac('sha256', pepper).update(`apikey-v1\0${key}`).digest()
  const rowOf = (id: string): KeyRow | undefined => {
    const row = store.get('SELECT * FROM api_key WHERE id = ?', [id])
    return row && readRow(row)
  }
  const existing = (id: string): KeyRow => {
    const row = rowOf(id)
    if (row === undefined) throw new MeshError('NOT_FOUND', `there is no API key ${id}`, { hint: HINT })
    return row
  }
  const { verifier, hashOf } = createVerifier({ store, clock, hash, rowOf })

  /** Ends the sessions that live by a secret that is no longer accepted. */
  const endOld = (id: string): void => {
    const row = rowOf(id)
    const good = row === undefined || row.revoked ? [] : hashesAt(row, clock())
    onRevoke(id, (credential) => {
      const used = hashOf(credential)
      return used !== undefined && credential.subject === id && !good.some((each) => used.equals(each))
    })
  }
  // Sessions don't outlive the process, so neither need the alarms
  const endOldAt = createAlarms(clock, endOld)

  return {
    verifier,
    async create(wanted) {
      const key = newKey(newId())
      await insert(init, { ...checked(wanted), key, hash: hash(key), now: clock() })
      return { key, info: infoOf(existing(idIn(key)), clock()) }
    },
    list() {
      const now = clock()
      return store.all('SELECT * FROM api_key ORDER BY created_at DESC, id').map((row) => infoOf(readRow(row), now))
    },
    async rotate(id, { overlapMs = DEFAULT_OVERLAP_MS } = {}) {
      checkBetween('overlap', overlapMs, 0, MAX_OVERLAP_MS)
      existing(id)
      const [key, now] = [newKey(id), clock()]
      if (!(await replaceSecret(init, { id, hash: hash(key), now, overlapMs }))) {
        throw new MeshError('INVALID_ARGUMENT', `the key ${id} is ${stateOf(existing(id), clock())}`, {
          hint: 'make a new one with pryx-mesh keys create'
        })
      }
      endOld(id)
      if (overlapMs > 0) endOldAt(id, now + overlapMs)
      return { key, info: infoOf(existing(id), clock()) }
    },
    async revoke(id) {
      existing(id)
      const sql = 'UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL'
      await store.write([{ sql, params: [clock(), id] }])
      onRevoke(id, ({ method, subject }) => method === 'api-key' && subject === id)
      return infoOf(existing(id), clock())
    },
    ...createHeld({ store, vault, clock, onChange: onHeldChange })
  }
}

const HINT = 'pryx-mesh keys list shows the ids'

interface Insert {
  readonly name: string
  readonly scopes: readonly string[]
  readonly forMs: number
  readonly pin: ApiKeyInfo['pin']
  readonly peer: string | undefined
  readonly key: string
  readonly hash: Buffer
  readonly now: number
}

/** Dead keys make room, live ones are counted, in one transaction. */
async function insert({ store }: ApiKeysInit, row: Insert): Promise<void> {
  const { name, scopes, forMs, pin, peer = null, key, hash, now } = row
  const [, inserted] = await store.write([
    {
      sql: `DELETE FROM api_key WHERE id IN (SELECT id FROM api_key WHERE revoked_at IS NOT NULL OR expires_at <= ?
            ORDER BY created_at DESC, id LIMIT -1 OFFSET ?)`,
      params: [now, MAX_DEAD_KEYS]
    },
    {
      sql: `INSERT INTO api_key (id, name, scopes, created_at, expires_at, pin, peer, hash) SELECT ?, ?, ?, ?, ?, ?, ?, ?
            WHERE (SELECT count(*) FROM api_key WHERE revoked_at IS NULL AND expires_at > ?) < ?`,
      params: [idIn(key), name, JSON.stringify(scopes), now, now + forMs, pin, peer, hash, now, MAX_KEYS]
    }
  ])
  if (inserted === 1) return
  throw new MeshError('BUSY', `there are ${MAX_KEYS} API keys already`, { hint: 'revoke those that nobody needs' })
}

/** @returns false when the key is revoked or expired */
async function replaceSecret(
  { store }: ApiKeysInit,
  { id, hash, now, overlapMs }: Pick<Insert, 'hash' | 'now'> & { readonly id: string; readonly overlapMs: number }
): Promise<boolean> {
  const sql = `UPDATE api_key SET old_hash = hash, overlap_until = ?, hash = ?
               WHERE id = ? AND revoked_at IS NULL AND expires_at > ?`
  const [changed] = await store.write([{ sql, params: [now + overlapMs, hash, id, now] }])
  return changed === 1
}

function idIn(key: string): string {
  return key.split('_')[2] ?? ''
}

/** @throws {MeshError} INVALID_ARGUMENT */
function checked(init: ApiKeyInit): Pick<Insert, 'name' | 'scopes' | 'forMs' | 'pin' | 'peer'> {
  const { name, scopes = [], forMs = DEFAULT_KEY_MS, pin = 'first' } = init
  if (printableName(name, '') !== name || name === '') {
    throw new MeshError('INVALID_ARGUMENT', 'a name has 1 to 64 printable characters')
  }
  const isScope = (scope: string): boolean =>
    /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope) && scope.length <= MAX_SCOPE_LENGTH
  if (scopes.length > MAX_KEY_SCOPES || !scopes.every(isScope)) {
    throw new MeshError(
      'INVALID_ARGUMENT',
      `at most ${MAX_KEY_SCOPES} scopes, each of up to ${MAX_SCOPE_LENGTH} ASCII characters without spaces, quotes, backslashes`
    )
  }
  checkBetween('life', forMs, MIN_KEY_MS, MAX_KEY_MS)
  const common = { name, scopes: [...new Set(scopes)], forMs }
  if (pin === 'first' || pin === 'off') return { ...common, pin, peer: undefined }
  checkPeer(pin)
  return { ...common, pin: 'given', peer: pin }
}

function checkBetween(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return
  throw new MeshError('INVALID_ARGUMENT', `the ${what} is a whole number of milliseconds from ${min} to ${max}`)
}

/** Rings once for each id; a later alarm of the same id replaces the one before. They keep no process alive. */
function createAlarms(clock: () => number, ring: (id: string) => void): (id: string, at: number) => void {
  const timers = new Map<string, NodeJS.Timeout>()
  const set = (id: string, at: number): void => {
    clearTimeout(timers.get(id))
    const leftMs = at - clock()
    if (leftMs <= 0) {
      timers.delete(id)
      ring(id)
      return
    }
    timers.set(id, setTimeout(() => set(id, at), Math.min(leftMs, MAX_TIMER_MS)).unref())
  }
  return set
}
