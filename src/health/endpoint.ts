import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { Policy } from '../policy/index.ts'
import type { Endpoint } from '../rpc/index.ts'
import { MAX_COUNTED_PEERS, STATUS, STATUS_BURST, STATUS_PER_SECOND } from './constants.ts'
import { type StatusInfo, statusRequest } from './messages.ts'

export interface EndpointComponents {
  readonly policy: Pick<Policy, 'decide'>
  readonly info: () => StatusInfo
  /** Milliseconds of a clock that doesn't go back. */
  readonly now: () => number
}

/** What a peer has left of its requests. */
interface Bucket {
  tokens: number
  at: number
}

/** Serves `status/1.0.0`: everybody who may connect may ping, and policy says who may know more. */
export function createStatusEndpoint({ policy, info, now }: EndpointComponents): Endpoint {
  const buckets = new LRUCache<string, Bucket>({ max: MAX_COUNTED_PEERS })

  const take = (peer: string): void => {
    const at = now()
    const bucket = buckets.get(peer) ?? { tokens: STATUS_BURST, at }
    bucket.tokens = Math.min(STATUS_BURST, bucket.tokens + ((at - bucket.at) / 1_000) * STATUS_PER_SECOND)
    bucket.at = at
    buckets.set(peer, bucket)
    if (bucket.tokens < 1)
      throw new MeshError('BUSY', `a peer may ask for the status ${STATUS_PER_SECOND} times a second`)
    bucket.tokens -= 1
  }

  return {
    protocol: STATUS,
    handle(body, { caller }) {
      take(caller.peer)
      const { success, data } = statusRequest.safeParse(body)
      if (!success) throw new MeshError('INVALID_MESSAGE', 'not a status request: op is ping, with a nonce, or info')
      if (data.op === 'ping') return { nonce: data.nonce }
      const { effect, reason } = policy.decide({ caller, action: 'status.read', resource: 'node' })
      // A load that somebody must be asked about is old by the time of the answer
      if (effect !== 'allow') throw new MeshError('FORBIDDEN', reason)
      return info()
    }
  }
}
