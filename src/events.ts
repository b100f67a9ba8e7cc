import type { CapabilityRef, RecordRef } from './registry/messages.ts'

/** What happens on a node, as `noun:verb` and its detail. */
export interface MeshEvents {
  /** The first connection to a peer is up. */
  'peer:join': { peer: string; address: string }
  /** A node that this one dialled is not let in, for it is of another mesh. */
  'peer:refused': { peer: string; address: string; reason: string }
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
  /** Calls of a local agent fail more often, or take longer, than they should. */
  'agent:degraded': { agent: string; reason: string }
  /** The hours of a local agent are over; RFC 3339 when they begin again. */
  'agent:sleeping': { agent: string; opensAt: string }
  /** A peer doesn't answer any more, or badly, or as it should again. */
  'peer:down': { peer: string; reason: string }
  'peer:degraded': { peer: string; reason: string }
  'peer:up': { peer: string }
  /** A verified capability of another node came into view. */
  'capability:found': { agent: string; capability: CapabilityRef; record: RecordRef }
  /** It changed its version or definition. */
  'capability:changed': { agent: string; capability: CapabilityRef; record: RecordRef }
  /** It expired, or its owner withdrew it. */
  'capability:gone': { agent: string; capability: CapabilityRef }
  /** A lying, expired, rolled-back or oversize record or hint was refused. */
  'record:refused': { peer: string; reason: string }
  /** What this node has called before is offered by nobody any more (`others` is 0), or only under other keys. */
  'capability:missing': { agent: string; capability: string; others: number }
  /** A call from a peer was denied by policy. */
  'call:denied': { peer: string; resource: string; reason: string }
  /** A peer presented a credential, which was accepted (`refusal` unset) or not. */
  /** `token`: what a token is revoked by. */
  'credential:presented': { peer: string; method: string; subject?: string; token?: string; refusal?: string }
  /** A peer doesn't accept a credential of this node. */
  'credential:refused': { peer: string; method: string; reason: string }
  /** `policy.json` was read anew: its rules are in force, or `problem` says why the last good ones still are. */
  'policy:reloaded': { rules: number; problem?: string }
  /** The owner is asked. */
  'permission:asked': { id: string; peer: string; action: string; resource: string; deadline: string }
  /** A request was answered, or its deadline passed. */
  'permission:answered': { id: string; peer: string; state: string; by: string }
  /** A peer has answered a request of this node. */
  'permission:decided': { id: string; peer: string; state: string; reason?: string }
  'grant:issued': { id: string; holder: string; res: string }
  'grant:revoked': { id: string; holder: string }
  /** A peer's level changed. */
  'trust:changed': { peer: string; from: string; to: string; by: string; reason: string }
  'peer:paired': { peer: string; name: string; level: string }
  /** A remote capability isn't what it was; calls of it are refused. */
  'definition:changed': { agent: string; kind: string; name: string }
  /** A message has come for an agent of this node, or for its owner. */
  'message:received': { id: string; from: string; to: string; kind: string }
  /** A message of this node has another state. */
  'message:receipt': { id: string; state: string }
  /** A message has not been delivered for a minute; it is tried on. */
  'message:delayed': { id: string; peer: string }
  /** An agent of this node could not handle a message; it is kept as a dead letter. */
  'message:dead': { id: string; agent: string; reason: string }
  /** Messages for a peer that can't be reached lie sealed in one of its mailboxes. */
  'mailbox:deposited': { peer: string; mailbox: string; messages: number }
  /** Messages for this node came out of one of its mailboxes. */
  'mailbox:collected': { mailbox: string; messages: number }
  /** A login has another state. */
  'login:changed': { id: string; issuer: string; state: string; reason?: string }
}

export type MeshEventName = keyof MeshEvents

/** Tells the node's listeners; rooms get it as a component. */
export type Emit = <K extends MeshEventName>(event: K, detail: MeshEvents[K]) => void

/** Called with each event as it happens. */
export type MeshListener<K extends MeshEventName> = (detail: MeshEvents[K], event: K) => void

export interface Events {
  readonly emit: Emit
  /** Listens to one kind of event, or to all with `*`. @returns how to stop listening */
  readonly on: <K extends MeshEventName>(event: K | '*', listener: MeshListener<K>) => () => void
}

/** A bus for one node. A listener that throws is a defect of its owner's: it surfaces as an uncaught exception and disturbs nobody else. */
export function createEvents(): Events {
  const listeners = new Map<string, Set<(detail: never, event: never) => void>>()

  const tell = (to: string, event: MeshEventName, detail: unknown): void => {
    for (const listener of listeners.get(to) ?? []) {
      try {
        listener(detail as never, event as never)
      } catch (err) {
        queueMicrotask(() => {
          throw err
        })
      }
    }
  }

  return {
    emit(event, detail) {
      tell(event, event, detail)
      tell('*', event, detail)
    },
    on(event, listener) {
      const set = listeners.get(event) ?? new Set()
      listeners.set(event, set.add(listener as (detail: never, event: never) => void))
      return () => set.delete(listener as (detail: never, event: never) => void)
    }
  }
}
