import { MeshError } from '../../errors.ts'
import type { Emit } from '../../events.ts'
import type { Rpc } from '../../rpc/index.ts'
import { type DeliverAnswer, type DeliverRequest, messageRequest } from '../messages.ts'
import { COLLECT_AGAIN_MS, COLLECT_INTERVAL_MS, MAILBOX, MAX_COLLECT_ANSWERS, MAX_COLLECT_PASSES } from './constants.ts'
import { collectAnswer } from './messages.ts'

export interface CollectingComponents {
  readonly rpc: Pick<Rpc, 'request'>
  readonly emit: Emit
  readonly clock: () => number
  readonly unseal: (sealed: string) => Promise<unknown>
  /** Takes messages as if their author had brought them. */
  readonly receive: (request: DeliverRequest) => Promise<DeliverAnswer>
  readonly takeReceipts: (receipts: string) => Promise<void>
}

interface Visit {
  dueAt: number
  isRunning: boolean
  /** Something came while it was looked into. */
  isRung: boolean
}

/** What a look through a mailbox has come to. */
interface Pass {
  /** Messages that are on this disk now. */
  taken: number
  /** Items that stay where they are: something before them is missing, or there is no room here. */
  left: number
  /** There is no room here: all else would be left too. */
  isFull: boolean
}

/** Takes what mailboxes have kept for this node. */
export class Collecting {
  readonly #components: CollectingComponents
  readonly #visits = new Map<string, Visit>()
  #isStopped = false

  constructor(components: CollectingComponents) {
    this.#components = components
  }

  /** Looks into a mailbox now. */
  collect(mailbox: string): void {
    const visit = this.#visits.get(mailbox) ?? { dueAt: 0, isRunning: false, isRung: false }
    this.#visits.set(mailbox, visit)
    if (this.#isStopped) return
    if (visit.isRunning) {
      visit.isRung = true
      return
    }
    visit.isRunning = true
    visit.isRung = false
    void this.#visit(mailbox)
      .catch(() => COLLECT_AGAIN_MS)
      .then((waitMs) => {
        visit.dueAt = this.#components.clock() + waitMs
        visit.isRunning = false
        if (visit.isRung) this.collect(mailbox)
      })
  }

  /** Looks into mailboxes whose time has come. */
  wake(mailboxes: Iterable<string>): void {
    const now = this.#components.clock()
    for (const mailbox of mailboxes) if ((this.#visits.get(mailbox)?.dueAt ?? 0) <= now) this.collect(mailbox)
  }

  forget(mailbox: string): void {
    this.#visits.delete(mailbox)
  }

  stop(): void {
    this.#isStopped = true
  }

  /** @returns when to come again, in milliseconds */
  async #visit(mailbox: string): Promise<number> {
    let taken = 0
    for (let pass = 1; ; pass += 1) {
      const result = await this.#look(mailbox)
      taken += result.taken
      // What stayed may have waited for what came after it
      if (result.left > 0 && result.taken > 0 && !result.isFull && pass < MAX_COLLECT_PASSES) continue
      if (taken > 0) this.#components.emit('mailbox:collected', { mailbox, messages: taken })
      return result.left > 0 ? COLLECT_AGAIN_MS : COLLECT_INTERVAL_MS
    }
  }

  async #look(mailbox: string): Promise<Pass> {
    const { rpc } = this.#components
    const pass: Pass = { taken: 0, left: 0, isFull: false }
    let after = 0
    for (let answers = 0; answers < MAX_COLLECT_ANSWERS && !this.#isStopped; answers += 1) {
      const { items } = collectAnswer.parse(await rpc.request(mailbox, MAILBOX, { op: 'collect', after }))
      const done: number[] = []
      for (const { id, sealed } of items) {
        if (id <= after) throw new MeshError('INVALID_MESSAGE', 'the mailbox goes in circles')
        after = id
        if (await this.#take(sealed, pass)) done.push(id)
        else pass.left += 1
        if (pass.isFull) break
      }
      if (done.length > 0) await rpc.request(mailbox, MAILBOX, { op: 'collected', ids: done })
      if (items.length === 0 || pass.isFull) break
    }
    return pass
  }

  /** @returns whether it isn't needed any more */
  async #take(sealed: string, pass: Pass): Promise<boolean> {
    const { success, data } = messageRequest.safeParse(await this.#components.unseal(sealed))
    // For another, or rubbish: it would be the same the next time
    if (!success) return true
    if (data.op === 'receipts') return this.#takeReceipts(data.receipts)
    const { results } = await this.#components.receive(data)
    pass.isFull = results.some(({ state }) => state === 'busy')
    pass.taken += results.filter(({ state }) => state === 'kept').length
    return results.every(({ state }) => state === 'kept' || state === 'refused')
  }

  async #takeReceipts(receipts: string): Promise<boolean> {
    try {
      await this.#components.takeReceipts(receipts)
      return true
    } catch (err) {
      const { code } = MeshError.from(err)
      return code === 'INVALID_RECORD' || code === 'INVALID_MESSAGE' || code === 'TOO_LARGE'
    }
  }
}
