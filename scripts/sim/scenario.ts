/** One mesh in a process of its own: `node --expose-gc scenario.ts PLAN`, a {@link SimPlan} as JSON; its {@link SimResult} goes to the parent. */
import { setTimeout as sleep } from 'node:timers/promises'
import { memory } from '@libp2p/memory'
import type * as product from '../../src/index.ts'
import type { Node } from '../../src/node.ts'
import { built } from '../bench/built.ts'
import { median, percentile } from '../bench/measure.ts'
import { catalogue } from './checks/catalogue.ts'
import { type CheckResult, runCheck } from './checks/check.ts'
import { createLedger } from './meter.ts'
import type { Random } from './random.ts'
import { createRandom } from './random.ts'
import type { World } from './world.ts'
import { layOut } from './world.ts'

export interface SimPlan {
  readonly nodes: number
  readonly seed: number
  readonly finds: number
  readonly newcomers: number
  /** The longest wait for the mesh to come to rest, in ms. */
  readonly settleMs: number
  /** How long the traffic is watched before the finds, in ms. */
  readonly watchMs: number
}

/** Times in ms, memory in MB of 10⁶ bytes. A message is one `send` on a stream. */
export interface SimResult {
  readonly nodes: number
  readonly finds: number
  /** Found of what is offered, over all finds. */
  readonly recall: number
  /** Share of the finds that said `complete`, and share that said so although something was missing. */
  readonly complete: number
  readonly falselyComplete: number
  readonly firstP50Ms: number
  readonly firstP95Ms: number
  /** To the last of all that offer it. */
  readonly allP50Ms: number
  readonly allP95Ms: number
  /** To the end of the results, when the find knows that there are no more, or its time is over. */
  readonly endP50Ms: number
  readonly endP95Ms: number
  /** Of the finding node, sent and received, to the end of the find. */
  readonly messagesPerFindP50: number
  readonly messagesPerFindP95: number
  /** Connections between the finder and the nearest owner that was found. */
  readonly hopsP50: number
  readonly hopsP95: number
  /** Where results came from, shares of 1. */
  readonly sources: Readonly<Record<string, number>>
  /** Each message once, from the first start to the first find. */
  readonly messagesPerNodeToForm: number
  /** Messages and bytes that a node sends a second while nobody asks for anything. */
  readonly messagesPerNodeSecond: number
  readonly bytesPerNodeSecond: number
  readonly connectionsPerNode: number
  readonly rssPerNodeMb: number
  readonly heapPerNodeMb: number
  readonly startPerNodeMs: number
  /** From the last start until nobody met or learned anything any more; null when that went on. */
  readonly settledMs: number | null
  /** Share of the others' records that a node knew before the first find. */
  readonly recordsKnown: number
  /** The same finds by nodes that have just joined: of those that asked at once, the recall and the time to all. */
  readonly newcomers: number
  readonly newcomerRecall: number
  readonly newcomerFalselyComplete: number
  readonly newcomerFirstP50Ms: number
  /** What a mesh of whole nodes promises. */
  readonly catalogue: CheckResult
  /** By protocol, each message once, of the whole run. */
  readonly messages: Readonly<Record<string, number>>
}

const STARTS_AT_ONCE = 4
const QUIET_MS = 2_000
/** Watched for less, the traffic is that of nodes that have just met. */
const SETTLED_MS = 5_000
const LOOK_MS = 250
const MAX_RESTING_LOAD = 0.7
const FIND_TIMEOUT_MS = 10_000

process.on('disconnect', () => process.exit())
const plan = JSON.parse(process.argv[2] ?? '{}') as SimPlan
const random = createRandom(plan.seed)
const ledger = createLedger()
const { createNode } = await built<typeof product>('index.js')
process.send?.(await simulate(layOut(plan.nodes, random)))
process.send?.('done')
// Stopping hundreds of nodes one by one measures nothing.
process.exit()

