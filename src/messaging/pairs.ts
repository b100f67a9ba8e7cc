import type { Store } from '../store/index.ts'
import { MAX_PAIRS_IN_MEMORY, MAX_PAIRS_PER_PEER, OWNER_AGENT } from './constants.ts'
import { number, text } from './rows.ts'

/** One sender and one of our agents. */
export interface InPair {
  readonly id: number
  readonly peer: string
  readonly sender: string
  readonly recipient: string
  readonly agent: string
  /** The highest seq that was taken. */
  mark: number
  /** Messages on disk that wait for their handler, the running one included. */
  waiting: number
  /** Messages on their way to the disk that will wait. */
  arriving: number
  isRunning: boolean
  /** There has come more to do while it was running. */
  isWanted: boolean
  /** Something of it was handled since the start: what comes next may be handled before it is written. */
  isWarm: boolean
  /** Last row that waited when the node started after a crash: up to there each may be what ended it, so they are handled one by one. */
  suspectUntil: number
  /** Last row of them that this was counted for: once for each crash, however often it is tried after it. */
  suspected: number
  /** No attempt before. */
  dueAt: number
}

interface Load {
  count: number
  bytes: number
}

/** What the inbox keeps in memory: marks of pairs that are in use, and how much waits. */
export class Pairs {
  readonly #store: Store
  readonly #newId: () => number
  readonly #pairs = new Map<string, InPair>()
  readonly #perPeer = new Map<string, number>()
  readonly #loads = new Map<string, Load>()
  readonly total: Load = { count: 0, bytes: 0 }
  unread = 0

  /** @param isSuspect the node did not end in good order */
  constructor(store: Store, newId: () => number, isSuspect: boolean) {
    this.#store = store
    this.#newId = newId
    const rows = store.all(
      `SELECT pair, peer, agent, count(*) AS count, sum(bytes) AS bytes, max(n) AS last FROM message_in
       WHERE state IN ('accepted', 'delivered') GROUP BY pair`
    )
    for (const row of rows) {
      const [peer, count] = [text(row, 'peer'), number(row, 'count')]
      this.count(peer, count, number(row, 'bytes'))
      if (row['agent'] === OWNER_AGENT) {
        this.unread += count
        continue
      }
      const stored = store.get('SELECT id, peer, sender, recipient, seq FROM message_pair WHERE id = ?', [
        number(row, 'pair')
      ])
      if (stored === undefined) continue
      const pair = fromRow(stored)
      pair.waiting = count
      pair.suspectUntil = isSuspect ? number(row, 'last') : 0
      this.#pairs.set(`${pair.sender} ${pair.recipient}`, pair)
    }
  }

  /** Undefined when the peer has too many; a new one has no row until its first message is written. */
  get(sender: string, recipient: string): InPair | undefined {
    const key = `${sender} ${recipient}`
    const known = this.#pairs.get(key)
    if (known !== undefined) return known
    const row = this.#store.get(
      "SELECT id, peer, sender, recipient, seq FROM message_pair WHERE direction = 'in' AND sender = ? AND recipient = ?",
      [sender, recipient]
    )
    const pair = row === undefined ? this.#create(sender, recipient) : fromRow(row)
    if (pair === undefined) return undefined
    if (this.#pairs.size >= MAX_PAIRS_IN_MEMORY) this.#forgetIdle()
    this.#pairs.set(key, pair)
    return pair
  }

  /** Those with something to handle. */
  *waiting(): Generator<InPair> {
    for (const pair of this.#pairs.values()) if (pair.waiting > 0 && !pair.isRunning) yield pair
  }

  of(peer: string): InPair[] {
    return [...this.#pairs.values()].filter((pair) => pair.peer === peer)
  }

  load(peer: string): Readonly<Load> {
    return this.#loads.get(peer) ?? NOTHING
  }

  count(peer: string, count: number, bytes: number): void {
    const load = this.#loads.get(peer) ?? { count: 0, bytes: 0 }
    load.count += count
    load.bytes += bytes
    this.total.count += count
    this.total.bytes += bytes
    if (load.count <= 0) this.#loads.delete(peer)
    else this.#loads.set(peer, load)
  }

  #create(sender: string, recipient: string): InPair | undefined {
    const peer = sender.slice(0, sender.indexOf('/'))
    const count = this.#perPeer.get(peer) ?? this.#countPairs(peer)
    if (count >= MAX_PAIRS_PER_PEER) return undefined
    this.#perPeer.set(peer, count + 1)
    return newPair({ id: this.#newId(), peer, sender, recipient, mark: 0 })
  }

  #countPairs(peer: string): number {
    if (this.#perPeer.size >= MAX_PAIRS_IN_MEMORY) this.#perPeer.clear()
    const row = this.#store.get("SELECT count(*) AS count FROM message_pair WHERE direction = 'in' AND peer = ?", [
      peer
    ])
    return row === undefined ? 0 : number(row, 'count')
  }

  #forgetIdle(): void {
    for (const [key, pair] of this.#pairs) {
      if (pair.waiting > 0 || pair.arriving > 0 || pair.isRunning) continue
      this.#pairs.delete(key)
      if (this.#pairs.size < MAX_PAIRS_IN_MEMORY / 2) return
    }
  }
}

const NOTHING: Readonly<Load> = { count: 0, bytes: 0 }

function fromRow(row: Parameters<typeof text>[0]): InPair {
  return newPair({
    id: number(row, 'id'),
    peer: text(row, 'peer'),
    sender: text(row, 'sender'),
    recipient: text(row, 'recipient'),
    mark: number(row, 'seq')
  })
}

function newPair(pair: Pick<InPair, 'id' | 'peer' | 'sender' | 'recipient' | 'mark'>): InPair {
  return {
    ...pair,
    agent: pair.recipient.slice(pair.recipient.indexOf('/') + 1),
    waiting: 0,
    arriving: 0,
    isRunning: false,
    isWanted: false,
    isWarm: false,
    suspectUntil: 0,
    suspected: 0,
    dueAt: 0
  }
}
