import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Node, NodeStatus } from '../index.ts'

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
  const gauges = Object.entries(GAUGES).map(([name, [help, read]]) => ({
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
