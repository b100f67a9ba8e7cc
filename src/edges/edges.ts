import { randomBytes } from 'node:crypto'
import type { Session } from '../auth/index.ts'
import type { AgentAddress, Invocation } from '../calls/index.ts'
import { MeshError } from '../errors.ts'
import type { Facts, PolicyRequest, Reservation } from '../policy/index.ts'
import type { Capability } from '../registry/messages.ts'
import { dispatch as dispatchTo, isAsyncIterable, type RequestContext, type RequestOptions } from '../rpc/index.ts'
import { readOrCreatePrivate } from '../store/index.ts'
import { createAnswers } from './answers.ts'
import { MAX_RUNNING_PER_CALLER, RESOLVE_TIMEOUT_MS } from './constants.ts'
import type { EdgeInvocation, Edges, EdgesComponents } from './index.ts'

export function createEdges(components: EdgesComponents): Edges {
  const { owner, self, auth, tokens, pairing, policy, rpc, protocols, store, clock = Date.now } = components
  const inTurn = createTurns()
  const forward = createForwarding(components)
  let token: Promise<string> | undefined

  const dispatch: Edges['dispatch'] = (session, protocol, body, options) =>
    inTurn(session, options, () => rpc.dispatch(session, protocols[protocol], body, options))

  const resolve: Edges['resolve'] = async (target, { signal }) =>
    components.resolve(target, () => within(RESOLVE_TIMEOUT_MS, signal))

  return {
    settings: components.settings,
    owner,
    ownerToken() {
      token ??= openToken(components.tokenPath)
      return token
    },
    oauth: tokens.metadata,
    authenticate: auth.authenticate,
    secretsOf: (peer) => pairing.secretsOf(peer),
    dispatch,
    resolve,
    async invoke(session, invocation, options) {
      const address = await resolve(invocation.target, options)
      if (address.peer !== self) return inTurn(session, options, () => forward(session, address, invocation, options))
      const { target: _target, ...rest } = invocation
      return dispatch(session, 'call', { agent: address.agent, ...rest }, options)
    },
    allow(session, action, resource) {
      const { effect, reason } = policy.decide({ caller: session.caller, action, resource })
      if (effect !== 'allow') throw new MeshError('FORBIDDEN', reason)
    },
    may: (session, action, resource) => policy.judge({ caller: session.caller, action, resource }).effect === 'allow',
    answers: createAnswers(store, clock),
    networkMetrics: components.networkMetrics ?? (async () => ''),
    async checkDisk() {
      // A transaction that changes nothing would not reach the disk
      await store.write([
        { sql: "INSERT OR REPLACE INTO edge_answer (caller, key, digest, at) VALUES ('', '', '', 0)" },
        { sql: "DELETE FROM edge_answer WHERE caller = ''" }
      ])
    }
  }
}

const TOKEN = /^mesh_o_[\w-]{43}\n$/

/** 256 bits in a file that only the owner may read. */
async function openToken(path: string | undefined): Promise<string> {
  const make = (): string => `mesh_o_${randomBytes(32).toString('base64url')}\n`
  if (path === undefined) return make().trim()
  const unusable = (): MeshError =>
    new MeshError('INVALID_CONFIG', `${path} is not a token of the owner`, { hint: 'delete it to get a new one' })
  const text = await readOrCreatePrivate({ path, maxBytes: 128, make, unusable })
  if (!TOKEN.test(text)) throw unusable()
  return text.trim()
}

type InTurn = (session: Session, options: RequestOptions, work: () => Promise<unknown>) => Promise<unknown>

/** Counts what each caller has under way, to the end of its items. */
function createTurns(): InTurn {
  const running = new Map<string, number>()
  const over = (peer: string): void => {
    const left = (running.get(peer) ?? 1) - 1
    if (left === 0) running.delete(peer)
    else running.set(peer, left)
  }
  return async (session, { signal }, work) => {
    const { peer, trust } = session.caller
    if (trust === 'owner') return work()
    const count = running.get(peer) ?? 0
    if (count >= MAX_RUNNING_PER_CALLER) throw new MeshError('BUSY', 'too many requests of this caller are under way')
    running.set(peer, count + 1)
    let isStreaming = false
    try {
      const result = await work()
      if (!isAsyncIterable(result)) return result
      isStreaming = true
      return untilOver(result, signal, () => over(peer))
    } finally {
      if (!isStreaming) over(peer)
    }
  }
}

