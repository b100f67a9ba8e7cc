import { expect, it } from 'vitest'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { MAX_PEER_RECORDS, MAX_RECORD_BYTES } from '../../src/registry/index.ts'
import { all, TestMesh } from './mesh.ts'
import { signed } from './records.ts'

type Liar = (identity: Identity, cursor: string | undefined) => unknown

const page = (...records: string[]) => ({ records, more: false })

it.each<{ id: string; reason: string; answer: Liar }>([
  { id: 'that is not a JWS', reason: 'malformed', answer: () => page('not.a.jws') },
  { id: 'in an answer that is none', reason: 'malformed', answer: () => ({ records: 'all of them' }) },
  { id: 'in pages that do not go on', reason: 'malformed', answer: () => ({ records: [], more: true, cursor: 'a' }) },
  {
    id: 'in the same page for ever',
    reason: 'malformed',
    answer: async (identity) => ({
      records: [(await signed({ identity, capabilities: [] })).jws],
      more: true,
      cursor: 'fs'
    })
  },
  { id: 'that is too large', reason: 'oversize', answer: () => page('x'.repeat(MAX_RECORD_BYTES + 1)) },
  { id: 'in a frame that is too large', reason: 'oversize', answer: () => page('x'.repeat(2 ** 20)) },
  {
    id: 'whose signature is broken',
    reason: 'forged',
    answer: async (identity) => {
      const { jws } = await signed({ identity })
      const [head, body, signature = ''] = jws.split('.')
      return page([head, body, Buffer.alloc(signature.length * 0.75).toString('base64url')].join('.'))
    }
  },
  {
    id: 'that somebody else signed for it',
    reason: 'forged',
    answer: async (identity) => {
      const { record } = await signed({ identity })
      return page(await createIdentity().sign('mesh-record+jws', record))
    }
  },
  { id: 'of a third party', reason: 'wrong-owner', answer: async () => page((await signed()).jws) },
  {
    id: 'that has expired',
    reason: 'expired',
    answer: async (identity) => page((await signed({ identity, expiresInMs: -1 })).jws)
  },
  {
    id: 'older than the one before it',
    reason: 'rolled-back',
    answer: async (identity) =>
      page((await signed({ identity, seq: 2, capabilities: [] })).jws, (await signed({ identity, seq: 1 })).jws)
  },
  {
    id: 'that differs from another of the same seq',
    reason: 'rolled-back',
    answer: async (identity) =>
      page((await signed({ identity, capabilities: [] })).jws, (await signed({ identity })).jws)
  },
  {
    id: 'beyond what one node may have',
    reason: 'too-many',
    answer: (_, cursor = 'a') => {
      const next = `a${String(Number(cursor.slice(1)) + 1).padStart(6, '0')}`
      return { records: Array.from({ length: 64 }, () => 'x'), more: true, cursor: next }
    }
  }
])('a record $id is refused, counted and attributed', async ({ reason, answer }) => {
  const mesh = new TestMesh()
  const a = await mesh.node()
  const liar = mesh.stranger((body) => {
    const { op, cursor } = body as { op: string; cursor?: string }
    return op === 'hints' ? { hints: [] } : answer(liar.identity, cursor)
  })
  mesh.link(a, liar)
  expect(await all(a.discovery.find({ name: 'read' }))).toEqual([])
  expect(a.discovery.refused()[reason]).toBeGreaterThan(0)
  expect(await a.emitted('record:refused', (refused) => refused.reason === reason)).toEqual({ peer: liar.id, reason })
  expect(mesh.requests.length).toBeLessThanOrEqual(MAX_PEER_RECORDS)
})
