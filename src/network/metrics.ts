import { prometheusMetrics } from '@libp2p/prometheus-metrics'
import { Registry } from 'prom-client'
import type { NetworkInit } from './index.ts'

/** What libp2p measures: connections, streams, bytes by protocol, dials, the DHT's and gossip's own. */
export interface NetworkMetrics {
  readonly measure: NonNullable<NetworkInit['measure']>
  /** Prometheus text. */
  readonly text: () => Promise<string>
}

/** Loaded only where somebody looks: it counts every message. */
export function createNetworkMetrics(): NetworkMetrics {
  // Their own: prom-client's global one would be shared by all nodes of a process
  const registry = new Registry()
  return {
    measure: prometheusMetrics({ registry, collectDefaultMetrics: false, preserveExistingMetrics: true }),
    text: () => registry.metrics()
  }
}
