import { MeshError } from '../errors.ts'
import type { RequestOptions } from '../rpc/index.ts'
import type { AgentAddress, CallsComponents, Invocation } from './index.ts'

/** Whether a capability can be called from here, and if not, all that is missing. */
export interface Compatibility {
  readonly ok: boolean
  readonly agent: string
  readonly capability: string
  /** What is missing, in the order in which it would stop a call; empty when nothing is. */
  readonly missing: readonly {
    readonly what: 'protocol' | 'capability' | 'version' | 'schema' | 'credential' | 'scope' | 'permission' | 'pin'
    /** One sentence, with what is there and what is needed. */
    readonly text: string
    /** What to do about it. */
    readonly hint?: string
  }[]
}

export async function checkCompatibility(
  _components: CallsComponents,
  _target: AgentAddress,
  _invocation: Invocation,
  _options: RequestOptions
): Promise<Compatibility> {
  throw new MeshError('INTERNAL', 'not built')
}
