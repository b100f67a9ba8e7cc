import { LRUCache } from 'lru-cache'
import type { Caller } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import type { Emit, Events } from '../../events.ts'
import type { Identity } from '../../identity/index.ts'
import type { Network } from '../../network/index.ts'
import type { Policy } from '../../policy/index.ts'
import type { Rpc } from '../../rpc/index.ts'
import type { Store } from '../../store/index.ts'
import type { Trust } from '../../trust/index.ts'
import type { Vault } from '../../vault/index.ts'
import type { Messaging } from '../index.ts'
import { Collecting } from './collecting.ts'
import * as limits from './constants.ts'
import { Depositing } from './depositing.ts'
import { Keeping, type ServedMailbox } from './keeping.ts'
import { type MailboxRequest, mailboxRequest, peerId, statementAnswer } from './messages.ts'
import { openSealingKey, type SealingPair, unseal } from './sealing.ts'
import { Statements } from './statements.ts'
import { Used, type UsedMailbox } from './used.ts'

export { MAILBOX } from './constants.ts'
export { mailboxMigrations } from './rows.ts'
export type { ServedMailbox, UsedMailbox }

/** Mailboxes: peers that keep sealed messages for a node while it is away. Spec: protocols/mailbox/1.0.0/README.md */
export interface Mailboxes {
  start(): Promise<void>
  /**
   * Lets a peer keep what is sent to this node while it is away. The peer's owner must serve it.
   *
   * @throws {MeshError} FORBIDDEN when the peer doesn't, LIMIT_EXCEEDED beyond MAX_MAILBOXES, UNREACHABLE, INVALID_ARGUMENT
   */
  use(peer: string, options?: { readonly signal?: AbortSignal }): Promise<UsedMailbox>
  /** No longer; what is there already is collected once more. @returns whether it was used */
  drop(peer: string): Promise<boolean>
  /**
   * Keeps a mailbox for a peer.
   *
   * @param options.bytes what is kept at most, 1 to MAX_KEPT_BYTES; default MAX_KEPT_BYTES_PER_RECIPIENT
   * @param options.from who may deposit, as the `who` of a policy rule, which is put; without it the rules there are decide
   * @throws {MeshError} INVALID_ARGUMENT, LIMIT_EXCEEDED, IO
   */
  serve(peer: string, options?: { readonly bytes?: number; readonly from?: string }): Promise<ServedMailbox>
  /** Keeps none any more, and forgets what was in it. @returns whether there was one */
  unserve(peer: string): Promise<boolean>
  /** Asks a peer where another's messages may be left. @returns whether it knows @throws {MeshError} UNREACHABLE, INVALID_RECORD */
  learn(recipient: string, at: string, options?: { readonly signal?: AbortSignal }): Promise<boolean>
  list(): { readonly used: readonly UsedMailbox[]; readonly served: readonly ServedMailbox[] }
  /** A peer has answered: where its messages may be left is asked, now and then. */
  met(peer: string): void
  /** Leaves receipts with a peer's mailboxes. @returns whether one has taken them */
  carryReceipts(peer: string, receipts: string): Promise<boolean>
  /** It was blocked. */
  dropPeer(peer: string): Promise<void>
  stop(): void
}

export interface MailboxesComponents {
  readonly identity: Identity
  readonly store: Store
  readonly vault: Vault
  readonly rpc: Rpc
  readonly network: Pick<Network, 'addressesOf' | 'connect' | 'isConnected' | 'learn' | 'peers'>
  readonly policy: Pick<Policy, 'decide' | 'judge' | 'put' | 'remove' | 'reserve'>
  readonly trust: Pick<Trust, 'of'>
  readonly messaging: Pick<Messaging, 'receive' | 'takeReceipts' | 'waitedFor'>
  readonly emit: Emit
  readonly on: Events['on']
  /** Why nothing new may be kept just now, or undefined. */
  readonly refusal?: () => MeshError | undefined
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** Uniform in [0, 1); default `Math.random`. */
  readonly random?: () => number
}

export interface MailboxesInit {
  /** How often timers are looked at; default MAILBOX_TICK_MS. */
  readonly tickMs?: number
  /** Between two deposits for one recipient; default DEPOSIT_GATHER_MS. */
  readonly gatherMs?: number
}

/** @throws {MeshError} INVALID_CONFIG when the vault can't open the sealing key, IO */
export async function createMailboxes(components: MailboxesComponents, init: MailboxesInit = {}): Promise<Mailboxes> {
  return new MailboxRoom(components, init, await openSealingKey(components.store, components.vault))
}

