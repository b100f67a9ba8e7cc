import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { type AgentState, stateJson } from './agent-state.ts'
import { Allowance } from './allowance.ts'
import { MAX_REASON_LENGTH, MAX_SENDS_PER_MESSAGE } from './constants.ts'
import { draftOf, replyDraft } from './drafts.ts'
import type { MessageContext, MessageHandler } from './index.ts'
import type { Draft } from './journal.ts'
import type { Envelope } from './messages.ts'

/** What one run of a handler came to. */
export interface Attempt {
  /** `again`: it threw. */
  readonly end: 'processed' | 'failed' | 'again'
  readonly code?: string
  readonly reason?: string
  /** What only the owner may read. */
  readonly detail?: string
  readonly changes: ReadonlyMap<string, string | null>
  readonly drafts: readonly Draft[]
  readonly isAnswered: boolean
}

export interface AttemptInit {
  readonly message: Envelope
  readonly agent: string
  readonly caller: Caller
  readonly tries: number
  readonly handler: MessageHandler
  readonly state: AgentState
  readonly timeoutMs: number
  readonly stopping: AbortSignal
  readonly newId: () => string
  readonly clock: () => number
  /** Room for what it sends. */
  readonly mayQueue: (peer: string) => boolean
}

/** What a handler has done so far. */
class Effects {
  readonly allowance: Allowance
  readonly changes = new Map<string, string | null>()
  readonly drafts: Draft[] = []
  isAnswered = false
  failure: { code: string; message: string } | undefined
  isOver = false

  constructor({ budget }: Envelope) {
    this.allowance = new Allowance(budget)
  }
}

/** Runs the handler once; never throws. What it does after its end has no effect. A promise only when the handler gave one. */
export function attempt(init: AttemptInit): Attempt | Promise<Attempt> {
  const effects = new Effects(init.message)
  const deadline = new AbortController()
  let result: unknown
  try {
    result = init.handler(init.message, contextOf(init, effects, deadline))
  } catch (err) {
    return over(init, effects, err)
  }
  if (!isThenable(result)) return over(init, effects)
  return settled(init, effects, deadline, result)
}

async function settled(
  init: AttemptInit,
  effects: Effects,
  deadline: AbortController,
  result: PromiseLike<unknown>
): Promise<Attempt> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    const error = new MeshError('TIMEOUT', `the handler was not done within ${init.timeoutMs} ms`)
    deadline.abort(error)
    reject(error)
  }, init.timeoutMs)
  const onStop = (): void => {
    const error = new MeshError('CANCELLED', 'the node is stopping')
    deadline.abort(error)
    reject(error)
  }
  init.stopping.addEventListener('abort', onStop, { once: true })
  if (init.stopping.aborted) onStop()
  try {
    await Promise.race([result, late])
    return over(init, effects)
  } catch (err) {
    return over(init, effects, err)
  } finally {
    clearTimeout(timer)
    init.stopping.removeEventListener('abort', onStop)
  }
}

function over({ message, newId, clock }: AttemptInit, effects: Effects, err?: unknown): Attempt {
  effects.isOver = true
  if (err !== undefined) return { end: 'again', ...whyNot(err), changes: NOTHING, drafts: [], isAnswered: false }
  const { allowance, failure, changes, drafts, isAnswered } = effects
  if (failure === undefined) return { end: 'processed', changes, drafts: allowance.divided(drafts), isAnswered }
  const reply =
    message.kind === 'request' && !isAnswered
      ? [replyDraft(message, { outcome: 'error', body: failure }, { id: newId(), now: clock() })]
      : []
  return {
    end: 'failed',
    code: failure.code,
    reason: failure.message,
    changes,
    drafts: allowance.divided([...drafts, ...reply]),
    isAnswered: isAnswered || reply.length > 0
  }
}

const NOTHING: ReadonlyMap<string, string | null> = new Map()

function contextOf(init: AttemptInit, effects: Effects, deadline: AbortController): MessageContext {
  const { message, agent, caller, state, newId, clock } = init
  const alive = (): void => {
    if (effects.isOver) throw new MeshError('CANCELLED', 'the handler has ended')
  }
  return {
    message,
    caller,
    signal: deadline.signal,
    tries: init.tries,
    state: {
      get(key) {
        const mine = effects.changes.get(key)
        if (mine !== undefined) return mine === null ? undefined : JSON.parse(mine)
        return state.get(agent, key)
      },
      set(key, value) {
        alive()
        effects.changes.set(key, stateJson(key, value))
      }
    },
    reply(body, options = {}) {
      alive()
      if (effects.isAnswered) throw new MeshError('INVALID_ARGUMENT', 'it has been answered already')
      effects.drafts.push(
        replyDraft(message, { outcome: 'result', body, type: options.type }, { id: newId(), now: clock() })
      )
      effects.isAnswered = true
    },
    fail(code, reason) {
      alive()
      effects.failure = { code: /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : 'AGENT_ERROR', message: cut(reason) }
    },
    send(to, body, options = {}) {
      alive()
      const inherited = { from: message.to, trace: message.trace }
      const draft = draftOf({ ...options, to, body }, { id: newId(), now: clock(), ...inherited })
      if (effects.drafts.length >= MAX_SENDS_PER_MESSAGE || !init.mayQueue(draft.peer))
        throw new MeshError('BUSY', 'the outbox has no room for it')
      const budget = effects.allowance.send(options.budget)
      effects.drafts.push({ ...draft, envelope: { ...draft.envelope, budget } })
      return draft.envelope.id
    },
    charge(amount) {
      alive()
      effects.allowance.charge(amount)
    }
  }
}

/** Of an agent's own error nobody else learns more than that there was one. */
function whyNot(err: unknown): { code: string; reason: string; detail: string } {
  const detail = cut(err instanceof Error ? err.message : String(err))
  if (err instanceof MeshError) return { code: err.code, reason: detail, detail }
  return { code: 'AGENT_ERROR', reason: "the agent's handler failed", detail }
}

const cut = (text: string): string => String(text).slice(0, MAX_REASON_LENGTH)

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
