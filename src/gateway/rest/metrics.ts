import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Node, NodeStatus } from '../../index.ts'

/** What the edge counts, beside what the node knows of itself. */
export interface EdgeMetrics {
  readonly contentType: string
  /** @param operation its id, so that there are as many series as operations */
  answered(operation: string, status: number, seconds: number): void
  /** Prometheus text. */
  text(): Promise<string>
}

/** A local call takes a millisecond or two; the longest is a day, which nobody looks at by buckets. */
const BUCKETS_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60]

const GAUGES: Readonly<Record<string, readonly [help: string, read: (status: NodeStatus) => number]>> = {
  pryx_mesh_peers: ['Peers that are connected', ({ peers }) => peers],
  pryx_mesh_connections: ['Connections to peers', ({ connections }) => connections],
  pryx_mesh_routing_table_peers: ['Peers in the routing table of the DHT', ({ routingTable }) => routingTable],
  pryx_mesh_agents: ['Agents of this node', ({ agents }) => agents],
  pryx_mesh_records: ['Records of other nodes in the cache', ({ records }) => records],
  pryx_mesh_permissions_pending: [
    'Permission requests that wait for the owner',
    ({ pendingApprovals }) => pendingApprovals
  ],
  pryx_mesh_policy_rules: ['Rules of the policy', ({ policy }) => policy.rules],
  pryx_mesh_messages_queued: ['Messages that are not delivered yet', ({ messages }) => messages.queued],
  pryx_mesh_messages_unread: ["Messages in the owner's inbox", ({ messages }) => messages.unread],
  pryx_mesh_messages_dead: ['Messages that no handler could handle', ({ messages }) => messages.deadLetters]
}

const COUNTED: Readonly<Record<string, readonly [help: string, read: (status: NodeStatus) => number]>> = {
  pryx_mesh_discovery_catalogue_on: [
    "Whether everybody's hints are gossiped on one topic",
    ({ discovery }) => Number(discovery.catalogue === 'on')
  ],
  pryx_mesh_discovery_nodes: ['Nodes of the mesh, as walks tell; 0 before the first', ({ dht }) => dht.size ?? 0],
  pryx_mesh_discovery_finds_total: ['Finds', ({ discovery }) => discovery.finds],
  pryx_mesh_discovery_walked_finds_total: [
    'Finds that walked through the DHT',
    ({ discovery }) => discovery.walkedFinds
  ],
  pryx_mesh_discovery_messages_total: ['Messages of finds to holders', ({ discovery }) => discovery.messages],
  pryx_mesh_discovery_candidates_total: ['Owners asked on the word of others', ({ discovery }) => discovery.candidates],
  pryx_mesh_discovery_false_candidates_total: [
    'Of those, the ones that confirmed nothing',
    ({ discovery }) => discovery.falseCandidates
  ],
  pryx_mesh_discovery_published_total: ['Hints that holders took', ({ discovery }) => discovery.published],
  pryx_mesh_discovery_missed_total: [
    'Capabilities called before that a whole find did not bring',
    ({ discovery }) => discovery.missed
  ],
  pryx_mesh_dht_walks_total: ['Walks through the DHT', ({ dht }) => dht.walks],
  pryx_mesh_dht_messages_total: ['Peers asked by walks', ({ dht }) => dht.messages],
  pryx_mesh_dht_timeouts_total: ['Of those, the ones that did not answer in time', ({ dht }) => dht.timeout],
  pryx_mesh_dht_unreachable_total: ['Of those, the ones that were not there', ({ dht }) => dht.unreachable],
  pryx_mesh_dht_invalid_total: ['Of those, the ones that answered nonsense', ({ dht }) => dht.invalid],
  pryx_mesh_dht_crowded_total: ['Walks that ended in a crowded place', ({ dht }) => dht.crowded],
  pryx_mesh_dht_turned_away_total: [
    'Peers kept out of the routing table because of others in their subnet',
    ({ dht }) => dht.turnedAway
  ],
  pryx_mesh_dht_dead_removed_total: ['Dead peers removed from the routing table', ({ dht }) => dht.deadRemoved],
  pryx_mesh_held_entries: ['Hints and provider records kept for others', ({ held }) => held.entries],
  pryx_mesh_held_keys: ['Keys of those', ({ held }) => held.keys]
}

export function createMetrics(node: Node): EdgeMetrics {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Counter({
    name: 'pryx_mesh_http_requests_total',
    help: 'Requests at the HTTP edge',
    labelNames: ['operation', 'status'],
    registers
  })
  const durations = new Histogram({
    name: 'pryx_mesh_http_request_duration_seconds',
    help: 'From the head of a request to the head of its answer',
    labelNames: ['operation'],
    buckets: BUCKETS_SECONDS,
    registers
  })
  const gauges = Object.entries({ ...GAUGES, ...COUNTED }).map(([name, [help, read]]) => ({
    gauge: new Gauge({ name, help, registers }),
    read
  }))
  const refused = new Gauge({
    name: 'pryx_mesh_refused_total',
    help: 'What was refused since the start',
    labelNames: ['reason'],
    registers
  })
  const resident = new Gauge({
    name: 'pryx_mesh_process_resident_memory_bytes',
    help: 'Resident memory',
    registers
  })
  return {
    contentType: registry.contentType,
    answered(operation, status, seconds) {
      requests.inc({ operation, status })
      durations.observe({ operation }, seconds)
    },
    async text() {
      const status = node.status()
      for (const { gauge, read } of gauges) gauge.set(read(status))
      for (const [reason, count] of Object.entries(status.refused)) refused.set({ reason }, count)
      resident.set(process.memoryUsage.rss())
      return `${await registry.metrics()}${await node.edges.networkMetrics()}`
    }
  }
}
