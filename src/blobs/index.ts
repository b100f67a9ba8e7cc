/**
 * Content by its SHA-256: kept on disk, shared with chosen peers, fetched from peers and gone on with where it broke off.
 *
 * Spec: protocols/blob/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const blobs = await createBlobs({ store, network, policy, authenticate: auth.sessionOf }, { folder: join(home, 'blobs') })
 * await blobs.start()
 * const { sha256 } = await blobs.put('/home/ada/photo.jpg')
 * await blobs.allow(sha256, peer)
 * await blobs.fetch(peer, other, { signal: AbortSignal.timeout(60_000) })
 */
import type { Connection } from '@libp2p/interface'
import type { Session } from '../auth/index.ts'
import type { Network } from '../network/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Store } from '../store/index.ts'
import type { Trust } from '../trust/index.ts'

export { createBlobs } from './blobs.ts'
export { BLOB_PROTOCOL } from './constants.ts'
export { blobsMigrations } from './rows.ts'

export interface BlobInfo {
  /** Of the content, hex in lower case. */
  readonly sha256: string
  /** Bytes. */
  readonly size: number
  /** RFC 3339. */
  readonly createdAt: string
  readonly usedAt: string
  /** How many keep it from being dropped. */
  readonly pins: number
  /** PeerIds that may read it, beside those that policy allows: for good, or while it is held for them. */
  readonly readers: readonly string[]
}

export interface BlobRef {
  readonly sha256: string
  /** Bytes. */
  readonly size: number
}

/** Why a blob is kept for a while. */
export interface BlobHold {
  /** Its name, such as `message:01JDE…`; there is one hold of a name. */
  readonly purpose: string
  /** PeerId of who may read it as long. */
  readonly reader?: string | undefined
}

export interface PutOptions {
  readonly signal?: AbortSignal
  /** Kept for that from the beginning. It goes with the last hold on it, unless it was here before, or is put again to stay. */
  readonly hold?: BlobHold
}

export interface FetchOptions {
  readonly signal?: AbortSignal
  /** Told as bytes come: how many are there, those of earlier attempts too, and of how many. */
  readonly onProgress?: (received: number, size: number) => void
}

export interface Blobs {
  /** Serves `blob/1.0.0` from now on. */
  start(): Promise<void>
  /**
   * Keeps content; on disk when it resolves.
   *
   * @param source bytes, pieces of them, or the path of a file
   * @throws {MeshError} TOO_LARGE over MAX_BLOB_BYTES, LIMIT_EXCEEDED when the quota is used up, IO, CANCELLED
   */
  put(source: Uint8Array | AsyncIterable<Uint8Array> | string, options?: PutOptions): Promise<BlobRef>
  has(sha256: string): boolean
  get(sha256: string): BlobInfo | undefined
  /** Newest first. */
  list(): readonly BlobInfo[]
  /** Reads content from an offset on. @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT for an offset beyond it, IO; from the iteration */
  open(sha256: string, options?: { readonly offset?: number; readonly signal?: AbortSignal }): AsyncIterable<Uint8Array>
  /**
   * Copies content to a file that isn't there yet.
   *
   * @throws {MeshError} NOT_FOUND, ALREADY_EXISTS, IO
   */
  save(sha256: string, path: string): Promise<void>
  /**
   * Gets content from a peer, unless it is here; several who want the same share one transfer. One that breaks is gone on
   * with, also after a restart, and checked as a whole at its end.
   *
   * @throws {MeshError} FORBIDDEN, NOT_FOUND, BUSY as the peer says; INVALID_MESSAGE when its bytes aren't those, which are
   *   deleted then; TOO_LARGE, LIMIT_EXCEEDED when there is no room; UNREACHABLE, CONNECTION_LOST, TIMEOUT, CANCELLED, IO
   */
  fetch(peer: string, sha256: string, options?: FetchOptions): Promise<BlobRef>
  /** Lets a peer read it; on disk when it resolves. @throws {MeshError} NOT_FOUND, BUSY at MAX_READERS, IO */
  allow(sha256: string, peer: string): Promise<void>
  /** Ends that. @throws {MeshError} IO */
  disallow(sha256: string, peer: string): Promise<void>
  /** Keeps it from being dropped, and lets a peer read it, until {@link release}; on disk when it resolves. @throws {MeshError} NOT_FOUND, IO */
  hold(sha256: string, hold: BlobHold): Promise<void>
  /** Ends holds; those that there aren't do nothing. @throws {MeshError} IO */
  release(purposes: readonly string[]): Promise<void>
  /** What there is a hold for. */
  purposes(): readonly string[]
  /** Forgets it. @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT while it is held, IO */
  drop(sha256: string): Promise<void>
  /** Ends transfers; what is left of downloads is kept. */
  stop(): Promise<void>
}

export interface BlobsComponents {
  readonly store: Store
  readonly network: Pick<Network, 'handle' | 'openStream'>
  readonly policy: Pick<Policy, 'decide' | 'reserve'>
  /** Who is at the other end. */
  readonly authenticate: (connection: Connection) => Session
  readonly trust?: Pick<Trust, 'note'>
  /** What must be shown to a peer before it is asked for something; undefined when that is done. */
  readonly prepare?: (peer: string) => Promise<unknown> | undefined
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** 0 ≤ x < 1; default `Math.random`. */
  readonly random?: () => number
}

export interface BlobsInit {
  /** Where content is kept; without one in a folder that goes with the node. */
  readonly folder?: string
  /** What all of it may take on disk, bytes; default 4 GiB. */
  readonly quotaBytes?: number
  /** Default 30,000. */
  readonly idleMs?: number
}
