import type { Statement, Store } from '../store/index.ts'
import { OWNER_AGENT, SWEEP_ROWS } from './constants.ts'
import type { Reply } from './index.ts'
import type { Journal } from './journal.ts'
import type { Envelope } from './messages.ts'
import type { Outcomes } from './outcomes.ts'
import { isEnd, text } from './rows.ts'
import type { Settled } from './settling.ts'

export interface DecidingComponents {
  readonly self: string
  readonly store: Store
  readonly journal: Journal
  readonly outcomes: Outcomes
  readonly newId: () => string
  /** Gives an agent of this node a reply that nobody has written; decides the request with it. @returns whether it could */
  readonly conclude: (reply: Envelope, now: number) => boolean
  /** Requests have their outcome. */
  readonly onOutcome: (ids: readonly string[]) => void
}

/** Ends requests that get no reply: refused, failed, or their time is over. An agent that asked is told as by a reply. */
export class Deciding {
  readonly #components: DecidingComponents

  constructor(components: DecidingComponents) {
    this.#components = components
  }

  /** Messages of ours have come to their end here; of the requests among them that is the outcome. */
  settled(settled: readonly Settled[]): void {
    for (const { id, isRequest, peer, state, code, reason, at } of settled) {
      if (!isRequest || peer !== undefined || !isEnd(state)) continue
      const isExpired = state === 'expired'
      const body = isExpired ? undefined : { code: code ?? 'CANCELLED', message: reason ?? 'it was not delivered' }
      this.#decide(id, isExpired ? 'expired' : 'error', body, at)
    }
  }

  /** Those whose time is over. */
  expire(now: number): void {
    for (const id of this.#components.outcomes.due(now, SWEEP_ROWS)) this.#decide(id, 'expired', undefined, now)
  }

  #decide(id: string, outcome: Reply['outcome'], body: unknown, at: number): void {
    const { outcomes, journal, onOutcome, conclude } = this.#components
    if (outcomes.standing(id) !== 'open') return
    const reply = this.#reply(id, outcome, body, at)
    if (reply !== undefined && conclude(reply, at)) return
    const decided: Statement = outcomes.decide(id, outcome, body, at)
    const over = (): void => {
      outcomes.release([id])
      onOutcome([id])
    }
    journal.add({ statements: [decided], done: over, failed: over })
  }

  /** Undefined when no agent of this node waits for it: owners ask for the outcome. */
  #reply(id: string, outcome: Reply['outcome'], body: unknown, now: number): Envelope | undefined {
    const { self, store, newId } = this.#components
    const row = store.get('SELECT envelope FROM message_sent WHERE id = ?', [id])
    if (row === undefined) return undefined
    // Written from an envelope
    const request = JSON.parse(text(row, 'envelope')) as Envelope
    const to = request.replyTo ?? request.from
    if (!to.startsWith(`${self}/`) || to === `${self}/${OWNER_AGENT}`) return undefined
    return {
      v: 1,
      id: newId(),
      from: request.to,
      to,
      kind: 'reply',
      corr: id,
      // It has no place among those of whom was asked
      seq: 1,
      sent: now,
      // An agent that is down shall know when it is up again
      exp: now + KEPT_MS,
      type: 'application/json',
      ...(body === undefined ? {} : { body }),
      outcome,
      ...(request.trace === undefined ? {} : { trace: request.trace }),
      budget: spent(request.budget)
    }
  }
}

/** Whom it went to may be at work with it yet, so nothing of it comes back. */
function spent({ hops, calls, cost }: Envelope['budget']): Envelope['budget'] {
  return {
    hops: Math.max(0, hops - 1),
    ...(calls === undefined ? {} : { calls: 0 }),
    ...(cost === undefined ? {} : { cost: 0 })
  }
}

/** As long as others are kept after their end. */
const KEPT_MS = 7 * 24 * 3_600_000
