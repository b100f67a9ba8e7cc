import { MeshError } from '../errors.ts'
import { agentName } from '../registry/messages.ts'
import { AgentState } from './agent-state.ts'
import { Delays, overdue } from './aging.ts'
import * as limits from './constants.ts'
import { Courier } from './courier.ts'
import { drop, dropUnhandled, replay } from './dead-letters.ts'
import { Deciding } from './deciding.ts'
import { draftOf } from './drafts.ts'
import { createEndpoint, type Receive } from './endpoint.ts'
import { answered, processed } from './ends.ts'
import type { Handling } from './handling.ts'
import { createInbound } from './inbound.ts'
import type {
  MessageInfo,
  MessageInit,
  MessageStory,
  Messaging,
  MessagingComponents,
  MessagingInit,
  SendOptions,
  Sent
} from './index.ts'
import { type Draft, Journal } from './journal.ts'
import { Lane } from './lane.ts'
import { oweReceipts } from './mailbox/owing.ts'
import type { DeliverAnswer, DeliverRequest } from './messages.ts'
import { Outcomes } from './outcomes.ts'
import { noMessage, OwnerInbox } from './owner-inbox.ts'
import { Pairs } from './pairs.ts'
import { countDeadLetters, readDeadLetters, readInbox, readOutbox, readStory, withProblem } from './reading.ts'
import { Receipts } from './receipts.ts'
import { References } from './references.ts'
import { Room, Waiting } from './room.ts'
import { text } from './rows.ts'
import { BEGIN, END, hasCrashed } from './running.ts'
import { type Settled, Settling } from './settling.ts'
import { createDids } from './signatures.ts'
import { sweep } from './sweep.ts'
import { createUlids } from './ulid.ts'

/** Sends, receives and keeps messages; {@link Messaging.start} puts it on the network. */
export function createMessaging(components: MessagingComponents, init: MessagingInit = {}): Messaging {
  return new MessageRoom(components, init)
}

type Optional = 'blobs' | 'carryReceipts' | 'onMet' | 'prepare'

class MessageRoom implements Messaging {
  readonly #components: Required<Omit<MessagingComponents, Optional>> & Pick<MessagingComponents, Optional>
  readonly #init: MessagingInit
  readonly #newId: () => string
  readonly #self: string
  readonly #room: Room
  readonly #journal: Journal
  readonly #settling: Settling
  readonly #outcomes: Outcomes
  readonly #deciding: Deciding
  readonly #pairs: Pairs
  readonly #handling: Handling
  readonly #receipts: Receipts
  readonly #courier: Courier
  readonly #receive: Receive
  readonly #waiting = new Waiting()
  readonly #references: References
  readonly #lanes = new Map<string, Lane>()
  readonly #didOf = createDids()
  readonly #delays: Delays
  readonly #owner: OwnerInbox
  readonly #off: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #lookAt = 0
  #sweepAt = 0
  #isStopped = false

