import type { Emit } from '../events.ts'
import type { Rpc } from '../rpc/index.ts'
import { HELLO, PRESENT_TIMEOUT_MS } from './constants.ts'
import { readHello } from './hello.ts'
import type { Hello, HelloAnswer, HelloRequest } from './messages.ts'

/** Where credentials of this node come from. */
export interface CredentialSource {
  /** Whether there is something to present to this peer; from memory. */
  readonly holdsFor: (peer: string) => boolean
  /** What to present, and when to present it anew (milliseconds since 1970). */
  readonly toPresent: (
    peer: string,
    hello: Hello,
    options: { signal: AbortSignal }
  ) => Promise<{
    readonly credentials: readonly Readonly<Record<string, unknown>>[]
    readonly renewAt?: number | undefined
  }>
}

/** Greets peers and presents this node's credentials to those that they are for. */
export interface Presenter {
  /** Greets a peer that has been connected; the answer tells its name. Never rejects. */
  greet(peer: string): Promise<void>
  /** Waits until the peer has been presented what there is for it, on this connection; undefined when that is done, or nothing. Never rejects. */
  readonly ready: (peer: string) => Promise<void> | undefined
  /** Presents anew at the next use: what is held for the peer has changed. */
  changed(peer: string): void
  /** The connection is gone, and with it what was presented. */
  lost(peer: string): void
  stop(): void
}

export interface PresenterComponents {
  readonly rpc: Pick<Rpc, 'request'>
  readonly describe: () => Hello
  readonly sources: readonly CredentialSource[]
  readonly onHello: (peer: string, hello: Hello) => void
  readonly emit: Emit
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}

export function createPresenter(components: PresenterComponents): Presenter {
  const { rpc, describe, sources, onHello, emit, clock = Date.now } = components
  /** Settled or not: what was presented to whom on the present connection. */
  const presented = new Map<string, Promise<void>>()
  const done = new Set<string>()
  const renewals = createRenewals(clock)

  const holders = (peer: string) => sources.filter((source) => source.holdsFor(peer))

  const hello = async (peer: string, credentials?: HelloRequest['credentials']): Promise<HelloAnswer> => {
    const body: HelloRequest = { ...describe(), ...(credentials && { credentials }) }
    const answer = readHello(await rpc.request(peer, HELLO, body))
    onHello(peer, answer)
    return answer
  }

  const present = async (peer: string): Promise<void> => {
    const signal = AbortSignal.timeout(PRESENT_TIMEOUT_MS)
    const met = await hello(peer)
    const offers = await Promise.allSettled(holders(peer).map((source) => source.toPresent(peer, met, { signal })))
    const held = offers.flatMap((offer) => (offer.status === 'fulfilled' ? [offer.value] : []))
    const renewAt = Math.min(...held.map((each) => each.renewAt ?? Number.POSITIVE_INFINITY))
    if (renewAt !== Number.POSITIVE_INFINITY) renewals.set(peer, renewAt, () => void start(peer))
    const credentials = held.flatMap((each) => each.credentials) as NonNullable<HelloRequest['credentials']>
    if (credentials.length === 0) return
    const { credentials: results = [] } = await hello(peer, credentials)
    for (const result of results) {
      if (!result.ok) emit('credential:refused', { peer, method: result.method, reason: result.error.message })
    }
  }

  /** What can't be presented doesn't stop a call: the peer's policy then says what is missing. */
  const start = (peer: string): Promise<void> => {
    const running = present(peer)
      .catch(() => {})
      .then(() => {
        if (presented.get(peer) === running) done.add(peer)
      })
    presented.set(peer, running)
    return running
  }

  const forget = (peer: string): void => {
    renewals.delete(peer)
    presented.delete(peer)
    done.delete(peer)
  }

  return {
    async greet(peer) {
      if (holders(peer).length > 0) return presented.get(peer) ?? start(peer)
      // Until something for it comes, which changed() tells, no call looks for that again
      done.add(peer)
      await hello(peer).catch(() => {}) // not a node of the mesh, or gone again: then it has no name
    },
    ready(peer) {
      if (done.has(peer) || holders(peer).length === 0) return undefined
      return presented.get(peer) ?? start(peer)
    },
    changed: forget,
    lost: forget,
    stop: () => renewals.clear()
  }
}

/** One timer for each peer. */
function createRenewals(clock: () => number) {
  const timers = new Map<string, NodeJS.Timeout>()
  return {
    set(peer: string, at: number, renew: () => void): void {
      clearTimeout(timers.get(peer))
      const afterMs = Math.min(Math.max(MIN_RENEWAL_MS, at - clock()), MAX_RENEWAL_MS)
      timers.set(peer, setTimeout(renew, afterMs).unref())
    },
    delete(peer: string): void {
      clearTimeout(timers.get(peer))
      timers.delete(peer)
    },
    clear(): void {
      for (const timer of timers.values()) clearTimeout(timer)
      timers.clear()
    }
  }
}

/** A source that always wants to renew at once must not make a busy loop. */
const MIN_RENEWAL_MS = 1_000
/** Timers of Node wrap at 24.8 days. */
const MAX_RENEWAL_MS = 86_400_000
