import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { capabilityDigest, RECORD_TTL_MS, RECORD_TYPE } from '../../src/registry/index.ts'
import { type AgentRecord, type Capability, type SignedRecord } from '../../src/registry/messages.ts'

export const NOW = Date.parse('2026-11-23T12:00:00.000Z')

export interface RecordInit {
  readonly identity?: Identity
  readonly name?: string
  readonly seq?: number
  readonly expiresInMs?: number
  readonly capabilities?: readonly Capability[]
  readonly tags?: readonly string[]
  readonly audience?: AgentRecord['audience']
  readonly description?: string
}

export function tool(name: string, changes: Partial<Capability> = {}): Capability {
  const bare = { kind: 'tool' as const, name, version: '1.0.0', streaming: false, effects: 'none' as const, tags: [] }
  const { digest: _, ...unsigned } = { ...bare, ...changes, digest: '' }
  return { ...unsigned, digest: capabilityDigest(unsigned) }
}

function recordOf(init: RecordInit = {}, identity = init.identity ?? createIdentity()): AgentRecord {
  const { name = 'fs', seq = 1, expiresInMs = RECORD_TTL_MS, capabilities = [tool('read')] } = init
  return {
    v: 1,
    id: `${identity.id}/${name}`,
    seq,
    issuedAt: new Date(NOW - 1000).toISOString(),
    expiresAt: new Date(NOW + expiresInMs).toISOString(),
    name,
    ...(init.description === undefined ? {} : { description: init.description }),
    version: '1.0.0',
    driver: 'function',
    audience: init.audience ?? 'public',
    tags: [...(init.tags ?? [])],
    auth: ['noise'],
    protocols: {},
    capabilities: [...capabilities]
  }
}

/** A record as its owner would sign it. */
export async function signed(init: RecordInit = {}): Promise<SignedRecord> {
  const identity = init.identity ?? createIdentity()
  const record = recordOf(init, identity)
  return { jws: await identity.sign(RECORD_TYPE, record), record }
}

/** The same without a signature, where only the cache's judgement matters. */
export function unsigned(init: RecordInit = {}): SignedRecord {
  const record = recordOf(init)
  return { jws: `${record.id} ${record.seq} ${JSON.stringify(record.capabilities)}`, record }
}
