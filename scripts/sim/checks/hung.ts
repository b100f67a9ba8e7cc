import { median, percentile } from '../../bench/measure.ts'
import type { DhtWorld } from '../dht-world.ts'
import { HUNG, turn } from '../hostile.ts'
import { type Check, share } from './check.ts'

const FINDS = 200
const SHORT_FINDS = 40
const PART = 0.05
/** The floor of the timeout where round trips are long; who waits for one hung peer waits no longer. */
const TIMEOUT_FLOOR_MS = 1_500

export const hung: Check<DhtWorld> = {
  name: 'hung peers',
  bound: 'with 5 % that never answer, the first comes within one timeout (p99), and no find waits for them',
  async run(world) {
    const stop = await turn(world, Math.ceil(world.nodes.length * PART), () => HUNG)
    try {
      const runs = await world.finds(world.isShort ? SHORT_FINDS : FINDS, 'first')
      const ms = runs.filter(({ isFound }) => isFound).map((run) => run.ms)
      return [
        { what: 'found, %', value: share(runs, ({ isFound }) => isFound), atLeast: 99 },
        { what: 'time to the first, p50 ms', value: median(ms), digits: 1 },
        { what: 'time to the first, p99 ms', value: percentile(ms, 0.99), atMost: TIMEOUT_FLOOR_MS }
      ]
    } finally {
      stop()
    }
  }
}
