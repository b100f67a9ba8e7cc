import { onTestFinished } from 'vitest'
import { ownerCaller } from '../../src/auth/index.ts'
import { MeshError } from '../../src/errors.ts'
import { createEvents, type Events, type MeshEventName } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import {
  createMessaging,
  MESSAGE,
  type MessageHandler,
  type Messaging,
  type MessagingComponents,
  type MessagingInit,
  mailboxMigrations,
  messagingMigrations,
  type Receiver
} from '../../src/messaging/index.ts'
import { DepositBatches } from '../../src/messaging/mailbox/batches.ts'
import type { DeliverRequest } from '../../src/messaging/messages.ts'
import { openPolicy, type Policy, policyMigrations } from '../../src/policy/index.ts'
import { dispatch, type Endpoint } from '../../src/rpc/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'

/** Nodes in one process whose requests to each other are JSON, as between real ones. */
export class Mesh {
  /** By `<PeerId> <protocol>`. */
  readonly #endpoints = new Map<string, Endpoint>()
  /** `<from> <to>` of peers that can't be reached. */
  readonly cut = new Set<string>()
  /** Told of each request; may change the answer, or throw in its place. */
  meddle: (from: string, to: string, body: unknown, answer: () => Promise<unknown>) => Promise<unknown> = (
    _from,
    _to,
    _body,
    answer
  ) => answer()

  rpcOf(self: string): MessagingComponents['rpc'] {
    return {
      handle: async (endpoint) => void this.#endpoints.set(`${self} ${endpoint.protocol.id}`, endpoint),
      request: async (to, protocol, body) => {
        const endpoint = this.#endpoints.get(`${to} ${protocol.id}`)
        if (endpoint === undefined || !this.isConnected(self, to)) throw new MeshError('UNREACHABLE', 'nobody is there')
        const caller = { ...ownerCaller(self), trust: 'known' as const, binding: 'noise' as const }
        return this.meddle(self, to, body, async () =>
          JSON.parse(JSON.stringify(await dispatch(endpoint, { caller }, JSON.parse(JSON.stringify(body)))))
        )
      },
      stream: () => {
        throw new Error('messages are not streamed')
      },
      stop: async () => {},
      dispatch: () => Promise.reject(new Error('not here'))
    } as MessagingComponents['rpc']
  }

  leave(peer: string): void {
    for (const key of this.#endpoints.keys()) if (key.startsWith(peer)) this.#endpoints.delete(key)
  }

  isConnected(from: string, to: string): boolean {
    return this.#endpoints.has(`${to} ${MESSAGE.id}`) && !this.cut.has(to) && !this.cut.has(from)
  }

  get peers(): readonly string[] {
    return [...new Set([...this.#endpoints.keys()].map((key) => key.split(' ')[0] ?? ''))]
  }
}

export interface Room {
  readonly messaging: Messaging
  readonly id: string
  readonly identity: Identity
  readonly store: Store
  readonly policy: Policy
  readonly handlers: Map<string, Receiver>
  readonly events: Events
  readonly told: { event: MeshEventName; detail: unknown }[]
  /** Ends it as `kill -9` would: nothing more is written. */
  crash(): Promise<void>
}

export interface RoomInit extends MessagingInit {
  readonly identity?: Identity
  readonly path?: string
  readonly clock?: () => number
  readonly permissions?: MessagingComponents['permissions']
  readonly refusal?: MessagingComponents['refusal']
  readonly store?: Store
  /** What is there from the start, as after a restart. */
  readonly handlers?: Map<string, Receiver>
  readonly more?: Partial<MessagingComponents>
}

/** A room on the mesh that lets everybody write to everyone. */
export async function openRoom(mesh: Mesh, init: RoomInit = {}): Promise<Room> {
  const {
    identity = createIdentity(),
    path,
    clock = Date.now,
    permissions,
    refusal,
    more,
    handlers = new Map(),
    ...limits
  } = init
  const opened =
    init.store ??
    (await openStore({ migrations: [messagingMigrations, mailboxMigrations, policyMigrations], ...(path && { path }) }))
  let isDead = false
  const store: Store = {
    get: (sql, params) => opened.get(sql, params),
    all: (sql, params) => opened.all(sql, params),
    write: (statements) =>
      isDead ? Promise.reject(new MeshError('CANCELLED', 'the process is dead')) : opened.write(statements),
    close: () => opened.close()
  }
  const policy = await openPolicy({})
  await policy.put([{ id: 'all', effect: 'allow', who: '*', act: 'message.send', res: 'agent:*' }])
  const events = createEvents()
  const told: Room['told'] = []
  events.on('*', (detail, event) => void told.push({ event, detail }))
  const messaging = createMessaging(
    {
      identity,
      store,
      policy,
      clock,
      rpc: mesh.rpcOf(identity.id),
      permissions: permissions ?? {
        permit: async () => deny(),
        expect: () => {}
      },
      trust: {
        of: () => ({ level: 'known' }),
        note: () => {}
      },
      receiver: (agent) => handlers.get(agent) ?? 'unknown',
      emit: events.emit,
      on: events.on,
      ...(refusal && { refusal }),
      ...more
    },
    { tickMs: 10, ...limits }
  )
  const close = async (): Promise<void> => {
    mesh.leave(identity.id)
    await messaging.stop()
    await store.close()
    await policy.stop()
  }
  onTestFinished(close)
  await messaging.start()
  return {
    messaging,
    id: identity.id,
    identity,
    store,
    policy,
    handlers,
    events,
    told,
    crash: async () => {
      mesh.leave(identity.id)
      isDead = true
      await messaging.stop()
      await store.close()
    }
  }
}

function deny(): never {
  throw new MeshError('FORBIDDEN', 'no rule allows it')
}

export const soon = (): AbortSignal => AbortSignal.timeout(10_000)

/** A handler that keeps bodies. */
export function keeper(): { kept: unknown[]; handler: MessageHandler } {
  const kept: unknown[] = []
  return { kept, handler: ({ body }) => void kept.push(body) }
}

/** The connection to a peer has come up. */
export function joined(room: Room, peer: string): void {
  room.events.emit('peer:join', { peer, address: '' })
}

/** What waits for a peer, as a request to deliver. */
export function queuedFor({ store }: Room, peer: string): DeliverRequest | undefined {
  const batch = new DepositBatches(store, peer, { cursor: 0, now: Date.now() }).next()
  return batch && JSON.parse(batch.plain)
}
