import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ownerCaller } from '../../src/auth/index.ts'
import type { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { AgentState } from '../../src/messaging/agent-state.ts'
import { attempt } from '../../src/messaging/attempt.ts'
import type { MessageBudget, MessageContext } from '../../src/messaging/index.ts'
import type { Envelope } from '../../src/messaging/messages.ts'
import { createUlids } from '../../src/messaging/ulid.ts'
import type { Store } from '../../src/store/index.ts'

const SEED = Number(process.env['MESH_SEED'] ?? Date.now() % 1_000_000)

const { id: peer } = createIdentity()
const newId = createUlids(Date.now)
const to = `${peer}/worker`
const empty = { get: () => undefined, all: () => [] } as unknown as Store // handlers here keep no state

/** What handlers send when one handles a message with this budget. */
function handled(budget: Envelope['budget'], handler: (context: MessageContext) => void): readonly Envelope[] {
  const message: Envelope = {
    v: 1,
    id: newId(),
    from: to,
    to,
    kind: 'request',
    seq: 1,
    sent: 0,
    exp: 1,
    type: 'text/plain',
    budget
  }
  const result = attempt({
    message,
    agent: 'worker',
    caller: ownerCaller(peer),
    tries: 0,
    handler: (_message, context) => handler(context),
    state: new AgentState(empty),
    timeoutMs: 1_000,
    stopping: new AbortController().signal,
    newId,
    clock: () => 0,
    mayQueue: () => true
  })
  if (result instanceof Promise) throw new Error('the handler is none that waits')
  expect(result.end).toBe('processed')
  return result.drafts.map(({ envelope }) => ({ ...envelope, seq: 1 }))
}

const budgets = (messages: readonly Envelope[]) => messages.map(({ budget }) => budget)
const codeOf = (act: () => unknown): string | undefined => {
  try {
    act()
  } catch (err) {
    return (err as MeshError).code
  }
  return undefined
}

it('divides what is left among the messages and the reply that have no share', () => {
  const sent = handled({ hops: 8, calls: 12, cost: 100 }, (context) => {
    context.send(to, 1)
    context.send(to, 2, { budget: { calls: 2, cost: 50, hops: 3 } })
    context.reply(3)
    context.charge(10)
  })
  expect(budgets(sent)).toEqual([
    { hops: 7, calls: 4, cost: 20 },
    { hops: 3, calls: 2, cost: 50 },
    { hops: 7, calls: 4, cost: 20 }
  ])
})

it('gives what cannot be divided to the first', () => {
  const sent = handled({ hops: 1, calls: 7 }, ({ send }) => {
    for (const body of [1, 2, 3]) send(to, body)
  })
  expect(budgets(sent)).toEqual([
    { hops: 0, calls: 2 },
    { hops: 0, calls: 1 },
    { hops: 0, calls: 1 }
  ])
})

it('leaves free what has no bound, but for a share that is named', () => {
  const sent = handled({ hops: 8 }, ({ send, charge }) => {
    charge(1_000_000)
    send(to, 1)
    send(to, 2, { budget: { calls: 5 } })
  })
  expect(budgets(sent)).toEqual([{ hops: 7 }, { hops: 7, calls: 5 }])
})

const REFUSED: {
  id: string
  budget: Envelope['budget']
  act: (context: MessageContext) => unknown
  code?: string
}[] = [
  { id: 'a message at 0 hops', budget: { hops: 0 }, act: ({ send }) => send(to, 1) },
  { id: 'a message at 0 calls', budget: { hops: 8, calls: 0 }, act: ({ send }) => send(to, 1) },
  { id: 'as many hops as there were', budget: { hops: 3 }, act: ({ send }) => send(to, 1, { budget: { hops: 3 } }) },
  {
    id: 'all calls, as the message takes one',
    budget: { hops: 8, calls: 3 },
    act: ({ send }) => send(to, 1, { budget: { calls: 3 } })
  },
  {
    id: 'more than what is left of the cost',
    budget: { hops: 8, cost: 3 },
    act: ({ send }) => send(to, 1, { budget: { cost: 4 } })
  },
  { id: 'a charge beyond what is left', budget: { hops: 8, cost: 3 }, act: ({ charge }) => charge(4) },
  { id: 'a charge that gives', budget: { hops: 8 }, act: ({ charge }) => charge(-1), code: 'INVALID_ARGUMENT' },
  {
    id: 'a share that is no number',
    budget: { hops: 8, calls: 9 },
    act: ({ send }) => send(to, 1, { budget: { calls: Number.NaN } }),
    code: 'INVALID_ARGUMENT'
  },
  {
    id: 'a share of what no budget has',
    budget: { hops: 8, calls: 9 },
    act: ({ send }) => send(to, 1, { budget: { call: 1 } as MessageBudget }),
    code: 'INVALID_ARGUMENT'
  }
]
it.each(REFUSED)('refuses $id, which takes nothing', ({ budget, act, code = 'LIMIT_EXCEEDED' }) => {
  const sent = handled(budget, (context) => {
    expect(codeOf(() => act(context))).toBe(code)
    context.reply(1)
  })
  expect(budgets(sent)).toEqual([{ ...budget, hops: Math.max(0, budget.hops - 1) }])
})

const whole = fc.nat({ max: 30 })
const share = fc.option(fc.record({ calls: whole, cost: whole }, { requiredKeys: [] }), { nil: undefined })
const step = fc.oneof(
  fc.record({ do: fc.constant('send' as const), share }),
  fc.record({ do: fc.constant('charge' as const), amount: whole }),
  fc.record({ do: fc.constant('reply' as const) })
)
const scripts = fc.infiniteStream(fc.array(step, { maxLength: 5 }))

it(`no tree of messages sends or spends more than its root had, seed ${SEED}`, () => {
  const root = fc.record({
    hops: fc.integer({ min: 0, max: 4 }),
    calls: fc.nat({ max: 60 }),
    cost: fc.nat({ max: 60 })
  })
  fc.assert(
    fc.property(root, scripts, (budget, stream) => {
      const spent = { calls: 0, cost: 0 }
      const waiting: Envelope['budget'][] = [budget]
      // A reply costs nothing but hops: without their end it would be a chain without one
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const script = stream.next().value ?? []
        const { hops } = next
        const sent = handled(next, (context) => {
          for (const each of script) {
            if (
              each.do === 'send' &&
              codeOf(() => context.send(to, 1, each.share && { budget: each.share })) === undefined
            )
              spent.calls += 1
            if (each.do === 'charge' && codeOf(() => context.charge(each.amount)) === undefined)
              spent.cost += each.amount
            if (each.do === 'reply' && hops > 0) codeOf(() => context.reply(1))
          }
        })
        waiting.push(...budgets(sent))
      }
      expect(spent.calls).toBeLessThanOrEqual(budget.calls)
      expect(spent.cost).toBeLessThanOrEqual(budget.cost)
    }),
    { seed: SEED }
  )
})
