import { MeshError } from '../../errors.ts'
import type { Emit } from '../../events.ts'
import type { Network } from '../../network/index.ts'
import type { Rpc } from '../../rpc/index.ts'
import type { Store } from '../../store/index.ts'
import type { Messaging } from '../index.ts'
import { insertEvent, number } from '../rows.ts'
import { DepositBatches } from './batches.ts'
import {
  DEPOSIT_AFTER_MS,
  DEPOSIT_REFUSED_MS,
  DEPOSIT_RETRY_MAX_MS,
  DEPOSIT_RETRY_MIN_MS,
  MAILBOX,
  MAX_KEPT_MS,
  MAX_LOOKS_PER_TICK
} from './constants.ts'
import type { MailboxStatement } from './messages.ts'
import { seal } from './sealing.ts'

type WaitedFor = ReturnType<Messaging['waitedFor']>[number]

export interface DepositingComponents {
  readonly self: string
  readonly store: Store
  readonly rpc: Pick<Rpc, 'request'>
  readonly network: Pick<Network, 'isConnected' | 'learn'>
  readonly emit: Emit
  readonly clock: () => number
  readonly random: () => number
  readonly statementOf: (peer: string) => MailboxStatement | undefined
  /** Looks for a statement among connected peers; most often it does nothing. */
  readonly look: (peer: string) => void
  readonly gatherMs: number
}

interface Attempt {
  count: number
  dueAt: number
  isRunning: boolean
}

/** What an attempt to deliver meets when nobody is there. */
const AWAY: ReadonlySet<string> = new Set(['UNREACHABLE', 'CONNECTION_LOST', 'TIMEOUT'])

/** Leaves what can't be delivered with the mailboxes of its recipient. It stays queued here until a receipt comes. */
export class Depositing {
  readonly #components: DepositingComponents
  /** By `<recipient> <mailbox>`; both are of the owner's choosing, or of those it writes to. */
  readonly #attempts = new Map<string, Attempt>()
  /** Where the next tick goes on. */
  #turn = 0
  #isStopped = false

  constructor(components: DepositingComponents) {
    this.#components = components
  }

