import type { Registry } from '../registry/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import type { RecordChange } from './cache.ts'

/** This node's own records as they were last announced, and their changes. */
export interface LocalRecords {
  get(agent: string): SignedRecord | undefined
  all(): Iterable<SignedRecord>
  /** Reads the agent's record anew and tells the listeners. @returns the change, if there was one */
  refresh(name: string): RecordChange | undefined
  /** Tells the listeners that the agent isn't offered any more. @returns the change, if there was one */
  remove(name: string): RecordChange | undefined
  named(name: string): SignedRecord | undefined
  /** @returns how to stop listening */
  onChange(listener: (change: RecordChange) => void): () => void
}

export interface LocalComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly registry: Registry
}

export function createLocalRecords({ peer, registry }: LocalComponents): LocalRecords {
  const records = new Map<string, SignedRecord>()
  const listeners = new Set<(change: RecordChange) => void>()

  function put(agent: string, after: SignedRecord | undefined): RecordChange | undefined {
    const before = records.get(agent)
    if (before?.jws === after?.jws) return undefined
    if (after === undefined) records.delete(agent)
    else records.set(agent, after)
    const change: RecordChange = { agent, ...(before && { before }), ...(after && { after }), source: 'cache' }
    for (const listener of listeners) listener(change)
    return change
  }

  return {
    get: (agent) => records.get(agent),
    all: () => records.values(),
    refresh: (name) => put(`${peer}/${name}`, registry.record(name)),
    remove: (name) => put(`${peer}/${name}`, undefined),
    named: (name) => records.get(`${peer}/${name}`),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    }
  }
}
