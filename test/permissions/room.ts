import { onTestFinished } from 'vitest'
import type { Session } from '../../src/auth/index.ts'
import { createEvents, type MeshEventName } from '../../src/events.ts'
import type { Grant, Grants } from '../../src/grants/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import {
  createPermissions,
  type Permissions,
  type PermissionsInit,
  permissionsMigrations,
  type Question
} from '../../src/permissions/index.ts'
import { type Decision, openPolicy, type Policy } from '../../src/policy/index.ts'
import type { Capability } from '../../src/registry/messages.ts'
import type { Endpoint } from '../../src/rpc/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { digest } from '../../src/wire/index.ts'
import { callerOf, contextOf } from '../callers.ts'

export const ALICE = createIdentity().id
export const BOB = createIdentity().id

export const WRITE: Capability = capabilityOf({ name: 'write', effects: 'write' })

export function capabilityOf(more: Partial<Capability>): Capability {
  const capability = {
    kind: 'tool' as const,
    name: 'write',
    version: '1.0.0',
    streaming: false,
    effects: 'write' as const,
    tags: [],
    ...more
  }
  return { ...capability, digest: digest(capability) }
}

export const ASK: Decision = {
  effect: 'ask',
  rules: ['known-calls'],
  reason: 'rule known-calls has the owner asked',
  ask: { ttlMs: 600_000, remember: ['once', 'session', 'duration', 'always'] }
}

export function questionOf(peer: string, input: unknown, more: Partial<Question> = {}): Question {
  const caller = callerOf(peer, 'known')
  return {
    caller,
    session: { caller },
    action: 'tool.call',
    resource: 'tool:fs/write',
    agent: 'fs',
    capability: WRITE,
    input,
    ...more
  }
}

/** Grants of the room's own making: matched as the real ones are, kept in memory. */
export interface FakeGrants extends Grants {
  readonly issued: (Grant & { session?: Session })[]
  /** The next issue fails with it, once. */
  failNext: Error | undefined
}

export function fakeGrants(clock: () => number = Date.now): FakeGrants {
  const issued: (Grant & { session?: Session; left: number })[] = []
  const fake = {
    issued,
    failNext: undefined as Error | undefined,
    async issue({ holder, session, ...terms }: Parameters<Grants['issue']>[0]) {
      const { failNext } = fake
      fake.failNext = undefined
      if (failNext !== undefined) throw failNext
      const grant = {
        ...terms,
        id: `g${issued.length}`,
        issuer: 'self',
        owner: 'self',
        holder,
        issuedAt: clock(),
        chain: [`chain-${issued.length}`],
        role: 'issued' as const,
        state: 'valid' as const,
        left: terms.uses ?? Number.POSITIVE_INFINITY,
        ...(session && { session })
      }
      issued.push(grant)
      return grant
    },
    find({ caller, session, action, resource, input, digest: current }: Parameters<Grants['find']>[0]) {
      const grant = issued.find(
        (each) =>
          each.holder === caller.peer &&
          each.act === action &&
          each.res === resource &&
          each.left > 0 &&
          (each.expiresAt ?? Number.POSITIVE_INFINITY) > clock() &&
          (each.session === undefined || each.session === session) &&
          (each.digest === undefined || each.digest === current) &&
          (each.input === undefined || each.input === input?.())
      )
      if (grant === undefined) return undefined
      return {
        grant,
        take: async () => grant.left-- > 0,
        giveBack: async () => void grant.left++
      }
    },
    list: () => issued,
    get: (id: string) => issued.find((each) => each.id === id),
    toPresent: () => [],
    dependsOn: () => false,
    hasRevokedOver: () => false,
    onRevoke: () => () => {}
  }
  return fake as unknown as FakeGrants // what the room doesn't use is missing
}

export interface Room {
  readonly permissions: Permissions
  readonly grants: FakeGrants
  readonly policy: Policy
  readonly store: Store
  /** Names of events with the id of the request. */
  readonly events: [MeshEventName, string][]
  readonly emit: ReturnType<typeof createEvents>['emit']
  /** Asks the endpoint as a peer does. */
  readonly ask: (peer: string, body: unknown, signal?: AbortSignal) => Promise<unknown>
}

export interface RoomInit extends Partial<PermissionsInit> {
  readonly grants?: FakeGrants
  /** Don't start it. */
  readonly idle?: boolean
}

export async function openRoom(init: RoomInit = {}): Promise<Room> {
  const store = init.store ?? (await openStore({ migrations: [permissionsMigrations] }))
  if (init.store === undefined) onTestFinished(() => store.close())
  const clock = init.clock ?? Date.now
  const policy = init.policy ?? (await openPolicy({ clock }))
  const grants = init.grants ?? fakeGrants(clock)
  const { emit, on } = createEvents()
  const events: [MeshEventName, string][] = []
  on('*', (detail, event) => void events.push([event, (detail as { id: string }).id]))
  let endpoint: Endpoint | undefined
  const rpc = {
    handle: async (served: Endpoint) => {
      endpoint = served
    },
    request: async () => ({})
  }
  const permissions = await createPermissions({
    identity: createIdentity(),
    trust: { of: () => ({ level: 'known' }) },
    rpc: rpc as unknown as PermissionsInit['rpc'], // what the room doesn't use is missing
    capabilityOf: (agent, name, kind = 'tool') =>
      agent === 'fs' && name === WRITE.name && kind === WRITE.kind ? WRITE : undefined,
    tagsOf: () => [],
    emit,
    on,
    ...init,
    store,
    policy,
    grants,
    clock
  })
  if (init.idle !== true) await permissions.start()
  onTestFinished(() => permissions.stop())
  return {
    permissions,
    grants,
    policy,
    store,
    events,
    emit,
    ask: async (peer, body, signal = new AbortController().signal) =>
      endpoint?.handle(body, contextOf(callerOf(peer, 'known'), signal))
  }
}

/** The id of the request that a call has to wait for. */
export async function pendingOf(promise: Promise<unknown>): Promise<string> {
  const failure = await promise.then(
    () => ({ code: 'none' }),
    (err: { code: string; data?: { id?: string } }) => err
  )
  if (failure.code !== 'PERMISSION_PENDING') throw new Error(`not pending but ${failure.code}`, { cause: failure })
  return ('data' in failure && failure.data?.id) || ''
}