async function simulate(world: World): Promise<SimResult> {
  const before = memoryMb()
  const startedAt = performance.now()
  const nodes = await startAll(world)
  const startMs = performance.now() - startedAt
  progress(`started in ${seconds(startMs)}`)
  const settledMs = await settle(nodes)
  progress(settledMs === null ? `not at rest after ${seconds(plan.settleMs)}` : `at rest ${seconds(settledMs)} later`)
  const formMessages = total(ledger.messages())
  const background = await watchTraffic(nodes.length)
  const after = memoryMb()
  const recordsKnown = mean(nodes.map((node) => node.status().records)) / (nodes.length - 1)
  const connections = mean(nodes.map((node) => node.status().connections))
  const finds = await findAll(nodes, world, random)
  progress(`${finds.length} finds in ${seconds(finds.reduce((sum, find) => sum + find.endMs, 0))}`)
  const checked = await runCheck(
    catalogue,
    {
      nodes,
      names: [...world.owners.keys()],
      random,
      ledger,
      idleBytesPerNodeSecond: background.bytesPerNodeSecond,
      isSettled: plan.watchMs >= SETTLED_MS
    },
    nodes.length
  )
  progress(`${checked.name} ${checked.ok ? 'holds' : 'does not hold'}, ${checked.seconds.toFixed(1)} s`)
  const newcomers = await joinAndFind(nodes, world)
  progress(`${newcomers.length} newcomers' finds in ${seconds(newcomers.reduce((sum, find) => sum + find.endMs, 0))}`)
  return {
    nodes: nodes.length,
    finds: finds.length,
    ...summarise(finds),
    messagesPerNodeToForm: formMessages / nodes.length,
    ...background,
    connectionsPerNode: connections,
    recordsKnown,
    rssPerNodeMb: (after.rss - before.rss) / nodes.length,
    heapPerNodeMb: (after.heap - before.heap) / nodes.length,
    startPerNodeMs: startMs / nodes.length,
    settledMs,
    newcomers: newcomers.length,
    newcomerRecall: recallOf(newcomers),
    newcomerFalselyComplete: falselyComplete(newcomers),
    newcomerFirstP50Ms: median(newcomers.flatMap((find) => find.firstMs ?? [])),
    catalogue: checked,
    messages: Object.fromEntries([...ledger.messages()].toSorted(([, a], [, b]) => b - a))
  }
}

async function startAll(world: World): Promise<Node[]> {
  const starting: Promise<Node>[] = []
  const start = async (index: number): Promise<Node> => {
    const contacts = await Promise.all((world.contacts[index] ?? []).map((contact) => starting[contact]))
    return startNode(
      String(index),
      contacts.flatMap((contact) => contact?.addresses[0] ?? []),
      world.offers[index] ?? []
    )
  }
  for (let index = 0; index < plan.nodes; index++) {
    starting.push(start(index))
    if (index % STARTS_AT_ONCE === STARTS_AT_ONCE - 1) await Promise.all(starting)
  }
  return Promise.all(starting)
}

async function startNode(name: string, bootstrap: readonly string[], offers: readonly string[]): Promise<Node> {
  const node = await createNode({
    name: `sim-${name}`,
    listen: [`/memory/sim-${name}`],
    lan: false,
    bootstrap,
    transports: [memory()],
    connectionEncrypters: [ledger.encrypter()]
  })
  await node.start()
  if (offers.length > 0) {
    await node.agents.add({
      name: 'agent',
      capabilities: offers.map((offer) => ({ name: offer, handler: () => null }))
    })
  }
  return node
}

/**
 * Waits until nobody learns or meets anybody any more and this thread, which all nodes share, has time left: before that a
 * find would mostly wait for its turn.
 *
 * @returns how long that took, if it came to that
 */
async function settle(nodes: readonly Node[]): Promise<number | null> {
  const from = performance.now()
  let seen = ''
  let restingSince = from
  while (performance.now() - from < plan.settleMs) {
    const load = performance.eventLoopUtilization()
    await sleep(LOOK_MS)
    const isBusy = performance.eventLoopUtilization(load).utilization > MAX_RESTING_LOAD
    const now = nodes
      .map((node) => node.status())
      .map(({ records, connections }) => `${records}/${connections}`)
      .join()
    if (isBusy || now !== seen) restingSince = performance.now()
    seen = now
    if (performance.now() - restingSince > QUIET_MS) return restingSince - from
  }
  return null
}

async function watchTraffic(count: number) {
  const [messages, bytes, from] = [total(ledger.messages()), ledger.bytes(), performance.now()]
  await sleep(plan.watchMs)
  const nodeSeconds = (count * (performance.now() - from)) / 1000
  return {
    messagesPerNodeSecond: (total(ledger.messages()) - messages) / nodeSeconds,
    bytesPerNodeSecond: (ledger.bytes() - bytes) / nodeSeconds
  }
}

interface FindRun {
  readonly wanted: number
  readonly got: number
  readonly complete: boolean
  readonly firstMs: number | undefined
  /** Unset when not all were found. */
  readonly allMs: number | undefined
  readonly endMs: number
  readonly messages: number
  readonly hops: number | undefined
  readonly sources: readonly string[]
}

async function findAll(nodes: readonly Node[], world: World, chance: Random): Promise<FindRun[]> {
  const names = [...world.owners.keys()]
  const runs: FindRun[] = []
  while (runs.length < plan.finds) {
    const finder = chance.below(nodes.length)
    const name = chance.pick(names)
    const owners = (world.owners.get(name) ?? []).filter((owner) => owner !== finder)
    if (owners.length === 0) continue
    runs.push(
      await find(
        chance.pick([nodes[finder] as Node]),
        name,
        owners.map((owner) => (nodes[owner] as Node).id),
        nodes
      )
    )
  }
  return runs
}

