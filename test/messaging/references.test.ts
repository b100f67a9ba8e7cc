import { expect, it } from 'vitest'
import { type ErrorCode, MeshError } from '../../src/errors.ts'
import type { Node } from '../../src/index.ts'
import type { Content } from '../../src/messaging/references.ts'
import { addressOf, failureOf, startNode, startPair } from '../nodes.ts'
import { Mesh, openRoom, soon } from './room.ts'

const SHA256 = 'ab'.repeat(32)

async function contentOf(node: Node, sha256: string): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(node.blobs.open(sha256)))
}

it.each<{ id: string; body: unknown; content: Buffer; type: string }>([
  {
    id: 'JSON over the limit',
    body: { text: 'ä'.repeat(200_000) },
    content: Buffer.from(JSON.stringify({ text: 'ä'.repeat(200_000) })),
    type: 'application/json'
  },
  {
    id: 'bytes',
    body: new Uint8Array(1_000).fill(7),
    content: Buffer.alloc(1_000, 7),
    type: 'application/octet-stream'
  }
])('$id go by reference, and are there when the handler runs', async ({ body, content, type }) => {
  const [near, far] = await startPair()
  const seen: unknown[] = []
  await far.agents.add({
    name: 'reader',
    async onMessage({ blob, type: contentType, body: none }) {
      seen.push([contentType, blob?.size, none, (await contentOf(far, blob?.sha256 ?? '')).equals(content)])
    }
  })
  await far.policy.put([{ id: 'reader', effect: 'allow', who: '*', act: 'message.send', res: 'agent:reader' }])
  const { id } = await near.send(`${far.id}/reader`, body)
  await near.messages.waitFor(id, { signal: soon() })
  expect(seen).toEqual([[type, content.length, undefined, true]])
  expect(near.messages.show(id)?.blob?.size).toBe(content.length)
})

/** Content of which the other node has none until it comes. */
function contentThat(fail: () => MeshError | undefined): Content & { readonly fetches: number } {
  let fetches = 0
  return {
    get fetches() {
      return fetches
    },
    has: () => false,
    put: () => Promise.reject(new Error('nothing is put')),
    hold: async () => {},
    release: async () => {},
    purposes: () => [],
    fetch: async (_peer, sha256) => {
      fetches += 1
      const failure = fail()
      if (failure !== undefined) throw failure
      return { sha256, size: 5 }
    }
  }
}

async function startTwo(blobs: Content) {
  const mesh = new Mesh()
  const kept: unknown[] = []
  const ann = await openRoom(mesh, { more: { blobs: { ...contentThat(() => undefined), has: () => true } } })
  const bob = await openRoom(mesh, { more: { blobs, random: () => 0 } })
  bob.handlers.set('keeper', ({ blob }) => void kept.push(blob))
  return { ann, bob, kept, to: `${bob.id}/keeper` }
}

it.each(['NOT_FOUND', 'FORBIDDEN', 'LIMIT_EXCEEDED', 'INVALID_MESSAGE'] as const)(
  'content that fails with %s counts as an attempt, and buries the message after five',
  async (code) => {
    const blobs = contentThat(() => new MeshError(code, 'not for you'))
    const { ann, bob, kept, to } = await startTwo(blobs)
    const { id } = await ann.messaging.send({ to, blob: { sha256: SHA256, size: 5 } })
    expect(await failureOf(ann.messaging.waitFor(id, { signal: soon() }))).toMatchObject({ code })
    expect(bob.messaging.deadLetters()).toMatchObject([{ id, tries: 5 }])
    expect([blobs.fetches, kept]).toEqual([5, []])
  }
)