class MailboxRoom implements Mailboxes {
  readonly #components: MailboxesComponents
  readonly #tickMs: number
  readonly #clock: () => number
  readonly #statements: Statements
  readonly #used: Used
  readonly #keeping: Keeping
  readonly #depositing: Depositing
  readonly #collecting: Collecting
  /** Peers that were asked for their statements, and those that others were asked about. */
  readonly #asked: LRUCache<string, true>
  readonly #askedAbout: LRUCache<string, true>
  /** Recipients that are being told. */
  readonly #ringing = new Set<string>()
  readonly #off: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #sweepAt = 0

  constructor(components: MailboxesComponents, init: MailboxesInit, key: SealingPair) {
    const { clock = Date.now, random = Math.random, refusal = () => undefined } = components
    const { identity, store, policy, rpc, network, emit, messaging } = components
    this.#components = components
    this.#tickMs = init.tickMs ?? limits.MAILBOX_TICK_MS
    this.#clock = clock
    const perf = { now: clock }
    this.#asked = new LRUCache({ max: limits.MAX_ASKED, ttl: limits.STATEMENT_FRESH_MS, perf })
    this.#askedAbout = new LRUCache({ max: limits.MAX_ASKED, ttl: limits.ASK_OTHERS_MS, perf })
    this.#statements = new Statements(store, identity, clock)
    this.#used = new Used({
      store,
      rpc,
      network,
      clock,
      statements: this.#statements,
      key: key.publicKey,
      self: identity.id
    })
    this.#keeping = new Keeping({ store, policy, refusal, clock })
    this.#depositing = new Depositing({
      self: identity.id,
      store,
      rpc,
      network,
      emit,
      clock,
      random,
      statementOf: (peer) => this.#statements.get(peer)?.statement,
      look: (peer) => this.#look(peer),
      gatherMs: init.gatherMs ?? limits.DEPOSIT_GATHER_MS
    })
    this.#collecting = new Collecting({
      rpc,
      emit,
      clock,
      unseal: (sealed) => unseal(sealed, key),
      receive: (request) => messaging.receive(request),
      takeReceipts: (receipts) => messaging.takeReceipts(receipts)
    })
  }

  async start(): Promise<void> {
    const { rpc, on } = this.#components
    await rpc.handle({ protocol: limits.MAILBOX, handle: (body, { caller }) => this.#handle(body, caller) })
    this.#off.push(on('peer:join', ({ peer }) => this.#joined(peer)))
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref()
  }

  async use(peer: string, options: { readonly signal?: AbortSignal } = {}): Promise<UsedMailbox> {
    const { network, identity } = this.#components
    if (!peerId.safeParse(peer).success) throw noPeer(peer)
    if (peer === identity.id) throw new MeshError('INVALID_ARGUMENT', 'a node is no mailbox of its own')
    // Kept connected from now on, for what is deposited to be collected
    if (!network.isConnected(peer)) await network.connect(peer, options)
    const used = await this.#used.add(peer, options)
    this.#sweepAt = Math.min(this.#sweepAt, this.#clock() + limits.MAILBOX_SETTLE_MS)
    this.#collecting.collect(peer)
    return used
  }

  async drop(peer: string): Promise<boolean> {
    const wasUsed = await this.#used.drop(peer)
    if (this.#components.network.isConnected(peer)) this.#collecting.collect(peer)
    return wasUsed
  }

  async serve(peer: string, options: { readonly bytes?: number; readonly from?: string } = {}): Promise<ServedMailbox> {
    const { bytes = limits.MAX_KEPT_BYTES_PER_RECIPIENT, from } = options
    if (!peerId.safeParse(peer).success) throw noPeer(peer)
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > limits.MAX_KEPT_BYTES)
      throw new MeshError('INVALID_ARGUMENT', `a mailbox holds 1 to ${limits.MAX_KEPT_BYTES} bytes`)
    if (from !== undefined)
      await this.#components.policy.put([
        { id: ruleId(peer), effect: 'allow', who: from, act: 'mailbox.keep', res: `mailbox:${peer}` }
      ])
    return this.#keeping.serve(peer, bytes)
  }

  async unserve(peer: string): Promise<boolean> {
    const wasServed = await this.#keeping.unserve(peer)
    await this.#components.policy.remove([ruleId(peer)])
    return wasServed
  }

  async learn(recipient: string, at: string, options: { readonly signal?: AbortSignal } = {}): Promise<boolean> {
    if (!peerId.safeParse(recipient).success) throw noPeer(recipient)
    const of = recipient === at ? {} : { of: recipient }
    const answer = await this.#components.rpc.request(at, limits.MAILBOX, { op: 'statement', ...of }, options)
    const { jws } = parsed(statementAnswer.safeParse(answer))
    if (jws === undefined) return false
    await this.#statements.learn(jws, recipient)
    return true
  }

  list(): ReturnType<Mailboxes['list']> {
    return { used: this.#used.list(), served: this.#keeping.list() }
  }

  met(peer: string): void {
    const { identity, network } = this.#components
    if (peer === identity.id || this.#asked.has(peer) || !network.isConnected(peer)) return
    this.#asked.set(peer, true)
    this.learn(peer, peer).catch(() => {
      // It has none, or speaks another version: nothing is lost but a way to it
    })
  }

  carryReceipts(peer: string, receipts: string): Promise<boolean> {
    return this.#depositing.carry(peer, JSON.stringify({ op: 'receipts', receipts }))
  }

  async dropPeer(peer: string): Promise<void> {
    await this.#components.store.write([...this.#keeping.dropPeer(peer)])
    await this.#used.drop(peer)
    await this.#statements.forget(peer)
    this.#collecting.forget(peer)
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const off of this.#off) off()
    this.#depositing.stop()
    this.#collecting.stop()
  }

  #handle(body: unknown, caller: Caller): unknown {
    if (caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'blocked by the owner')
    const request = parsed(mailboxRequest.safeParse(body))
    switch (request.op) {
      case 'statement':
        return this.#statementFor(caller, request.of)
      case 'register':
        return this.#register(caller, request.jws)
      case 'deposit':
        return this.#deposit(caller, request)
      case 'collect':
        return this.#keeping.collect(caller, request.after)
      case 'collected':
        return this.#keeping.collected(caller, request.ids).then(() => ({}))
      case 'waiting':
        if (this.#used.has(caller.peer)) this.#collecting.collect(caller.peer)
        return {}
    }
  }

  #statementFor(caller: Caller, of = this.#components.identity.id): { jws?: string } {
    const { identity } = this.#components
    if (of !== identity.id && !this.#keeping.mayKnow(caller, of)) return {}
    const jws = this.#statements.get(of)?.jws
    return jws === undefined ? {} : { jws }
  }

  async #register(caller: Caller, jws: string): Promise<{ maxBytes: number }> {
    const { peer } = caller
    const maxBytes = this.#keeping.quotaOf(peer)
    if (maxBytes === undefined)
      throw new MeshError('FORBIDDEN', 'no mailbox is kept here for it', {
        hint: `its owner keeps one with: pryx-mesh mailbox serve ${peer}`
      })
    await this.#statements.learn(jws, peer)
    return { maxBytes }
  }

  async #deposit(caller: Caller, request: Extract<MailboxRequest, { op: 'deposit' }>): Promise<object> {
    await this.#keeping.deposit(caller, request)
    this.#ring(request.to)
    return {}
  }

  /** Tells a recipient that is there, though whoever writes to it can't reach it. */
  #ring(peer: string): void {
    const { network, rpc } = this.#components
    if (this.#ringing.has(peer) || !network.isConnected(peer)) return
    this.#ringing.add(peer)
    rpc
      .request(peer, limits.MAILBOX, { op: 'waiting' })
      .catch(() => {
        // It looks into its mailboxes when it comes back
      })
      .finally(() => this.#ringing.delete(peer))
  }

  #joined(peer: string): void {
    this.#asked.delete(peer)
    if (!this.#used.has(peer)) return void this.#used.tell(peer)
    // It will have said where it is by then
    this.#sweepAt = Math.min(this.#sweepAt, this.#clock() + limits.MAILBOX_SETTLE_MS)
    void this.#used.tell(peer).then(() => this.#collecting.collect(peer))
  }

  /** Asks connected peers that are no strangers, for they learn whom this node writes to. */
  #look(recipient: string): void {
    const { network, trust } = this.#components
    if (this.#askedAbout.has(recipient)) return
    this.#askedAbout.set(recipient, true)
    const known = network.peers().filter(({ peer }) => !['blocked', 'unknown'].includes(trust.of(peer).level))
    for (const { peer } of known.slice(0, limits.MAX_ASKED_FOR_ANOTHER)) {
      this.learn(recipient, peer).catch(() => {
        // Another may know
      })
    }
  }

  #tick(): void {
    const { messaging, network } = this.#components
    this.#depositing.wake(messaging.waitedFor())
    this.#collecting.wake(this.#used.peers().filter((peer) => network.isConnected(peer)))
    const now = this.#clock()
    if (now < this.#sweepAt) return
    this.#sweepAt = now + limits.MAILBOX_SWEEP_MS
    this.#keeping.sweep().catch(() => {
      // The disk refuses; it is tried again in a minute
    })
    void this.#used.renew()
    this.#used.follow().catch(() => {
      // As above
    })
  }
}

const ruleId = (peer: string): string => `mailbox:${peer}`

function noPeer(peer: string): MeshError {
  return new MeshError('INVALID_ARGUMENT', `${JSON.stringify(String(peer).slice(0, 80))} is no PeerId`)
}

function parsed<T>({ success, data }: { success: boolean; data?: T | undefined }): T {
  if (success && data !== undefined) return data
  throw new MeshError('INVALID_MESSAGE', 'not a message of the mailbox protocol')
}
