import type { FindSource } from './index.ts'

/** What each step of a find tells. */
export interface Step {
  /** Milliseconds since the find began. */
  readonly ms: number
}

/**
 * One step of a find.
 *
 * - `began`: the switches in force
 * - `source`: a source was turned to, and what it had
 * - `holder`: a peer was asked who offers a match, on a walk through the DHT
 * - `owner`: a peer was asked for its own records
 * - `refused`: what a peer said was not taken
 * - `found`: a result
 * - `ended`
 */
export type FindStep = Step &
  (
    | {
        readonly step: 'began'
        readonly catalogue: 'on' | 'off'
        /** How many nodes there are; unset when no walk has told yet. */
        readonly nodes?: number
        readonly peers: number
        readonly routingTable: number
        /** Records and hints of others that are known here. */
        readonly records: number
        readonly hints: number
      }
    | { readonly step: 'source'; readonly source: FindSource; readonly says: string }
    | {
        readonly step: 'holder'
        readonly peer: string
        readonly tookMs: number
        readonly outcome: 'answered' | 'timeout' | 'unreachable' | 'refused' | 'invalid'
        /** Which of the disjoint paths. */
        readonly path: number
        /** Peers nearer to the key that it named. */
        readonly closer: number
        /** Those who offer a match that it named, and how many it says there are. */
        readonly named: number
        readonly total?: number
        readonly reason?: string
      }
    | {
        readonly step: 'owner'
        readonly peer: string
        readonly source: FindSource
        readonly tookMs: number
        readonly outcome: 'answered' | 'gone' | 'silent'
        /** Records that held and match. */
        readonly records: number
      }
    | { readonly step: 'refused'; readonly peer: string; readonly reason: string }
    | { readonly step: 'found'; readonly agent: string; readonly name: string; readonly source: FindSource }
    | {
        readonly step: 'ended'
        readonly why: 'limit' | 'deadline' | 'cancelled' | 'exhausted'
        readonly complete: boolean
        /** Sent to holders, and to owners that were not known to offer a match. */
        readonly messages: number
        readonly candidates: number
      }
  )

/** A step before its time is known. */
export type StepDetail = FindStep extends infer S ? (S extends Step ? Omit<S, 'ms'> : never) : never

/** Takes the steps of one find. */
export type Explain = (detail: StepDetail) => void

/** @returns what gives each step its time; does nothing when nobody listens */
export function explainTo(onStep: ((step: FindStep) => void) | undefined): Explain {
  if (onStep === undefined) return () => {}
  const startedAt = performance.now()
  // A detail and its time are the step that it is the detail of.
  return (detail) => onStep({ ms: Math.round(performance.now() - startedAt), ...detail } as FindStep)
}
