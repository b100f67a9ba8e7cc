import { ownerCaller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Store } from '../store/index.ts'
import { MESSAGE } from './constants.ts'
import type { Receive } from './endpoint.ts'
import type { MessagingComponents } from './index.ts'
import { type DeliverAnswer, type DeliverRequest, deliverAnswer } from './messages.ts'
import { list, text } from './rows.ts'
import type { Settlement } from './settling.ts'
import { createKeys, verifyReceipts } from './signatures.ts'

type Given = Pick<
  MessagingComponents,
  'identity' | 'rpc' | 'permissions' | 'prepare' | 'onMet' | 'carryReceipts' | 'trust'
>

interface CourierComponents extends Given {
  readonly store: Store
  readonly didOf: (peer: string) => string
  /** For what goes to this node itself. */
  readonly receive: Receive
  readonly takeReceipts: (receipts: string) => Promise<void>
}

/** Takes messages and receipts to other nodes, or over to this one. */
export class Courier {
  readonly #components: CourierComponents
  readonly #keyOf = createKeys()
  #isStopped = false

  constructor(components: CourierComponents) {
    this.#components = components
  }

  /** @throws {MeshError} what the peer answers, or that it can't be reached */
  async deliver(peer: string, request: DeliverRequest): Promise<DeliverAnswer> {
    const { rpc, prepare, permissions, identity, onMet, receive } = this.#components
    if (peer === identity.id) return receive(request, ownerCaller(identity.id))
    await prepare?.(peer)
    const { success, data: answer } = deliverAnswer.safeParse(await rpc.request(peer, MESSAGE, request))
    if (!success) throw new MeshError('INVALID_MESSAGE', 'the peer answered what is no answer')
    onMet?.(peer)
    for (const { state, code, reason } of answer.results) {
      if (state === 'pending') permissions.expect(peer, new MeshError('PERMISSION_PENDING', reason ?? code ?? ''))
    }
    return answer
  }

  /** @throws {MeshError} as {@link deliver} */
  async push(peer: string, receipts: string): Promise<void> {
    const { rpc, prepare, onMet, carryReceipts, identity, takeReceipts } = this.#components
    if (peer === identity.id) return takeReceipts(receipts)
    try {
      await prepare?.(peer)
      await rpc.request(peer, MESSAGE, { op: 'receipts', receipts })
      onMet?.(peer)
    } catch (err) {
      if (this.#isStopped || !(await carryReceipts?.(peer, receipts))) throw err
    }
  }

  /**
   * Reads receipts.
   *
   * @param by who brought them; whatever they say, only whom a message was sent to can say it
   * @throws {MeshError} INVALID_RECORD, INVALID_MESSAGE, TOO_LARGE
   */
  read(receipts: string, by?: string): Settlement[] {
    const { store, trust, didOf } = this.#components
    const { did, items } = this.#verified(receipts, () => by !== undefined && trust.note(by, 'signature:bad'))
    const rows = store.all('SELECT id, peer FROM message_out WHERE id IN (SELECT value FROM json_each(?))', [
      list(items.map(({ id }) => id))
    ])
    const theirs = new Map(rows.map((row) => [text(row, 'id'), text(row, 'peer')]))
    return items.flatMap((item) => {
      const peer = theirs.get(item.id)
      return peer !== undefined && didOf(peer) === did ? [{ ...item, peer }] : []
    })
  }

  #verified(receipts: string, onFailure: () => void): ReturnType<typeof verifyReceipts> {
    try {
      return verifyReceipts(receipts, this.#keyOf)
    } catch (err) {
      onFailure()
      throw err
    }
  }

  stop(): void {
    this.#isStopped = true
  }
}
