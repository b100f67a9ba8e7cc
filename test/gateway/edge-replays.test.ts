import { expect, it } from 'vitest'
import { MAX_PROOFS_PER_KEY, PROOF_WINDOW_MS } from '../../src/gateway/edge/constants.ts'
import { createReplays } from '../../src/gateway/edge/replays.ts'

const START = Date.parse('2026-11-23T10:00:00Z')

function start() {
  const time = { now: START }
  return { time, replays: createReplays(() => time.now) }
}

it('a proof is taken once for as long as its time would let it be taken again', () => {
  const { replays, time } = start()
  for (const offsetMs of [0, 30_000, 119_000, 120_000, 121_000, 239_000]) {
    time.now = START + offsetMs
    // Made ahead of this clock: it is good for the longest time
    const at = time.now + PROOF_WINDOW_MS
    replays.take('key', `id-${offsetMs}`, at)
    for (const later of [0, PROOF_WINDOW_MS, 2 * PROOF_WINDOW_MS - 1]) {
      time.now = START + offsetMs + later
      expect(() => replays.take('key', `id-${offsetMs}`, at)).toThrow('used before')
      // Others come meanwhile, and turn the page
      replays.take('key', `other-${offsetMs}-${later}`, time.now)
    }
  }
})

it('keys have ids of their own', () => {
  const { replays } = start()
  replays.take('one', 'id', START)
  replays.take('two', 'id', START)
  expect(() => replays.take('one', 'id', START)).toThrow('used before')
})

it('proofs from before the start are refused: nobody remembers them', () => {
  const { replays } = start()
  expect(() => replays.take('key', 'id', START - 1_000)).toThrow('older than this edge')
})

it.each(['', 'x'.repeat(129)])('an id of a wrong length is refused', (id) => {
  expect(() => start().replays.take('key', id, START)).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }))
})

it('a key with too many proofs has to wait, and others don’t', () => {
  const { replays, time } = start()
  for (let n = 0; n < MAX_PROOFS_PER_KEY; n += 1) replays.take('key', String(n), START)
  expect(() => replays.take('key', 'more', START)).toThrow(expect.objectContaining({ code: 'BUSY' }))
  replays.take('other', 'id', START)
  time.now += 2 * PROOF_WINDOW_MS
  replays.take('key', 'more', time.now)
})