/** Calls agents of others, in the name of this node. */
function createForwarding({ policy, calls, discovery, owner, protocols }: EdgesComponents) {
  const capabilityAt = async (
    { peer, agent }: AgentAddress,
    { capability, kind }: Invocation,
    signal: AbortSignal
  ): Promise<Capability | undefined> => {
    try {
      const { record } = await discovery.resolve(`${peer}/${agent}`, { signal })
      const named = record.capabilities.filter(
        (each) => each.name === capability && (kind === undefined || each.kind === kind)
      )
      return named.find((each) => each.kind === 'tool') ?? named[0]
    } catch (err) {
      // Who may call an agent need not be allowed to see its record
      if (err instanceof MeshError && err.code === 'NOT_FOUND') return undefined
      throw err
    }
  }

  return async (
    session: Session,
    address: AgentAddress,
    { target: _target, stream, ...invocation }: EdgeInvocation,
    options: RequestOptions
  ): Promise<unknown> => {
    const found = await capabilityAt(address, invocation, within(RESOLVE_TIMEOUT_MS, options.signal))
    const kind = invocation.kind ?? found?.kind ?? 'tool'
    const resource = `${kind}:${address.peer}/${address.agent}/${invocation.capability}`
    const request = {
      caller: session.caller,
      action: 'call.forward',
      resource,
      facts: factsOf(found, invocation.input)
    }
    const reserve = admit(policy, request)
    // What was allowed is what is asked for, also when the other owner has changed it meanwhile
    const asked = { ...invocation, kind }
    const items = async (during: RequestOptions): Promise<AsyncIterable<unknown>> => {
      const reservation = await reserve()
      const streamed = calls.stream(owner.caller, () => address, asked, during)
      return untilOver(streamed, during.signal, () => reservation?.settle({}))
    }
    if (stream !== undefined) {
      const { timeoutMs } = options
      const make = ({ signal }: RequestContext) => items({ signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) })
      const handle = (_: unknown, context: RequestContext) => calls.keep(stream, { resource, context }, make)
      return dispatchTo({ protocol: protocols.call, handle }, session, undefined, options)
    }
    if (found?.streaming === true) return items(options)
    const reservation = await reserve()
    try {
      return await calls.call(owner.caller, address, asked, options)
    } finally {
      reservation?.settle({})
    }
  }
}

/** @returns what takes it from the limits, once: a stream that goes on has been taken from them @throws {MeshError} FORBIDDEN */
function admit(policy: EdgesComponents['policy'], request: PolicyRequest): () => Promise<Reservation | undefined> {
  const decision = policy.decide(request)
  // An ask can't be answered by a grant: those are about this node's own agents
  if (decision.effect !== 'allow') throw new MeshError('FORBIDDEN', decision.reason)
  return async () => policy.reserve(decision, request)
}

function factsOf(found: Capability | undefined, input: unknown): Facts {
  return {
    ...(found === undefined ? {} : { effects: found.effects, tags: found.tags }),
    bytes: () => Buffer.byteLength(JSON.stringify(input ?? {}))
  }
}

/** Items, and a word when no more of them will be read: also when none ever was. */
function untilOver(
  items: AsyncIterable<unknown>,
  signal: AbortSignal | undefined,
  onOver: () => void
): AsyncIterableIterator<unknown> {
  const iterator = items[Symbol.asyncIterator]()
  let isOver = false
  const over = (): void => {
    if (isOver) return
    isOver = true
    signal?.removeEventListener('abort', over)
    onOver()
  }
  signal?.addEventListener('abort', over, { once: true })
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      try {
        const result = await iterator.next()
        if (result.done === true) over()
        return result
      } catch (err) {
        over()
        throw err
      }
    },
    async return() {
      over()
      await iterator.return?.()
      return { done: true, value: undefined }
    }
  }
}

function within(timeoutMs: number, signal: AbortSignal | undefined): AbortSignal {
  const deadline = AbortSignal.timeout(timeoutMs)
  return signal === undefined ? deadline : AbortSignal.any([signal, deadline])
}
