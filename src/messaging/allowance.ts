import { MeshError } from '../errors.ts'
import type { MessageBudget } from './index.ts'
import type { Draft } from './journal.ts'
import type { Envelope } from './messages.ts'

type Budget = Envelope['budget']
type Kind = 'calls' | 'cost'

const KINDS = ['calls', 'cost'] as const satisfies Kind[]

/** What a handler may still send and spend of the budget of the message that it handles. */
export class Allowance {
  readonly #hops: number
  /** Undefined: as much as it likes. */
  readonly #left: Partial<Record<Kind, number>>

  constructor({ hops, calls, cost }: Budget) {
    this.#hops = hops
    this.#left = { ...(calls !== undefined && { calls }), ...(cost !== undefined && { cost }) }
  }

  /** Takes one call, and the share that a message is to carry. @throws {MeshError} LIMIT_EXCEEDED when there isn't so much, and then takes nothing */
  send({ hops = this.#hops - 1, ...share }: MessageBudget = {}): Budget {
    if (this.#hops === 0) throw exceeded('the message has been passed on as often as its budget allows')
    if (hops > this.#hops - 1) throw exceeded(`its budget leaves ${this.#hops - 1} hops, not ${hops}`)
    const taken = { calls: 1 + (share.calls ?? 0), cost: share.cost ?? 0 }
    for (const kind of KINDS) this.#check(kind, taken[kind])
    for (const kind of KINDS) this.#take(kind, taken[kind])
    return { hops, ...share }
  }

  /** @throws {MeshError} LIMIT_EXCEEDED when there isn't so much, INVALID_ARGUMENT */
  charge(amount: number): void {
    if (!Number.isSafeInteger(amount) || amount < 0)
      throw new MeshError('INVALID_ARGUMENT', 'what is charged must be a whole number from 0')
    this.#check('cost', amount)
    this.#take('cost', amount)
  }

  /** Divides what is left among those that have no share of their own; the first get what can't be divided. */
  divided(drafts: readonly Draft[]): readonly Draft[] {
    const bounded = KINDS.filter((kind) => this.#left[kind] !== undefined)
    return bounded.reduce((divided, kind) => divide(divided, kind, this.#left[kind] ?? 0), drafts)
  }

  #check(kind: Kind, amount: number): void {
    const left = this.#left[kind]
    if (left !== undefined && amount > left)
      throw exceeded(`of its budget of ${kind} ${left} is left, and ${amount} is needed`)
  }

  #take(kind: Kind, amount: number): void {
    const left = this.#left[kind]
    if (left !== undefined) this.#left[kind] = left - amount
  }
}

function divide(drafts: readonly Draft[], kind: Kind, left: number): readonly Draft[] {
  const heirs = drafts.filter((draft) => isHeir(draft, kind)).length
  let place = 0
  return drafts.map((draft) => {
    if (!isHeir(draft, kind)) return draft
    const share = Math.floor(left / heirs) + (place++ < left % heirs ? 1 : 0)
    return { ...draft, envelope: { ...draft.envelope, budget: { ...draft.envelope.budget, [kind]: share } } }
  })
}

/** A reply takes back what nobody else has: whoever asked may go on with it. */
function isHeir({ envelope }: Draft, kind: Kind): boolean {
  return envelope.kind === 'reply' || envelope.budget[kind] === undefined
}

function exceeded(message: string): MeshError {
  return new MeshError('LIMIT_EXCEEDED', message)
}
