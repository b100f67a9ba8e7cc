import { MeshError } from '../../errors.ts'
import type { Network } from '../../network/index.ts'
import type { Rpc } from '../../rpc/index.ts'
import type { Row, Store } from '../../store/index.ts'
import { number, text } from '../rows.ts'
import {
  MAILBOX,
  MAX_ADDRESS_LENGTH,
  MAX_MAILBOX_ADDRESSES,
  MAX_MAILBOXES,
  STATEMENT_LIFETIME_MS
} from './constants.ts'
import { registerAnswer, type SealingKey } from './messages.ts'
import type { Statements, VerifiedStatement } from './statements.ts'

/** A peer that keeps messages for this node. */
export interface UsedMailbox {
  readonly peer: string
  /** Where it was reached, as told to those who write to this node. */
  readonly addresses: readonly string[]
  /** What it keeps. */
  readonly maxBytes: number
  /** RFC 3339. */
  readonly since: string
}

export interface UsedComponents {
  readonly store: Store
  readonly rpc: Pick<Rpc, 'request'>
  readonly network: Pick<Network, 'addressesOf' | 'peers'>
  readonly clock: () => number
  readonly statements: Statements
  readonly key: SealingKey
  readonly self: string
}

/** The mailboxes that this node has chosen, and what it states about them. */
export class Used {
  readonly #components: UsedComponents
  readonly #peers: Set<string>
  #isRenewing = false

  constructor(components: UsedComponents) {
    this.#components = components
    this.#peers = new Set(this.#rows().map(({ peer }) => peer))
  }

  has(peer: string): boolean {
    return this.#peers.has(peer)
  }

