import { HELLO, readHello, STREAM_RESUME } from '../auth/index.ts'
import { abortable, MeshError } from '../errors.ts'
import type { Capability, SignedRecord } from '../registry/messages.ts'
import type { RequestOptions } from '../rpc/index.ts'
import { pickCapability } from './capability.ts'
import { type Checks, checkInput, createChecks, itemCheck, NO_CHECKS } from './checks.ts'
import { CALL, DETACHED_MS, MAX_ROUTES } from './constants.ts'
import { tellFirst } from './first-item.ts'
import type { AgentAddress, CallsComponents, CallsInit } from './index.ts'
import type { ItemSource } from './items.ts'
import type { CallRequest } from './messages.ts'
import { createResumed } from './resumed.ts'

/** Calls of agents of peers. */
export interface Remote {
  call(target: AgentAddress, body: CallRequest, options: RequestOptions): Promise<unknown>
  stream(target: AgentAddress, body: CallRequest, options: RequestOptions): Promise<ItemSource>
}

export function createRemote(components: CallsComponents, init: CallsInit): Remote {
  const { rpc, presenter, permissions, trust, describe, health } = components
  const checksFor = createRemoteChecks(components)

  const call = async (target: AgentAddress, body: CallRequest, options: RequestOptions): Promise<unknown> => {
    const known = checksFor(target, body, options)
    const checks = known instanceof Promise ? await known : known
    const pending = checkInput(checks, body.input ?? {})
    if (pending !== undefined) await pending
    const unready = prepare(target.peer)
    if (unready !== undefined) await unready
    const result = await ask(target, body, options)
    await judge(trust, target.peer, () => checkResult(checks, result))
    return result
  }

  const ask = async ({ peer, agent }: AgentAddress, body: CallRequest, options: RequestOptions): Promise<unknown> => {
    const begun = health?.calls.begin() ?? 0
    try {
      const result = await rpc.request(peer, CALL, body, options)
      health?.calls.called(peer, agent, begun)
      return result
    } catch (err) {
      health?.calls.called(peer, agent, begun, err)
      permissions.expect(peer, err)
      throw err
    }
  }

  /** Whatever there is to show the peer before it is asked for something; undefined when it has been shown. */
  const prepare = (peer: string): Promise<unknown> | undefined => {
    const credentials = presenter.ready(peer)
    const grants = permissions.present(peer)
    return credentials === undefined && grants === undefined ? undefined : Promise.allSettled([credentials, grants])
  }

  const canResume = async (peer: string, options: RequestOptions): Promise<boolean> => {
    const { features = [] } = readHello(await rpc.request(peer, HELLO, describe(), options))
    return features.includes(STREAM_RESUME)
  }

  const resumed = createResumed({
    ask: (peer, body, options) => rpc.stream(peer, CALL, body, options),
    canResume: (peer, signal) => canResume(peer, { signal }),
    prepare,
    random: init.random ?? Math.random,
    resumeMs: init.detachedMs ?? DETACHED_MS
  })

  const stream = async (target: AgentAddress, body: CallRequest, options: RequestOptions): Promise<ItemSource> => {
    const checks = await checksFor(target, body, options)
    await checkInput(checks, body.input ?? {})
    await prepare(target.peer)
    // A peer that doesn't know about it would begin anew
    if (body.stream !== undefined && body.stream.after > 0 && !(await canResume(target.peer, options)))
      throw new MeshError('STREAM_LOST', 'that node takes up no streams', { hint: 'call again' })
    const begun = health?.calls.begin() ?? 0
    const items = resumed(target.peer, body, options)
    const tell = (failure?: unknown): void => health?.calls.called(target.peer, target.agent, begun, failure)
    return { iterator: health === undefined ? items : tellFirst(items, tell), check: itemCheck(checks) }
  }

  return { call, stream }
}

/** What a peer answers tells something about it. */
async function judge(trust: CallsComponents['trust'], peer: string, check: () => void | Promise<void>): Promise<void> {
  try {
    const pending = check()
    if (pending !== undefined) await pending
    trust.note(peer, 'call:completed')
  } catch (err) {
    trust.note(peer, 'schema:violated')
    throw err
  }
}

function checkResult(checks: Checks, result: unknown): void | Promise<void> {
  if (!checks.streaming) return itemCheck(checks)?.(result)
  const check = itemCheck(checks)
  if (check === undefined) return undefined
  return (Array.isArray(result) ? result : [result]).reduce<Promise<void>>(
    (before, item) => before.then(() => check(item)),
    Promise.resolve()
  )
}

type RemoteChecks = (target: AgentAddress, body: CallRequest, options: RequestOptions) => Checks | Promise<Checks>

/** The schemas by which a peer's agent is called, from its record; without waiting once they are known. */
function createRemoteChecks({ discovery, schemas, pins }: CallsComponents): RemoteChecks {
  const checksOf = createChecks(schemas)
  const routes = new Map<
    string,
    { readonly signed: SignedRecord; readonly capability: Capability; readonly checks: Checks }
  >()
  const fetching = new Map<string, Promise<SignedRecord>>()

  /** An agent must not get around a pin by hiding what it is now. */
  const unseen = (agent: string, { capability, kind }: CallRequest): Checks => {
    const pinned = pins.list(agent).find((pin) => pin.name === capability && (kind === undefined || pin.kind === kind))
    if (pinned === undefined) return NO_CHECKS
    throw new MeshError(
      'DEFINITION_CHANGED',
      `the definition of ${agent} ${capability}, which is pinned, can't be seen any more`,
      {
        hint: `call it as it is now, unseen: pryx-mesh pins forget ${agent} ${capability}`
      }
    )
  }

  const compile = async (signed: SignedRecord, key: string, body: CallRequest): Promise<Checks> => {
    const capability = pickCapability(signed.record.capabilities, body)
    if (capability instanceof MeshError) {
      // The owner may have changed the agent since; what the record lacks is for the owner to refuse.
      if (capability.code === 'NOT_FOUND') return unseen(signed.record.id, body)
      throw capability
    }
    await pins.check(signed.record.id, capability)
    const checks = await checksOf(capability)
    if (routes.size >= MAX_ROUTES) routes.clear()
    routes.set(key, { signed, capability, checks })
    return checks
  }

  /** One request for a record, however many calls wait for it. */
  const fetchRecord = (id: string): Promise<SignedRecord> => {
    const pending = fetching.get(id)
    if (pending !== undefined) return pending
    const fetched = discovery
      .resolve(id, { signal: AbortSignal.timeout(CALL.timeoutMs) })
      .finally(() => fetching.delete(id))
    fetching.set(id, fetched)
    return fetched
  }

  return (target, body, options) => {
    const id = `${target.peer}/${target.agent}`
    const key = `${id} ${body.capability} ${body.kind ?? ''} ${body.version ?? ''}`
    const signed = discovery.known(id)
    const known = routes.get(key)
    if (known !== undefined && known.signed === signed) {
      const pending = pins.check(id, known.capability)
      return pending === undefined ? known.checks : pending.then(() => known.checks)
    }
    if (signed !== undefined) return compile(signed, key, body)
    const deadline = AbortSignal.timeout(options.timeoutMs ?? CALL.timeoutMs)
    const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
    return abortable(fetchRecord(id), signal).then(
      (fetched) => compile(fetched, key, body),
      (err: unknown) => {
        // Who may call an agent need not be allowed to see its record.
        if (err instanceof MeshError && err.code === 'NOT_FOUND') return unseen(id, body)
        throw err
      }
    )
  }
}