  /** Deposits for whoever can't be reached. */
  wake(waited: readonly WaitedFor[]): void {
    if (this.#isStopped) return
    const peers = new Set(waited.map(({ peer }) => peer))
    if (this.#turn >= waited.length) this.#turn = 0
    for (const each of waited.slice(this.#turn, this.#turn + MAX_LOOKS_PER_TICK))
      if (this.#isAway(each)) this.#deposit(each.peer)
    this.#turn += MAX_LOOKS_PER_TICK
    for (const [key, { isRunning }] of this.#attempts)
      if (!isRunning && !peers.has(key.slice(0, key.indexOf(' ')))) this.#attempts.delete(key)
  }

  /** Leaves a request to `message/1.0.0` with a peer's mailboxes. @returns whether one has taken it */
  async carry(peer: string, plain: string): Promise<boolean> {
    const { statementOf, clock, look } = this.#components
    const statement = statementOf(peer)
    if (statement === undefined) look(peer)
    if (statement === undefined || this.#isStopped) return false
    const sealed = await seal(plain, statement.key)
    const left = await Promise.allSettled(
      this.#mailboxesOf(peer, statement).map((mailbox) =>
        this.#put(mailbox, peer, { sealed, exp: clock() + MAX_KEPT_MS })
      )
    )
    return left.some(({ status }) => status === 'fulfilled')
  }

  stop(): void {
    this.#isStopped = true
  }

  #isAway({ peer, problem }: WaitedFor): boolean {
    const { self, network, store, clock } = this.#components
    if (peer === self) return false
    if (problem !== undefined && AWAY.has(problem.code)) return true
    if (network.isConnected(peer)) return false
    const oldest = store.get("SELECT sent_at FROM message_out WHERE peer = ? AND state = 'queued' ORDER BY n LIMIT 1", [
      peer
    ])
    return oldest !== undefined && number(oldest, 'sent_at') <= clock() - DEPOSIT_AFTER_MS
  }

  #deposit(peer: string): void {
    const statement = this.#components.statementOf(peer)
    if (statement === undefined) return this.#components.look(peer)
    for (const mailbox of this.#mailboxesOf(peer, statement)) this.#begin(mailbox, peer, statement)
  }

  #mailboxesOf(peer: string, { mailboxes }: MailboxStatement): MailboxStatement['mailboxes'] {
    const { self } = this.#components
    return mailboxes.filter((mailbox) => mailbox.peer !== self && mailbox.peer !== peer)
  }

  #begin(mailbox: MailboxStatement['mailboxes'][number], peer: string, { key }: MailboxStatement): void {
    const { clock, gatherMs } = this.#components
    const id = `${peer} ${mailbox.peer}`
    const attempt = this.#attempts.get(id) ?? { count: 0, dueAt: 0, isRunning: false }
    this.#attempts.set(id, attempt)
    if (attempt.isRunning || attempt.dueAt > clock()) return
    attempt.isRunning = true
    void this.#run(mailbox, peer, key)
      .then(
        () => {
          attempt.count = 0
          attempt.dueAt = clock() + gatherMs
        },
        (err: unknown) => this.#backOff(attempt, MeshError.from(err))
      )
      .finally(() => {
        attempt.isRunning = false
      })
  }

  #backOff(attempt: Attempt, { code }: MeshError): void {
    const { clock, random } = this.#components
    const isNetwork = AWAY.has(code) || code === 'BUSY'
    const most = Math.min(DEPOSIT_RETRY_MAX_MS, DEPOSIT_RETRY_MIN_MS * 2 ** attempt.count)
    attempt.dueAt = clock() + (isNetwork ? random() * most : DEPOSIT_REFUSED_MS)
    attempt.count += 1
  }

  async #run(
    mailbox: MailboxStatement['mailboxes'][number],
    peer: string,
    key: MailboxStatement['key']
  ): Promise<void> {
    const { store, emit, clock } = this.#components
    const now = clock()
    const since = this.#since(peer, mailbox.peer)
    const batches = new DepositBatches(store, peer, { cursor: since.n, now })
    for (let batch = batches.next(); batch !== undefined && !this.#isStopped; batch = batches.next()) {
      const exp = Math.min(batch.exp, now + MAX_KEPT_MS)
      await this.#put(mailbox, peer, { sealed: await seal(batch.plain, key), exp })
      await store.write([
        {
          sql: `INSERT INTO mailbox_deposit (recipient, mailbox, n, since) VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET n = excluded.n, since = excluded.since`,
          params: [peer, mailbox.peer, batch.n, since.at]
        },
        ...batch.ids.map((message) => insertEvent({ message, at: clock(), what: 'deposited', reason: mailbox.peer }))
      ])
      emit('mailbox:deposited', { peer, mailbox: mailbox.peer, messages: batch.ids.length })
    }
  }

  /** Up to where it was deposited. What a mailbox has kept as long as it may is deposited again. */
  #since(peer: string, mailbox: string): { readonly n: number; readonly at: number } {
    const { store, clock } = this.#components
    const row = store.get('SELECT n, since FROM mailbox_deposit WHERE recipient = ? AND mailbox = ?', [peer, mailbox])
    if (row === undefined || number(row, 'since') <= clock() - MAX_KEPT_MS) return { n: 0, at: clock() }
    return { n: number(row, 'n'), at: number(row, 'since') }
  }

  async #put(
    { peer: mailbox, addresses }: MailboxStatement['mailboxes'][number],
    to: string,
    { sealed, exp }: { readonly sealed: string; readonly exp: number }
  ): Promise<void> {
    const { network, rpc } = this.#components
    if (!network.isConnected(mailbox)) await network.learn(mailbox, addresses)
    await rpc.request(mailbox, MAILBOX, { op: 'deposit', to, exp, sealed })
  }
}
