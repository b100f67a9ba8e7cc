/** The floors that this project has set itself, and whether a run met them. */
import { AGENT } from './agents.ts'
import { median } from './measure.ts'
import { BARE, DURABLE } from './messages.ts'
import type { BenchName, Result } from './result.ts'
import type { SystemName } from './system.ts'

interface Floor {
  readonly bench: BenchName
  readonly name: string
  /** The least, or with `most` the most, that the measurement may be. */
  readonly bound: number
  readonly most?: true
  readonly unit: '×' | 'ms' | 'MB' | 'KB'
}

export interface Judged extends Floor {
  /** Undefined when it wasn't measured. */
  readonly value: number | undefined
  readonly met: boolean | undefined
}

type Pick = (results: readonly Result[]) => number | undefined

const OURS: SystemName = 'pryx-mesh'

const FLOORS: readonly (Floor & { readonly pick: Pick })[] = [
  callRate(64, 'libp2p', 0.65),
  callRate(64, 'a2a', 5),
  callRate(64, 'mcp-http', 8),
  callRate(64, 'nats', 0.9),
  callRate(16, 'libp2p', 0.65),
  callRate(16, 'a2a', 3),
  callRate(16, 'mcp-http', 5),
  callRate(64, 'a2a', 2, 'pryx-mesh-rest'),
  callRate(16, 'a2a', 2, 'pryx-mesh-rest'),
  {
    bench: 'call',
    name: '1 in flight: p50 to libp2p',
    bound: 1.6,
    most: true,
    unit: '×',
    pick: ratio('call', 1, 'libp2p', 'runsP50Ms')
  },
  streamRate('libp2p', 0.6),
  streamRate('a2a', 50),
  { bench: 'blob', name: 'bytes to libp2p', bound: 0.9, unit: '×', pick: ratio('blob', 1, 'libp2p', 'runs') },
  {
    bench: 'start',
    name: 'to ready, p50',
    bound: 1000,
    most: true,
    unit: 'ms',
    pick: of('start', 'new home', 'p50Ms')
  },
  { bench: 'start', name: 'idle RSS', bound: 140, most: true, unit: 'MB', pick: of('start', 'new home', 'rssMb') },
  {
    bench: 'find',
    name: "LAN: B's start to first find, p95",
    bound: 1500,
    most: true,
    unit: 'ms',
    pick: of('find', 'lan', 'p95Ms')
  },
  { bench: 'find', name: 'cached, p95', bound: 5, most: true, unit: 'ms', pick: of('find', 'cached', 'p95Ms') },
  {
    bench: 'status',
    name: '10⁴ approvals pending, p95',
    bound: 50,
    most: true,
    unit: 'ms',
    pick: of('status', '10,000 approvals pending, 100,000 rows of audit', 'p95Ms')
  },
  { bench: 'messages', name: 'rate to bare group commits', bound: 0.5, unit: '×', pick: toBare },
  {
    bench: 'messages',
    name: 'loop lag, p99',
    bound: 15,
    most: true,
    unit: 'ms',
    pick: of('messages', DURABLE, 'lagMs')
  },
  {
    bench: 'agents',
    name: 'memory of an idle one',
    bound: 100,
    most: true,
    unit: 'KB',
    pick: of('agents', AGENT, 'heldKb')
  },
  { bench: 'agents', name: 'ping, p99', bound: 100, most: true, unit: 'ms', pick: of('agents', AGENT, 'p99Ms') }
]

/** The floors of the benches that ran. */
export function judge(results: readonly Result[], benches: readonly BenchName[]): Judged[] {
  return FLOORS.filter(({ bench }) => benches.includes(bench)).map(({ pick, ...floor }) => {
    const value = pick(results)
    if (value === undefined) return { ...floor, value, met: undefined }
    return { ...floor, value, met: floor.most === true ? value <= floor.bound : value >= floor.bound }
  })
}

/** Ours to theirs: the median of the ratios of neighbours in time, which a machine that changes its pace disturbs least. */
export function ratio(bench: BenchName, inFlight: number, peer: SystemName, runs: Runs): Pick {
  return ratioOf({ bench, inFlight, our: OURS, peer, runs })
}

type Runs = 'runs' | 'runsP50Ms'

interface Compared {
  readonly bench: BenchName
  readonly inFlight: number
  readonly our: SystemName
  readonly peer: SystemName
  readonly runs: Runs
}

function ratioOf({ bench, inFlight, our, peer, runs }: Compared): Pick {
  return (results) => {
    const runsOf = (system: SystemName): readonly number[] | undefined =>
      results.find((result) => result.bench === bench && result.inFlight === inFlight && result.system === system)?.[
        runs
      ]
    const ours = runsOf(our)
    const theirs = runsOf(peer)
    if (ours === undefined || theirs === undefined || ours.length === 0) return undefined
    return median(ours.map((value, i) => value / (theirs[i] ?? Number.NaN)))
  }
}

/** Runs of the two took turns, so neighbours in time are compared. */
function toBare(results: readonly Result[]): number | undefined {
  const runsOf = (what: string) => results.find((each) => each.bench === 'messages' && each.what === what)?.runs
  const [durable, bare] = [runsOf(DURABLE), runsOf(BARE)]
  if (durable === undefined || bare === undefined) return undefined
  return median(durable.map((value, i) => value / (bare[i] ?? Number.NaN)))
}

function callRate(
  inFlight: number,
  peer: SystemName,
  bound: number,
  our: SystemName = OURS
): Floor & { readonly pick: Pick } {
  return {
    bench: 'call',
    name: `${inFlight} in flight: ${our === OURS ? 'rate' : `rate of ${our}`} to ${peer}`,
    bound,
    unit: '×',
    pick: ratioOf({ bench: 'call', inFlight, our, peer, runs: 'runs' })
  }
}

function streamRate(peer: SystemName, bound: number): Floor & { readonly pick: Pick } {
  return { bench: 'stream', name: `items to ${peer}`, bound, unit: '×', pick: ratio('stream', 1, peer, 'runs') }
}

function of(bench: BenchName, what: string, field: 'heldKb' | 'lagMs' | 'p50Ms' | 'p95Ms' | 'p99Ms' | 'rssMb'): Pick {
  return (results) => results.find((result) => result.bench === bench && result.what === what)?.[field]
}
