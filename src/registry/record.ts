import { MeshError } from '../errors.ts'
import { digest, keyFromDid, peerIdFromKey, verifyJws } from '../wire/index.ts'
import { MAX_CLOCK_SKEW_MS, MAX_RECORD_BYTES, MAX_RECORD_LIFETIME_MS, RECORD_TYPE } from './constants.ts'
import { type AgentRecord, agentRecord, type SignedRecord } from './messages.ts'
import { isVisibleSchema } from './text.ts'

export interface ReadRecordOptions {
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * Reads a record that came from anywhere, and checks everything that can be told from itself: the signature is its
 * owner's, it is current, whole and says nothing that its owner may not say. Whether it is a rollback, only who knows
 * an earlier one can tell; its JSON Schemas are judged when a capability is called.
 *
 * @throws {MeshError} INVALID_RECORD with the reason, one clause
 */
export async function readRecord(jws: string, options: ReadRecordOptions): Promise<SignedRecord> {
  try {
    const { did, payload } = await verifyJws(jws, { type: RECORD_TYPE, maxBytes: MAX_RECORD_BYTES })
    const record = parse(payload)
    judge(record, did, options.now)
    judgeCapabilities(record, payload)
    return { jws, record }
  } catch (err) {
    if (err instanceof MeshError) throw new MeshError('INVALID_RECORD', err.message, { cause: err })
    throw err
  }
}

function parse(payload: unknown): AgentRecord {
  const { success, data, error } = agentRecord.safeParse(payload)
  if (success) return data
  const [issue] = error.issues
  throw refused(`${issue?.path.join('.') || 'the payload'}: ${issue?.message}`, error)
}

function judge(record: AgentRecord, did: string, now: number): void {
  const [peer, name] = record.id.split('/')
  if (peer !== peerIdFromKey(keyFromDid(did))) throw refused('it is not signed by the node that its id names')
  if (name !== record.name) throw refused('its name is not that of its id')
  const issuedAt = Date.parse(record.issuedAt)
  const expiresAt = Date.parse(record.expiresAt)
  if (issuedAt > now + MAX_CLOCK_SKEW_MS) throw refused('it was issued in the future')
  if (expiresAt <= now) throw refused('it has expired')
  if (expiresAt <= issuedAt) throw refused('it expires before it was issued')
  if (expiresAt - issuedAt > MAX_RECORD_LIFETIME_MS) throw refused('it lives longer than 24 hours')
}

function judgeCapabilities(record: AgentRecord, payload: unknown): void {
  // The digest covers members of later versions too, which the parsed record leaves out; the schema has passed.
  const { capabilities } = payload as { capabilities: Array<Record<string, unknown>> }
  const seen = new Set<string>()
  for (const [at, capability] of record.capabilities.entries()) {
    const key = `${capability.kind} ${capability.name}`
    if (seen.has(key)) throw refused(`it has ${key} twice`)
    seen.add(key)
    if (capabilityDigest(capabilities[at] ?? {}) !== capability.digest)
      throw refused(`the digest of ${key} is not right`)
    for (const schema of [capability.input, capability.output]) {
      if (schema !== undefined && !isVisibleSchema(schema)) throw refused(`a schema of ${key} has hidden characters`)
    }
  }
}

/** base64url SHA-256 over the canonical JSON of a capability without its `digest`. */
export function capabilityDigest({ digest: _digest, ...capability }: Readonly<Record<string, unknown>>): string {
  return digest(capability)
}

function refused(reason: string, cause?: unknown): MeshError {
  return new MeshError('INVALID_RECORD', reason, { cause })
}