/** What answers a find: not the chatter of gossip, identify and ping. */
function isFinding(protocol: string): boolean {
  return /^\/pryx-mesh\/(?:kad|hello|records)\//.test(protocol)
}

async function find(finder: Node, name: string, owners: readonly string[], nodes: readonly Node[]): Promise<FindRun> {
  const hopsTo = distances(finder, nodes)
  const wanted = new Set(owners)
  const sources: string[] = []
  let firstMs: number | undefined
  let allMs: number | undefined
  let hops: number | undefined
  const before = ledger.messagesOf(finder.id, isFinding)
  const from = performance.now()
  const results = finder.find({ kind: 'tool', name, timeoutMs: FIND_TIMEOUT_MS })
  for await (const { peer, source } of results) {
    if (!wanted.delete(peer)) continue
    const now = performance.now() - from
    firstMs ??= now
    if (wanted.size === 0) allMs = now
    sources.push(source)
    hops = Math.min(hops ?? Infinity, hopsTo.get(peer) ?? Infinity)
  }
  const { complete } = await results.summary
  const endMs = performance.now() - from
  const messages = ledger.messagesOf(finder.id, isFinding) - before
  return {
    wanted: owners.length,
    got: owners.length - wanted.size,
    complete,
    firstMs,
    allMs,
    endMs,
    messages,
    hops,
    sources
  }
}

/** Connections on the shortest way from one node to each other. */
function distances(from: Node, nodes: readonly Node[]): Map<string, number> {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const hops = new Map([[from.id, 0]])
  const queue = [from]
  for (let node = queue.shift(); node !== undefined; node = queue.shift()) {
    for (const { peer } of node.peers()) {
      const next = byId.get(peer)
      if (next === undefined || hops.has(peer)) continue
      hops.set(peer, (hops.get(node.id) ?? 0) + 1)
      queue.push(next)
    }
  }
  return hops
}

/** Nodes that ask as soon as they have started, knowing one other node. */
async function joinAndFind(nodes: readonly Node[], world: World): Promise<FindRun[]> {
  const names = [...world.owners.keys()]
  const runs: FindRun[] = []
  for (let i = 0; i < plan.newcomers; i++) {
    const contact = random.pick(nodes)
    const newcomer = await startNode(`newcomer-${i}`, [contact.addresses[0] ?? ''], [])
    const name = random.pick(names)
    const owners = (world.owners.get(name) ?? []).map((owner) => (nodes[owner] as Node).id)
    runs.push(await find(newcomer, name, owners, [...nodes, newcomer]))
    await newcomer.stop()
  }
  return runs
}

function summarise(runs: readonly FindRun[]) {
  const first = runs.flatMap((run) => run.firstMs ?? [])
  const all = runs.flatMap((run) => run.allMs ?? [])
  const messages = runs.map((run) => run.messages)
  const hops = runs.flatMap((run) => run.hops ?? [])
  const sources = runs.flatMap((run) => run.sources)
  const names = [...new Set(sources)].toSorted()
  return {
    recall: recallOf(runs),
    complete: runs.filter((run) => run.complete).length / runs.length,
    falselyComplete: falselyComplete(runs),
    endP50Ms: median(runs.map((run) => run.endMs)),
    endP95Ms: percentile(
      runs.map((run) => run.endMs),
      0.95
    ),
    firstP50Ms: median(first),
    firstP95Ms: percentile(first, 0.95),
    allP50Ms: median(all),
    allP95Ms: percentile(all, 0.95),
    messagesPerFindP50: median(messages),
    messagesPerFindP95: percentile(messages, 0.95),
    hopsP50: median(hops),
    hopsP95: percentile(hops, 0.95),
    sources: Object.fromEntries(
      names.map((name) => [name, sources.filter((source) => source === name).length / sources.length])
    )
  }
}

function falselyComplete(runs: readonly FindRun[]): number {
  return runs.filter((run) => run.complete && run.got < run.wanted).length / runs.length
}

function recallOf(runs: readonly FindRun[]): number {
  const wanted = runs.reduce((sum, run) => sum + run.wanted, 0)
  return runs.reduce((sum, run) => sum + run.got, 0) / wanted
}

function progress(text: string): void {
  console.error(`sim: ${plan.nodes} nodes: ${text}`)
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

function total(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0)
}

function memoryMb(): { rss: number; heap: number } {
  globalThis.gc?.()
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss: rss / 1e6, heap: (heapUsed + external) / 1e6 }
}
