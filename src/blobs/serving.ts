import type { Connection, Stream } from '@libp2p/interface'
import type { Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Reservation } from '../policy/index.ts'
import { ByteStream, parseJson } from '../wire/index.ts'
import { MAX_BLOB_FRAME_BYTES, MAX_TRANSFERS_PER_PEER, READ_BUFFERS } from './constants.ts'
import type { BlobFiles } from './files.ts'
import type { BlobsComponents } from './index.ts'
import { type BlobRequest, blobRequest } from './messages.ts'
import { isReader, sizeOf, touch } from './rows.ts'

export interface ServingInit extends Pick<BlobsComponents, 'store' | 'policy' | 'authenticate'> {
  readonly files: BlobFiles
  readonly idleMs: number
  readonly clock: () => number
  /** Ends all transfers. */
  readonly signal: AbortSignal
}

/** Gives peers the blobs that they may read. */
export function createServing(init: ServingInit): (stream: Stream, connection: Connection) => void {
  const { store, policy, authenticate, files, idleMs, clock, signal } = init
  /** Transfers under way, by peer. */
  const running = new Map<string, number>()

  /** Those it was shared with, else whom policy allows; a rule that denies goes before both. */
  const admit = (
    session: Session,
    { sha256 }: BlobRequest
  ): Reservation | undefined | Promise<Reservation | undefined> => {
    const { caller } = session
    const request = { caller, session, action: 'blob.read', resource: `blob:${sha256}` }
    const decision = policy.decide(request)
    if (decision.effect === 'allow') return policy.reserve(decision, request)
    const isDenied = caller.trust === 'blocked' || (decision.effect === 'deny' && decision.rules.length > 0)
    if (isDenied || !isReader(store, sha256, caller.peer)) throw new MeshError('FORBIDDEN', decision.reason)
    return undefined
  }

  const send = async (bytes: ByteStream, session: Session): Promise<void> => {
    const request = readRequest(await bytes.frame({ signal }))
    const { sha256, offset = 0 } = request
    const reservation = await admit(session, request)
    let sent = 0
    try {
      const size = sizeOf(store, sha256)
      if (size === undefined) throw new MeshError('NOT_FOUND', 'this node has no such blob')
      if (offset > size) throw new MeshError('INVALID_ARGUMENT', `the blob has ${size} bytes`)
      for await (const piece of files.read(sha256, offset, { signal, buffers: READ_BUFFERS })) {
        // Not before the first is read: its file may be gone
        if (!bytes.hasSent) bytes.sendFrame({ size })
        await bytes.send(piece, { signal })
        sent += piece.length
      }
      if (!bytes.hasSent) bytes.sendFrame({ size })
      await store.write([touch(sha256, clock())])
    } finally {
      reservation?.settle({ bytes: sent })
    }
    await bytes.close()
  }

  const answer = async (bytes: ByteStream, session: Session): Promise<void> => {
    const { peer } = session.caller
    const count = running.get(peer) ?? 0
    if (count >= MAX_TRANSFERS_PER_PEER) {
      await refuse(bytes, new MeshError('BUSY', `${MAX_TRANSFERS_PER_PEER} transfers to this peer are running already`))
      return
    }
    running.set(peer, count + 1)
    try {
      await send(bytes, session)
    } catch (err) {
      await refuse(bytes, MeshError.from(err))
    } finally {
      const left = (running.get(peer) ?? 1) - 1
      if (left === 0) running.delete(peer)
      else running.set(peer, left)
    }
  }

  return (stream, connection) => {
    const bytes = new ByteStream(stream, { maxFrameBytes: MAX_BLOB_FRAME_BYTES, idleMs })
    // It ends its stream whatever happens
    answer(bytes, authenticate(connection)).catch((err: unknown) => bytes.abort(MeshError.from(err)))
  }
}

/** Says why, if nothing was sent yet; bytes can only be cut short. */
async function refuse(bytes: ByteStream, error: MeshError): Promise<void> {
  if (bytes.hasSent) {
    bytes.abort(error)
    return
  }
  const { code, retryable } = error
  bytes.sendFrame({ error: { code, message: error.message.slice(0, 1_000), retryable } })
  await bytes.close()
}

function readRequest(payload: Buffer): BlobRequest {
  const { success, data } = blobRequest.safeParse(parseJson(payload))
  if (success) return data
  throw new MeshError('INVALID_MESSAGE', 'not a request for a blob')
}
