import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import { MAX_EXPECTED, MAX_REASON_LENGTH, MAX_WAIT_MS, PERMISSION } from './constants.ts'
import type { Grant, PermissionStatus, Permissions, PermissionsInit } from './index.ts'
import {
  type PermissionMessage,
  requestId,
  revocationsAnswer,
  type StatusAnswer,
  statusAnswer,
  wantedBody
} from './messages.ts'
import { createWait, pendingId, type Wait } from './waiting.ts'

type AskingInit = Pick<PermissionsInit, 'identity' | 'rpc' | 'grants' | 'emit' | 'log' | 'on'> & {
  readonly clock: () => number
}

/** Grants that were shown on the open connection. */
interface Presented {
  readonly ids: Set<string>
  running: Promise<void> | undefined
}

/** This node's requests at other owners, and what it tells those whom it has answered. */
export class Asking implements Pick<Permissions, 'request' | 'status' | 'present' | 'expect'> {
  readonly #init: AskingInit
  readonly #stopping = new AbortController()
  readonly #expected = new LRUCache<string, true>({ max: MAX_EXPECTED })
  readonly #connected = new Map<string, Presented>()
  readonly #wait: Wait
  readonly #offs: readonly (() => void)[]

  constructor(init: AskingInit) {
    const { on, clock } = init
    this.#init = init
    this.#wait = createWait({ clock, stopping: this.#stopping.signal })
    this.#offs =
      on === undefined
        ? []
        : [
            on('peer:join', ({ peer }) => {
              this.#connected.set(peer, { ids: new Set(), running: undefined })
              void this.#pull(peer).catch(() => {}) // what an owner doesn't tell, it refuses
              if (init.grants.hasRevokedOver(peer)) this.#tellList(peer)
            }),
            on('peer:leave', ({ peer }) => this.#connected.delete(peer))
          ]
  }

  async request(
    ...[{ peer, agent }, wanted, options = {}]: Parameters<Permissions['request']>
  ): Promise<PermissionStatus> {
    if (peer === this.#init.identity.id) throw new MeshError('INVALID_ARGUMENT', `${agent} is an agent of this node`)
    const { success, data, error } = wantedBody.safeParse({ agent, ...wanted })
    if (!success) {
      const [issue] = error.issues
      throw new MeshError('INVALID_ARGUMENT', `${issue?.path.join('.') ?? 'request'}: ${issue?.message ?? 'not valid'}`)
    }
    return this.#take(peer, await this.#init.rpc.request(peer, PERMISSION, { op: 'request', ...data }, options))
  }

  async status(...[peer, id, given = {}]: Parameters<Permissions['status']>): Promise<PermissionStatus> {
    if (!requestId.safeParse(id).success) {
      throw new MeshError('INVALID_ARGUMENT', 'that is no id of a permission request: it has 32 hex digits')
    }
    const { wait: isWaiting = false, ...options } = given
    const { rpc } = this.#init
    if (!isWaiting) return this.#take(peer, await rpc.request(peer, PERMISSION, { op: 'status', id }, options))
    return this.#wait(options.signal, async (signal) =>
      this.#take(peer, await rpc.request(peer, PERMISSION, { op: 'wait', id, forMs: MAX_WAIT_MS }, { signal }))
    )
  }

  present(peer: string): Promise<void> | undefined {
    const held = this.#init.grants.toPresent(peer)
    if (held.length === 0) return undefined
    const presented = this.#connected.get(peer) ?? { ids: new Set<string>(), running: undefined }
    const fresh = held.filter(({ id }) => !presented.ids.has(id))
    if (fresh.length === 0) return presented.running
    const shown = Promise.allSettled(fresh.map((grant) => this.#show(peer, grant, presented)))
    const running = shown.then(() => {
      if (presented.running === running) presented.running = undefined
    })
    presented.running = running
    return running
  }

  expect(peer: string, err: unknown): void {
    const id = pendingId(err)
    if (id !== undefined) this.#expected.set(`${peer} ${id}`, true)
  }

  /** A peer says what became of a request; heeded when this node has made it. */
  async decided(peer: string, told: Extract<PermissionMessage, { op: 'decided' }>): Promise<void> {
    const { id, state, reason, chain } = told
    if (!this.#expected.delete(`${peer} ${id}`)) return
    if (chain !== undefined) await this.#keep(peer, chain)
    this.#init.emit('permission:decided', { id, peer, state, ...(reason === undefined ? {} : { reason }) })
  }

  /** Tells a connected peer what became of its request; that may fail, since it can ask too. */
  tell(peer: string, { id, state, reason, chain }: StatusAnswer): void {
    if (state === 'pending') return
    const why = reason === undefined ? {} : { reason: reason.slice(0, MAX_REASON_LENGTH) }
    this.#push(peer, { op: 'decided', id, state, ...why, ...(chain === undefined ? {} : { chain }) })
  }

  /** Tells its holder that a grant has ended, and the owner of the resource, who has to refuse it when it was passed on. */
  tellRevoked({ holder, owner }: Grant): void {
    for (const peer of [owner, holder]) this.#tellList(peer)
  }

  #tellList(peer: string): void {
    if (!this.#connected.has(peer)) return
    void this.#init.grants.revocations().then(
      (jws) => this.#push(peer, { op: 'revoked', jws }),
      () => {} // told at the next connection
    )
  }

  stop(): void {
    this.#stopping.abort(new MeshError('CANCELLED', 'the node is stopping'))
    for (const off of this.#offs) off()
  }

  async #take(peer: string, body: unknown): Promise<PermissionStatus> {
    const { success, data } = statusAnswer.safeParse(body)
    if (!success) throw new MeshError('INVALID_MESSAGE', 'the answer is no status of a permission request')
    const { chain, ...status } = data
    if (chain !== undefined) await this.#keep(peer, chain)
    if (status.state === 'pending') this.#expected.set(`${peer} ${status.id}`, true)
    return status
  }

  /** The right holds at its owner, whether or not it can be kept here. */
  async #keep(peer: string, chain: readonly string[]): Promise<void> {
    const { grants, log } = this.#init
    await grants.keep(chain).catch((err: unknown) => {
      log?.(`a grant of ${peer} can't be kept: ${MeshError.from(err).message}`)
    })
  }

  async #show(peer: string, { id, chain }: Grant, { ids }: Presented): Promise<void> {
    const { signal } = this.#stopping
    ids.add(id)
    try {
      await this.#init.rpc.request(peer, PERMISSION, { op: 'present', chain }, { signal })
    } catch (err) {
      // What the peer refuses is not shown again on this connection
      if (MeshError.from(err).retryable) ids.delete(id)
    }
  }

  #push(peer: string, body: PermissionMessage): void {
    if (!this.#connected.has(peer) || this.#stopping.signal.aborted) return
    const options = { signal: this.#stopping.signal }
    void this.#init.rpc.request(peer, PERMISSION, body, options).catch(() => {}) // they can ask for it
  }

  /** What ended while the two were apart. */
  async #pull(peer: string): Promise<void> {
    const { grants, rpc } = this.#init
    if (!grants.dependsOn(peer)) return
    const body = await rpc.request(peer, PERMISSION, { op: 'revocations' }, { signal: this.#stopping.signal })
    await grants.learnRevocations(revocationsAnswer.parse(body).jws)
  }
}
