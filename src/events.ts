import type { CapabilityRef, RecordRef } from './registry/messages.ts'

/** What happens on a node, as `noun:verb` and its detail. */
export interface MeshEvents {
  /** The first connection to a peer is up. */
  'peer:join': { peer: string; address: string }
  /** The last connection to a peer is gone. */
  'peer:leave': { peer: string }
  /** A local agent's record was signed for the first time. */
  'agent:added': { agent: string; seq: number }
  /** A local agent's record has a new seq. */
  'agent:updated': { agent: string; seq: number }
  'agent:removed': { agent: string }
  /** A driver lost its agent and tries again; `retryInMs` is unset when it gave up. */
  'agent:down': { agent: string; reason: string; retryInMs?: number }
  'agent:up': { agent: string }
  /** A verified capability of another node came into view. */
  'capability:found': { agent: string; capability: CapabilityRef; record: RecordRef }
  /** It changed its version or definition. */
  'capability:changed': { agent: string; capability: CapabilityRef; record: RecordRef }
  /** It expired, or its owner withdrew it. */
  'capability:gone': { agent: string; capability: CapabilityRef }
  /** A lying, expired, rolled-back or oversize record or hint was refused. */
  'record:refused': { peer: string; reason: string }
  /** A call from a peer was denied by policy. */
  'call:denied': { peer: string; resource: string; reason: string }
  /** A call from a peer was allowed and failed. */
  'call:failed': { peer: string; resource: string; code: string }
}

export type MeshEventName = keyof MeshEvents

/** Tells the node's listeners; rooms get it as a component. */
export type Emit = <K extends MeshEventName>(event: K, detail: MeshEvents[K]) => void
