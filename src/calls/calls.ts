import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { dispatch, isAsyncIterable, type RequestOptions } from '../rpc/index.ts'
import { readTraceparent } from '../wire/index.ts'
import { toStream } from './checks.ts'
import { checkCompatibility } from './compatibility.ts'
import { DETACHED_MS, MAX_DETACHED_MS } from './constants.ts'
import type { AgentAddress, Calls, CallsComponents, CallsInit, Invocation } from './index.ts'
import { type ItemSource, readItems } from './items.ts'
import type { CallRequest } from './messages.ts'
import { createRemote } from './remote.ts'
import { createReplays } from './replays.ts'
import { createServing } from './serving.ts'

/** @throws {MeshError} INVALID_ARGUMENT for a time that is none */
export function createCalls(components: CallsComponents, init: CallsInit = {}): Calls {
  const { self, rpc } = components
  checkDetached(init.detachedMs)
  const replays = createReplays(init)
  const endpoint = createServing(components, replays)
  const remote = createRemote(components, init)

  const callLocal = async (caller: Caller, body: CallRequest, options: RequestOptions): Promise<unknown> => {
    const result = await dispatch(endpoint, { caller }, body, options)
    return isAsyncIterable(result) ? Array.fromAsync(result) : result
  }

  const streamLocal = async (caller: Caller, body: CallRequest, options: RequestOptions): Promise<ItemSource> => {
    const result = await dispatch(endpoint, { caller }, body, options)
    const items = isAsyncIterable(result) ? result : toStream(result)
    return { iterator: items[Symbol.asyncIterator]() }
  }

  return {
    start: () => rpc.handle(endpoint),
    dropPeer: (peer) => replays.dropPeer(peer),
    stop: () => replays.stop(),
    call(caller, target, invocation, options) {
      const body = toRequest(target, invocation)
      return target.peer === self ? callLocal(caller, body, options) : remote.call(target, body, options)
    },
    keep: (wanted, request, work) => {
      const running = replays.find(request.context.caller.peer, wanted)
      if (running !== undefined) return running.of(request.resource).attach(wanted.after, request.context)
      return replays.begin(wanted, request, (replay) => work(replay.context)).attach(0, request.context)
    },
    check: (target, invocation, options) => checkCompatibility(components, target, invocation, options),
    stream: (caller, target, invocation, options) =>
      readItems(async () => {
        const address = await target()
        const body = toRequest(address, invocation)
        return address.peer === self ? streamLocal(caller, body, options) : remote.stream(address, body, options)
      })
  }
}

function checkDetached(detachedMs = DETACHED_MS): void {
  if (Number.isInteger(detachedMs) && detachedMs >= 0 && detachedMs <= MAX_DETACHED_MS) return
  throw new MeshError('INVALID_ARGUMENT', `streams.detachedMs is whole milliseconds from 0 to ${MAX_DETACHED_MS}`)
}

/** @throws {MeshError} INVALID_ARGUMENT */
function toRequest({ agent }: AgentAddress, invocation: Invocation): CallRequest {
  const { capability, kind, version, input, stream, trace } = invocation
  if (trace !== undefined && readTraceparent(trace) === undefined)
    throw new MeshError('INVALID_ARGUMENT', 'trace: it is no traceparent')
  return {
    agent,
    capability,
    ...(kind === undefined ? {} : { kind }),
    ...(version === undefined ? {} : { version }),
    ...(input === undefined ? {} : { input }),
    ...(stream === undefined ? {} : { stream }),
    ...(trace === undefined ? {} : { trace })
  }
}