it.each([
  { code: 'NOT_FOUND', at: 'NOT_FOUND', says: /never fetched, and its sender keeps it no longer/ },
  { code: 'FORBIDDEN', at: 'NOT_FOUND', says: /never fetched, and its sender keeps it no longer/ },
  { code: 'UNREACHABLE', at: 'UNREACHABLE', says: /can't be fetched: not now/ },
  { code: 'LIMIT_EXCEEDED', at: 'LIMIT_EXCEEDED', says: /can't be fetched: not now/ }
] as const)('whoever replays is told that its content fails with $code', async ({ code, at, says }) => {
  let why: ErrorCode | undefined = 'NOT_FOUND'
  const { ann, bob, kept, to } = await startTwo(contentThat(() => why && new MeshError(why, 'not now')))
  const blob = { sha256: SHA256, size: 5 }
  const { id } = await ann.messaging.send({ to, blob })
  await failureOf(ann.messaging.waitFor(id, { signal: soon() }))
  why = code
  expect(await failureOf(bob.messaging.replay(id))).toMatchObject({ code: at, message: expect.stringMatching(says) })
  expect(bob.messaging.deadLetters()).toMatchObject([{ id, tries: 5 }])
  why = undefined
  await bob.messaging.replay(id)
  await expect.poll(() => kept).toEqual([blob])
  expect(bob.messaging.deadLetters()).toEqual([])
})

it.each(['UNREACHABLE', 'CONNECTION_LOST', 'BUSY'] as const)(
  'content that fails with %s is waited for, in order, and counts for nothing',
  async (code) => {
    let left = 7
    const { ann, bob, kept, to } = await startTwo(
      contentThat(() => (left-- > 0 ? new MeshError(code, 'not now') : undefined))
    )
    const blob = { sha256: SHA256, size: 5 }
    const { id } = await ann.messaging.send({ to, blob })
    const next = await ann.messaging.send({ to, body: 'after it' })
    await ann.messaging.waitFor(next.id, { signal: soon() })
    expect(kept).toEqual([blob, undefined])
    expect(bob.messaging.show(id)?.tries).toBe(0)
  }
)

it('takes content of another size than the message says for a failure', async () => {
  const { ann, to } = await startTwo(contentThat(() => undefined))
  const { id } = await ann.messaging.send({ to, blob: { sha256: SHA256, size: 6 } })
  expect(await failureOf(ann.messaging.waitFor(id, { signal: soon() }))).toMatchObject({ code: 'INVALID_MESSAGE' })
})

it.each([
  { id: 'a body beside it', message: { body: 1, blob: { sha256: SHA256, size: 5 } }, code: 'INVALID_ARGUMENT' },
  { id: 'no digest', message: { blob: { sha256: 'abc', size: 5 } }, code: 'INVALID_ARGUMENT' },
  { id: 'content that is not here', message: { blob: { sha256: SHA256, size: 5 } }, has: false, code: 'NOT_FOUND' },
  { id: 'bytes, at a node without content', message: { body: new Uint8Array(1) }, none: true, code: 'TOO_LARGE' }
])('refuses $id: $code', async ({ message, has = true, none = false, code }) => {
  const blobs = { ...contentThat(() => undefined), has: () => has }
  const ann = await openRoom(new Mesh(), none ? {} : { more: { blobs } })
  const sent = ann.messaging.send({ to: `${ann.id}/owner`, ...message })
  expect(await failureOf(sent)).toMatchObject({ code })
})

it('content of a message is kept for its recipient alone, until its end, whatever else wants room', async () => {
  const [near, far] = await startPair({ blobs: { quotaBytes: 500_000 } })
  const third = await startNode({ name: 'third' })
  await third.connect(addressOf(near))
  const body = new Uint8Array(300_000).fill(3)
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>()
  await far.agents.add({ name: 'reader', onMessage: () => mayEnd })
  await far.policy.put([{ id: 'reader', effect: 'allow', who: '*', act: 'message.send', res: 'agent:reader' }])
  const { id } = await near.send(`${far.id}/reader`, body)
  const { sha256 = '' } = near.messages.show(id)?.blob ?? {}
  await expect.poll(() => far.blobs.has(sha256), { timeout: 10_000 }).toBe(true)
  expect(near.blobs.get(sha256)).toMatchObject({ pins: 1, readers: [far.id] })
  expect(await failureOf(third.blobs.fetch(near.id, sha256))).toMatchObject({ code: 'FORBIDDEN' })
  expect(await failureOf(near.blobs.put(new Uint8Array(300_000)))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  expect(await failureOf(near.blobs.drop(sha256))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  end()
  await near.messages.waitFor(id, { signal: soon() })
  await expect.poll(() => near.blobs.has(sha256)).toBe(false)
  await near.blobs.put(new Uint8Array(300_000))
  // Its own now
  expect(far.blobs.has(sha256)).toBe(true)
})

it("content of the owner stays when the message that refers to it has ended, and is nobody else's any more", async () => {
  const [near, far] = await startPair()
  const blob = await near.blobs.put(new Uint8Array(10))
  const { id } = await near.send(`${far.id}/nobody`, undefined, { blob })
  await failureOf(near.messages.waitFor(id, { signal: soon() }))
  await expect.poll(() => near.blobs.get(blob.sha256)).toMatchObject({ pins: 0, readers: [] })
})

it('a message that was not kept leaves no content', async () => {
  const [near, far] = await startPair()
  const sent = near.send(`${far.id}/reader`, new Uint8Array(10), { expiresIn: -1 })
  expect(await failureOf(sent)).toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect.poll(() => near.blobs.list()).toEqual([])
})

it('what is held for a message that was never written is let go at the next start', async () => {
  const released: string[] = []
  const blobs: Content = {
    ...contentThat(() => undefined),
    purposes: () => ['message:01JDE', 'something else'],
    release: async (purposes) => void released.push(...purposes)
  }
  await openRoom(new Mesh(), { more: { blobs } })
  expect(released).toEqual(['message:01JDE'])
})
