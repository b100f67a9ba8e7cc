import { MeshError } from '../errors.ts'
import type { RequestContext } from '../rpc/index.ts'
import { DETACHED_MS, MAX_DETACHED_PER_PEER, MAX_REPLAY_BYTES, MAX_REPLAY_BYTES_PER_PEER } from './constants.ts'
import type { StreamRequest } from './messages.ts'
import { Replay } from './replay.ts'

export interface ReplaysInit {
  /** How long a stream that nobody reads, and the end of one, is kept; default {@link DETACHED_MS}. */
  readonly detachedMs?: number
}

/** What the callers of this node may resume, by caller and the id that each has chosen. */
export interface Replays {
  /**
   * The stream of that id, if it was begun.
   *
   * @throws {MeshError} STREAM_LOST when it isn't known and items of it are, or those that are missing aren't kept
   */
  find(peer: string, wanted: StreamRequest): Replay | undefined
  /**
   * Begins one.
   *
   * @param work gets the context of the stream, not of the connection; what it throws at once is thrown, and nothing is kept
   */
  begin(
    wanted: StreamRequest,
    request: { readonly resource: string; readonly context: RequestContext },
    work: (replay: Replay) => unknown
  ): Replay
  /** Ends what a peer has running. */
  dropPeer(peer: string): void
  /** Ends all. */
  stop(): void
}

/** What a peer has here. */
interface Guest {
  /** By id, oldest first. */
  readonly replays: Map<string, Replay>
  /** Those that nobody reads, by id, in the order in which they were left. */
  readonly detached: Map<string, Replay>
  bytes: number
}

export function createReplays({ detachedMs = DETACHED_MS }: ReplaysInit = {}): Replays {
  return new KeptReplays(detachedMs)
}

class KeptReplays implements Replays {
  readonly #detachedMs: number
  readonly #guests = new Map<string, Guest>()
  readonly #timers = new Map<Replay, NodeJS.Timeout>()
  #bytes = 0

  constructor(detachedMs: number) {
    this.#detachedMs = detachedMs
  }

  find(peer: string, { id, after }: StreamRequest): Replay | undefined {
    const replay = this.#guests.get(peer)?.replays.get(id)
    if (replay === undefined && after === 0) return undefined
    if (replay?.isKept(after) === true) return replay
    throw lost(replay === undefined ? 'the stream is not known here any more' : 'the items that are missing are gone')
  }

  begin(...[wanted, { resource, context }, work]: Parameters<Replays['begin']>): Replay {
    const { caller, session } = context
    const { peer } = caller
    const replay: Replay = new Replay({
      resource,
      context: { caller, session },
      onKept: (bytes) => this.#count(peer, replay, bytes),
      onRead: () => {
        this.#disarm(replay)
        this.#guests.get(peer)?.detached.delete(wanted.id)
      },
      onLeft: (isWanted) => this.#left(peer, wanted.id, replay, isWanted)
    })
    const result = work(replay)
    const guest = this.#guests.get(peer) ?? { replays: new Map(), detached: new Map(), bytes: 0 }
    this.#guests.set(peer, guest)
    guest.replays.set(wanted.id, replay)
    replay.begin(result)
    return replay
  }

  dropPeer(peer: string): void {
    const reason = new MeshError('FORBIDDEN', 'the owner has blocked this peer')
    for (const [id, replay] of this.#guests.get(peer)?.replays ?? []) this.#remove(peer, id, replay, reason)
  }

  stop(): void {
    const reason = new MeshError('CONNECTION_LOST', 'the node is stopping')
    for (const [peer, { replays }] of this.#guests) {
      for (const [id, replay] of replays) this.#remove(peer, id, replay, reason)
    }
  }

  #left(peer: string, id: string, replay: Replay, isWanted: boolean): void {
    const guest = this.#guests.get(peer)
    if (guest?.replays.get(id) !== replay) return
    if (!isWanted) {
      this.#remove(peer, id, replay)
      return
    }
    this.#disarm(replay)
    const expire = (): void => this.#remove(peer, id, replay, lost('nobody came back for the stream'))
    this.#timers.set(replay, setTimeout(expire, this.#detachedMs).unref())
    guest.detached.set(id, replay)
    this.#bound(peer, guest)
  }

  #bound(peer: string, guest: Guest): void {
    if (guest.detached.size <= MAX_DETACHED_PER_PEER) return
    for (const { id, replay } of leftIn([[peer, guest]])) {
      if (guest.detached.size <= MAX_DETACHED_PER_PEER) return
      this.#remove(peer, id, replay, replay.hasEnded ? undefined : lost('too many streams were left'))
    }
  }

  #count(peer: string, replay: Replay, bytes: number): void {
    const guest = this.#guests.get(peer)
    if (guest === undefined) return
    guest.bytes += bytes
    this.#bytes += bytes
    if (bytes < 0) return
    if (guest.bytes > MAX_REPLAY_BYTES_PER_PEER)
      this.#makeRoom(replay, [[peer, guest]], () => guest.bytes <= MAX_REPLAY_BYTES_PER_PEER)
    if (this.#bytes > MAX_REPLAY_BYTES) this.#makeRoom(replay, this.#guests, () => this.#bytes <= MAX_REPLAY_BYTES)
  }

  /** At the cost of whoever isn't there to read; else of the one that grows, and then of others, which could not be gone on with. */
  #makeRoom(growing: Replay, guests: Iterable<readonly [string, Guest]>, isEnough: () => boolean): void {
    for (const { peer, id, replay } of leftIn(guests)) {
      if (replay.memoryBytes > 0) this.#remove(peer, id, replay, lost('there is no room to keep the stream'))
      if (isEnough()) return
    }
    growing.trim()
    for (const [, { replays }] of guests) {
      for (const replay of replays.values()) {
        if (isEnough()) return
        replay.trim()
      }
    }
  }

  #remove(peer: string, id: string, replay: Replay, reason?: MeshError): void {
    this.#disarm(replay)
    const guest = this.#guests.get(peer)
    if (guest?.replays.get(id) !== replay) return
    guest.replays.delete(id)
    guest.detached.delete(id)
    guest.bytes -= replay.memoryBytes
    this.#bytes -= replay.memoryBytes
    if (guest.replays.size === 0) this.#guests.delete(peer)
    if (reason !== undefined) replay.stop(reason)
  }

  #disarm(replay: Replay): void {
    clearTimeout(this.#timers.get(replay))
    this.#timers.delete(replay)
  }
}

/** Those that nobody reads, in the order in which they go: ended ones first, then by when they were left. */
function leftIn(guests: Iterable<readonly [string, Guest]>): { peer: string; id: string; replay: Replay }[] {
  const left = [...guests].flatMap(([peer, { detached }]) =>
    [...detached].map(([id, replay]) => ({ peer, id, replay }))
  )
  return [...left.filter(({ replay }) => replay.hasEnded), ...left.filter(({ replay }) => !replay.hasEnded)]
}

function lost(why: string): MeshError {
  return new MeshError('STREAM_LOST', why, { hint: 'call again: the stream begins anew' })
}
