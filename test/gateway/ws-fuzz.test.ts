import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Client, connect, register, startEdge } from './ws-kit.ts'

const TYPES =
  'auth resume received register unregister invoke credit cancel send find hello capabilities result item end error ack call message later'.split(
    ' '
  )
const NAMES = [
  'id',
  'agent',
  'target',
  'capability',
  'input',
  'stream',
  'credit',
  'timeoutMs',
  'items',
  'frames',
  'token'
]
const MORE = [
  'received',
  'to',
  'body',
  'from',
  'name',
  'kind',
  'limit',
  'item',
  'seq',
  'result',
  'error',
  'capabilities'
]

const text = fc.oneof(
  fc.constantFrom('1', '1.1', 'worker', '@worker', '@nobody', 'echo', 'tool', 'A'.repeat(43), '', 'x'.repeat(600)),
  fc.string()
)
const value = fc.oneof(text, fc.integer(), fc.double(), fc.constantFrom(null, true, 0, -1, 1, 2 ** 53), fc.jsonValue())
const agent = fc.record(
  {
    name: text,
    description: value,
    version: value,
    tags: value,
    audience: value,
    capabilities: fc.oneof(value, fc.array(fc.record({ name: text })))
  },
  { requiredKeys: [] }
)
const members = fc.dictionary(fc.constantFrom(...NAMES, ...MORE), fc.oneof(value, agent), { maxKeys: 6 })
const frame = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(fc.constantFrom(...TYPES), members).map(([type, rest]) => JSON.stringify({ ...rest, type }))
  },
  { weight: 1, arbitrary: fc.json() },
  { weight: 1, arbitrary: fc.string() }
)

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

// What the node itself got wrong would fail the test: see startEdge.
it(`survives whatever clients send (SEED=${SEED})`, async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'witness')
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 12 }), fc.boolean(), async (frames, isKnown) => {
      const fuzzer = isKnown ? await connect({ url, token: ownerToken }) : new Client({ url })
      if (!isKnown) await new Promise((resolve) => fuzzer.socket.once('open', resolve))
      for (const each of frames) fuzzer.send(each)
      fuzzer.socket.close()
      await fuzzer.closed
    }),
    { seed: SEED, numRuns: 150 }
  )
  const called = node.call(`${node.id}/witness`, 'echo', {})
  client.send({ type: 'result', id: (await client.take('call')).id, result: 'still here' })
  expect(await called).toBe('still here')
}, 60_000)