  peers(): string[] {
    return [...this.#peers]
  }

  list(): readonly UsedMailbox[] {
    return this.#rows()
  }

  /** @throws {MeshError} FORBIDDEN when the peer keeps none for this node, LIMIT_EXCEEDED, UNREACHABLE */
  async add(peer: string, options: { readonly signal?: AbortSignal }): Promise<UsedMailbox> {
    const { store, clock } = this.#components
    const others = this.#rows().filter((each) => each.peer !== peer)
    if (others.length >= MAX_MAILBOXES)
      throw new MeshError('LIMIT_EXCEEDED', `a node has at most ${MAX_MAILBOXES} mailboxes`, {
        hint: 'take one away: pryx-mesh mailbox drop PEER'
      })
    const addresses = this.#addressesOf(peer)
    const stated = await this.#state([...others, { peer, addresses }])
    try {
      const maxBytes = await this.#register(peer, stated, options)
      const now = clock()
      await store.write([
        {
          sql: `INSERT INTO mailbox_used (peer, addresses, since, max_bytes, told_seq) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET addresses = excluded.addresses, max_bytes = excluded.max_bytes,
                told_seq = excluded.told_seq, is_dropped = 0`,
          params: [peer, JSON.stringify(addresses), now, maxBytes, stated.statement.seq]
        }
      ])
    } catch (err) {
      if (!this.#peers.has(peer)) await this.#state(others)
      throw err
    }
    this.#peers.add(peer)
    await this.#tellAll()
    const used = this.#rows().find((each) => each.peer === peer)
    if (used === undefined) throw new MeshError('CANCELLED', 'it was dropped meanwhile')
    return used
  }

  /** @returns whether it was used */
  async drop(peer: string): Promise<boolean> {
    if (!this.#peers.delete(peer)) return false
    await this.#components.store.write([
      { sql: 'UPDATE mailbox_used SET is_dropped = 1 WHERE peer = ?', params: [peer] }
    ])
    await this.#state(this.#rows())
    await this.#tellAll()
    return true
  }

  /** The statement is made anew before it expires. */
  async renew(): Promise<void> {
    const { statements, self, clock } = this.#components
    const own = statements.get(self)
    if (this.#peers.size === 0 || this.#isRenewing) return
    if (own !== undefined && own.statement.exp > clock() + STATEMENT_LIFETIME_MS / 2) return
    this.#isRenewing = true
    try {
      await this.#state(this.#rows())
      await this.#tellAll()
    } catch {
      // The disk refuses; tried again in a minute, with days left
    } finally {
      this.#isRenewing = false
    }
  }

  /** States anew where connected mailboxes are, when that has changed. */
  async follow(): Promise<void> {
    const moved = this.#rows().filter(({ peer, addresses }) => {
      return this.#addressesOf(peer).some((address) => !addresses.includes(address))
    })
    if (moved.length === 0) return
    await this.#components.store.write(
      moved.map(({ peer }) => ({
        sql: 'UPDATE mailbox_used SET addresses = ? WHERE peer = ?',
        params: [JSON.stringify(this.#addressesOf(peer)), peer]
      }))
    )
    await this.#state(this.#rows())
    await this.#tellAll()
  }

  /** Tells a mailbox the newest statement if it hasn't heard it; one that can't be told is told when it joins. */
  async tell(peer: string): Promise<void> {
    const { store, statements, self } = this.#components
    const row = store.get('SELECT told_seq, is_dropped FROM mailbox_used WHERE peer = ?', [peer])
    const own = statements.get(self)
    if (row === undefined || own === undefined || number(row, 'told_seq') >= own.statement.seq) return
    const isDropped = row['is_dropped'] === 1
    try {
      await this.#register(peer, own, {})
    } catch (err) {
      // Whoever keeps nothing for this node any more needs not be told that it shall not
      if (!isDropped || MeshError.from(err).code !== 'FORBIDDEN') return
    }
    await store
      .write([
        isDropped
          ? { sql: 'DELETE FROM mailbox_used WHERE peer = ? AND is_dropped = 1', params: [peer] }
          : { sql: 'UPDATE mailbox_used SET told_seq = ? WHERE peer = ?', params: [own.statement.seq, peer] }
      ])
      .catch(() => {
        // Then it is told once more
      })
  }

  /** What the peer says of itself; until it has said so, where this node has dialled it. None when it isn't connected. */
  #addressesOf(peer: string): string[] {
    const { network } = this.#components
    const said = network.addressesOf(peer)
    const dialled = network.peers().filter((each) => each.peer === peer && each.direction === 'outbound')
    return (said.length > 0 ? said : dialled.map(({ address }) => address.replace(/\/p2p\/[^/]+$/, '')))
      .filter(({ length }) => length <= MAX_ADDRESS_LENGTH)
      .slice(0, MAX_MAILBOX_ADDRESSES)
  }

  async #tellAll(): Promise<void> {
    const rows = this.#components.store.all('SELECT peer FROM mailbox_used')
    await Promise.all(rows.map((row) => this.tell(text(row, 'peer'))))
  }

  #state(mailboxes: readonly Pick<UsedMailbox, 'peer' | 'addresses'>[]): Promise<VerifiedStatement> {
    const { statements, key } = this.#components
    return statements.state(
      key,
      mailboxes.map(({ peer, addresses }) => ({ peer, addresses: [...addresses] }))
    )
  }

  async #register(
    peer: string,
    { jws }: Pick<VerifiedStatement, 'jws'>,
    options: { readonly signal?: AbortSignal }
  ): Promise<number> {
    const answer = await this.#components.rpc.request(peer, MAILBOX, { op: 'register', jws }, options)
    const { success, data } = registerAnswer.safeParse(answer)
    if (!success) throw new MeshError('INVALID_MESSAGE', 'not an answer of a mailbox')
    return data.maxBytes
  }

  #rows(): UsedMailbox[] {
    const rows = this.#components.store.all(
      'SELECT peer, addresses, max_bytes, since FROM mailbox_used WHERE is_dropped = 0 ORDER BY since, peer'
    )
    return rows.map(readUsed)
  }
}

function readUsed(row: Row): UsedMailbox {
  return {
    peer: text(row, 'peer'),
    // Written by this room alone
    addresses: JSON.parse(text(row, 'addresses')) as string[],
    maxBytes: number(row, 'max_bytes'),
    since: new Date(number(row, 'since')).toISOString()
  }
}
