import { median, percentile } from '../../bench/measure.ts'
import type { DhtWorld } from '../dht-world.ts'
import { type Check, share } from './check.ts'
import { QUERIES_TO_FIRST } from './growth.ts'

const FINDS = 200
const SHORT_FINDS = 60
const FULL_SHARE = 0.25

export const ownFind: Check<DhtWorld> = {
  name: 'own find',
  bound: 'the DHT alone finds whatever is there, after 14 queries (p95 25); to its end a walk takes 75',
  async run(world) {
    const count = world.isShort ? SHORT_FINDS : FINDS
    const first = await world.finds(count, 'first')
    const full = await world.finds(count * FULL_SHARE, 'full')
    const toFirst = first.filter(({ isFound }) => isFound).map(({ queriesToFirst }) => queriesToFirst)
    return [
      { what: 'found, %', value: share(first, ({ isFound }) => isFound), atLeast: 100 },
      { what: QUERIES_TO_FIRST, value: median(toFirst), atMost: 14 },
      { what: 'queries to the first, p95', value: percentile(toFirst, 0.95), atMost: 25 },
      { what: 'queries of a whole walk, p50', value: median(full.map(({ queries }) => queries)), atMost: 75 },
      {
        what: 'time to the first, p95 ms',
        value: percentile(
          first.map(({ ms }) => ms),
          0.95
        ),
        digits: 1
      }
    ]
  }
}