  constructor(given: MessagingComponents, init: MessagingInit) {
    const components = {
      log: () => {},
      clock: Date.now,
      random: Math.random,
      refusal: () => undefined,
      onDiskError: () => {},
      ...given
    }
    this.#components = components
    this.#init = init
    const { identity, store, clock, random, emit } = components
    this.#self = identity.id
    this.#newId = createUlids(clock)
    const { maxQueuedPerPeer = limits.MAX_QUEUED_PER_PEER, maxQueued = limits.MAX_QUEUED } = init
    this.#references = new References(components, this.#self)
    this.#room = new Room(store, { maxQueuedPerPeer, maxQueued })
    const state = new AgentState(store)
    this.#journal = this.#openJournal(state)
    this.#settling = this.#openSettling()
    this.#outcomes = new Outcomes(store)
    this.#pairs = new Pairs(store, () => this.#journal.newPairId(), hasCrashed(store))
    const inbound = createInbound({ ...components, ...this.#inboundParts(state) }, init)
    this.#handling = inbound.handling
    this.#receive = inbound.receive
    this.#deciding = new Deciding({
      self: this.#self,
      store,
      journal: this.#journal,
      outcomes: this.#outcomes,
      newId: this.#newId,
      conclude: inbound.conclude,
      onOutcome: (ids) => this.#waiting.tell(ids)
    })
    this.#delays = new Delays(store, emit)
    this.#owner = new OwnerInbox({
      store,
      journal: this.#journal,
      pairs: this.#pairs,
      clock,
      newId: this.#newId,
      onReceipt: (peer) => this.#receipts.add(peer)
    })
    this.#courier = new Courier({
      ...components,
      didOf: this.#didOf,
      receive: this.#receive,
      takeReceipts: (receipts) => this.#takeReceipts(receipts)
    })
    this.#receipts = new Receipts({
      store,
      identity,
      clock,
      random,
      push: (peer, receipts) => this.#courier.push(peer, receipts)
    })
  }

  get counts(): Messaging['counts'] {
    return {
      unread: this.#pairs.unread,
      queued: this.#room.queued,
      deadLetters: countDeadLetters(this.#components.store)
    }
  }

  async start(): Promise<void> {
    const { store, rpc, on } = this.#components
    await store.write([BEGIN])
    await rpc.handle(createEndpoint(this.#receive, (receipts, by) => this.#takeReceipts(receipts, by)))
    this.#off.push(
      on('peer:join', ({ peer }) => {
        this.#lanes.get(peer)?.wakeNow()
        this.#receipts.wakeNow(peer)
      }),
      on('permission:decided', ({ peer }) => this.#lanes.get(peer)?.wakeNow()),
      on('agent:up', () => this.#handling.drainAll()),
      on('agent:added', () => this.#handling.drainAll())
    )
    this.#timer = setInterval(() => this.#tick(), this.#init.tickMs ?? limits.TICK_MS).unref()
    for (const peer of this.#room.peers) this.#lane(peer).wake()
    this.#receipts.wakeAll()
    this.#handling.drainAll()
  }

  async send(message: MessageInit, options: SendOptions = {}): Promise<Sent> {
    const [id, { from = limits.OWNER_AGENT }] = [this.#newId(), message]
    this.#checkSender(from)
    const make = (each: MessageInit): Draft => this.#draft(each, id, from)
    const sent = this.#queue(await this.#references.drafted(message, id, make, options.signal), options)
    sent.catch(() => this.#references.ended([id]))
    return sent
  }

  inbox(filter: Parameters<Messaging['inbox']>[0] = {}): readonly MessageInfo[] {
    return readInbox(this.#components.store, filter)
  }

  outbox(filter: Parameters<Messaging['outbox']>[0] = {}): readonly MessageInfo[] {
    const problemOf = (peer: string) => this.#lanes.get(peer)?.problem
    return readOutbox(this.#components.store, this.#self, filter).map((info) => withProblem(info, problemOf))
  }

  show(id: string): MessageStory | undefined {
    const story = readStory(this.#components.store, id)
    if (story === undefined) return undefined
    const reply = this.#outcomes.get(id)
    return { ...story, ...(reply === undefined ? {} : { reply }) }
  }

  read(id: string): Promise<MessageInfo> {
    return this.#owner.read(id)
  }

  reply(id: string, body: unknown, options: SendOptions = {}): Promise<Sent> {
    return this.#owner.reply(id, body, options.signal)
  }

  async waitFor(id: string, options: Parameters<Messaging['waitFor']>[1]): Promise<MessageStory> {
    const { signal, until = 'processed' } = options
    const story = await this.#waiting.until(id, signal, () => {
      const found = this.show(id)
      if (found === undefined || found.direction === 'in') throw noMessage(id)
      return until === 'reply' ? answered(found) : processed(found)
    })
    if (until === 'reply') await this.#owner.readReply(id)
    return story
  }

  deadLetters(filter: Parameters<Messaging['deadLetters']>[0] = {}): readonly MessageInfo[] {
    return readDeadLetters(this.#components.store, filter)
  }

  async replay(id: string): Promise<void> {
    const pair = await replay(id, this.#inboxParts)
    if (pair !== undefined) this.#handling.drain(pair)
  }

  drop(id: string): Promise<void> {
    return drop(id, this.#inboxParts)
  }

  async dropPeer(peer: string): Promise<void> {
    const { store, clock } = this.#components
    const [at, reason] = [clock(), 'the peer was blocked']
    const queued = store.all("SELECT id FROM message_out WHERE peer = ? AND state = 'queued'", [peer])
    this.#lanes.get(peer)?.forget()
    await this.#settling.settle(
      queued.map((row) => ({ id: text(row, 'id'), peer: undefined, state: 'cancelled', at, reason }) as const)
    )
    await dropUnhandled(peer, reason, this.#inboxParts)
    this.#receipts.drop(peer)
  }

  async receive(request: DeliverRequest): Promise<DeliverAnswer> {
    const { store, clock } = this.#components
    const answer = await this.#receive(request)
    for (const author of await oweReceipts(store, request, answer, clock())) this.#receipts.add(author)
    return answer
  }

  waitedFor(): ReturnType<Messaging['waitedFor']> {
    return [...this.#room.peers].map((peer) => ({ peer, problem: this.#lanes.get(peer)?.problem }))
  }

  takeReceipts(receipts: string): Promise<void> {
    return this.#takeReceipts(receipts)
  }

  async stop(): Promise<void> {
    if (this.#isStopped) return
    this.#isStopped = true
    const isStarted = this.#timer !== undefined
    clearInterval(this.#timer)
    for (const off of this.#off) off()
    for (const lane of this.#lanes.values()) lane.stop()
    this.#receipts.stop()
    this.#courier.stop()
    await this.#handling.stop()
    await this.#journal.idle()
    if (!isStarted) return
    await this.#components.store.write([END]).catch(() => {
      // Then the next start takes it for a crash, and counts one attempt more of what waits
    })
  }

  #checkSender(from: string): void {
    if (from === limits.OWNER_AGENT) return
    if (!agentName.safeParse(from).success || this.#components.receiver(from) === 'unknown')
      throw new MeshError('NOT_FOUND', `this node has no agent ${JSON.stringify(String(from).slice(0, 80))}`)
  }

  #draft(message: MessageInit, id: string, from: string): Draft {
    const refusal = this.#components.refusal()
    if (refusal !== undefined) throw refusal
    if (this.#isStopped) throw new MeshError('CANCELLED', 'the node is stopping')
    return draftOf(message, { id, from: `${this.#self}/${from}`, now: this.#components.clock() })
  }

  #queue(draft: Draft, { signal, timeoutMs = limits.SEND_TIMEOUT_MS }: SendOptions): Promise<Sent> {
    const { peer, envelope } = draft
    const write = (): Promise<Sent> =>
      new Promise((resolve, reject) => {
        this.#journal.add({
          drafts: [draft],
          done: ([seq = 0]) => {
            this.#room.release(peer)
            resolve({ id: envelope.id, seq })
          },
          failed: (err) => {
            this.#room.release(peer)
            reject(err)
          }
        })
      })
    return this.#room.take(peer) ? write() : this.#room.wait(peer, timeoutMs, signal).then(write)
  }

  #lane(peer: string): Lane {
    const known = this.#lanes.get(peer)
    if (known !== undefined) return known
    const { store, clock, random } = this.#components
    const lane = new Lane({
      peer,
      store,
      clock,
      random,
      did: this.#didOf(peer),
      deliver: (to, request) => this.#courier.deliver(to, request),
      settle: (items) => this.#settling.settle(items)
    })
    this.#lanes.set(peer, lane)
    return lane
  }

  async #takeReceipts(receipts: string, by?: string): Promise<void> {
    await this.#settling.settle(this.#courier.read(receipts, by))
  }

  #onSettled(settled: readonly Settled[]): void {
    const left = new Map<string, { count: number; bytes: number }>()
    for (const { to, before, bytes } of settled) {
      if (before !== 'queued') continue
      const load = left.get(to) ?? { count: 0, bytes: 0 }
      left.set(to, { count: load.count + 1, bytes: load.bytes + bytes })
    }
    for (const [peer, { count, bytes }] of left) {
      this.#room.remove(peer, count, bytes)
      if (!this.#room.has(peer)) this.#delays.forget(peer)
      // A peer that nothing waits for costs nothing
      if (!this.#room.has(peer) && this.#lanes.get(peer)?.isIdle === true) this.#lanes.delete(peer)
    }
    this.#waiting.tell(settled.map(({ id }) => id))
    this.#deciding.settled(settled)
    this.#references.settled(settled)
  }

  #age(now: number): void {
    const { store, log } = this.#components
    const failed = (err: unknown): void => log(`messages: ${String(err)}`)
    this.#settling.settle(overdue(store, now)).catch(failed)
    this.#deciding.expire(now)
    for (const peer of this.#room.peers) this.#delays.look(peer, now).catch(failed)
  }

  #tick(): void {
    for (const lane of this.#lanes.values()) lane.wake()
    this.#receipts.wakeAll()
    this.#handling.drainAll()
    const now = this.#components.clock()
    if (now >= this.#lookAt) {
      this.#lookAt = now + limits.LOOK_INTERVAL_MS
      this.#age(now)
    }
    if (now < this.#sweepAt) return
    this.#sweepAt = now + limits.SWEEP_INTERVAL_MS
    void sweep(this.#components.store, now).catch((err: unknown) => this.#components.log(`messages: ${String(err)}`))
  }

  #openJournal(state: AgentState): Journal {
    const { store, identity, clock, onDiskError } = this.#components
    return new Journal({
      store,
      identity,
      clock,
      onQueued: (peer, messages) => {
        const bytes = messages.reduce((sum, { text: json }) => sum + json.length, 0)
        this.#room.add(peer, messages.length, bytes)
        if (this.#timer !== undefined) this.#lane(peer).add(messages)
      },
      onFailure: (err, isInOrder) => {
        if (isInOrder) state.forget()
        if (err.code === 'IO') onDiskError(err)
      }
    })
  }

  #openSettling(): Settling {
    const { store, emit } = this.#components
    return new Settling(store, {
      said: (said) => {
        for (const { id, state } of said) emit('message:receipt', { id, state })
      },
      settled: (settled) => this.#onSettled(settled)
    })
  }

  #inboundParts(state: AgentState) {
    return {
      state,
      journal: this.#journal,
      pairs: this.#pairs,
      outcomes: this.#outcomes,
      newId: this.#newId,
      mayQueue: (peer: string) => this.#room.isFree(peer),
      onReceipt: (peer: string) => this.#receipts.add(peer),
      onOutcome: (id: string) => this.#waiting.tell([id])
    }
  }

  get #inboxParts(): Parameters<typeof drop>[1] {
    const { store, clock, blobs } = this.#components
    return { self: this.#self, store, clock, blobs, journal: this.#journal, pairs: this.#pairs }
  }
}
