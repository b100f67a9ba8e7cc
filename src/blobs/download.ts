import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, MeshError } from '../errors.ts'
import { ByteStream, free, parseJson } from '../wire/index.ts'
import {
  BLOB_PROTOCOL,
  FIRST_WAIT_MS,
  LONGEST_WAIT_MS,
  MAX_BLOB_BYTES,
  MAX_BLOB_FRAME_BYTES,
  RESUME_MS
} from './constants.ts'
import type { BlobFiles, BlobWriter } from './files.ts'
import type { BlobRef, BlobsComponents } from './index.ts'
import { blobHeader } from './messages.ts'
import type { Room } from './room.ts'

export interface DownloadInit extends Pick<BlobsComponents, 'network' | 'prepare' | 'trust'> {
  readonly files: BlobFiles
  readonly room: Room
  readonly idleMs: number
  readonly random: () => number
}

export interface Wanted {
  readonly peer: string
  readonly sha256: string
  readonly signal: AbortSignal
  readonly onProgress: (received: number, size: number) => void
}

/** Of yamux: all that there is before bytes that came in a message of their own. */
const FRAME_HEADER_BYTES = 12

/** What came isn't what was asked for, and is gone. */
const WRONG_BYTES = 'the bytes are not those of the hash'

/** Gets a blob, in as many attempts as it takes while it gets on. @returns its size; it is on disk then */
export async function download(init: DownloadInit, wanted: Wanted): Promise<BlobRef> {
  let attempt = 0
  let since: number | undefined
  const onProgress: Wanted['onProgress'] = (...progress) => {
    attempt = 0
    since = performance.now()
    wanted.onProgress(...progress)
  }
  for (;;) {
    try {
      return await attemptOnce(init, { ...wanted, onProgress })
    } catch (err) {
      if (wanted.signal.aborted) throw abortError(wanted.signal)
      if (since === undefined || !isBroken(err) || performance.now() - since > RESUME_MS) throw err
    }
    const longestMs = Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS)
    attempt += 1
    await sleep(init.random() * longestMs, undefined, { signal: wanted.signal }).catch(() => {
      throw abortError(wanted.signal)
    })
  }
}

/** BUSY too: the places may be held by attempts whose end the peer hasn't noticed yet. */
function isBroken(err: unknown): boolean {
  return err instanceof MeshError && ['BUSY', 'CONNECTION_LOST', 'TIMEOUT', 'UNREACHABLE'].includes(err.code)
}

async function attemptOnce(init: DownloadInit, wanted: Wanted): Promise<BlobRef> {
  const { sha256, signal, peer } = wanted
  const writer = await init.files.resume(sha256, { signal })
  const began = writer.size
  try {
    const size = await receive(init, wanted, writer)
    if (writer.digest() !== sha256) throw new MeshError('INVALID_MESSAGE', WRONG_BYTES)
    await writer.commit(sha256)
    return { sha256, size }
  } catch (err) {
    const isWrong = err instanceof MeshError && (err.code === 'INVALID_MESSAGE' || err.code === 'INVALID_ARGUMENT')
    if (!isWrong) {
      await writer.leave()
      init.room.set(sha256, writer.size)
      throw err
    }
    await writer.discard()
    init.room.set(sha256, 0)
    // What was there before may have been wrong, and somebody else's doing
    if (began > 0) return attemptOnce(init, wanted)
    init.trust?.note(peer, 'protocol:broken')
    throw err
  }
}

/** @returns the size of the blob, all of which has been written */
async function receive(init: DownloadInit, wanted: Wanted, writer: BlobWriter): Promise<number> {
  const { network, prepare, room, idleMs } = init
  const { peer, sha256, signal, onProgress } = wanted
  await prepare?.(peer)
  const { stream } = await network.openStream(peer, [BLOB_PROTOCOL], { signal })
  const bytes = new ByteStream(stream, { maxFrameBytes: MAX_BLOB_FRAME_BYTES, idleMs })
  try {
    bytes.sendFrame({ sha256, ...(writer.size > 0 && { offset: writer.size }) })
    const size = readSize(await bytes.frame({ signal }))
    room.take(sha256, size)
    for await (const chunks of writer.size < size ? bytes.body({ signal }) : []) {
      await writeThrough(chunks, writer, size)
      onProgress(writer.size, size)
      if (writer.size === size) break
    }
    if (writer.size < size) throw new MeshError('CONNECTION_LOST', 'the peer ended before the end')
    await bytes.close()
    return size
  } catch (err) {
    bytes.abort(MeshError.from(err))
    throw err
  }
}

async function writeThrough(chunks: readonly Uint8Array[], writer: BlobWriter, size: number): Promise<void> {
  for (const chunk of chunks) {
    if (writer.size + chunk.length > size) throw new MeshError('INVALID_MESSAGE', WRONG_BYTES)
    await writer.write(chunk)
    const { byteOffset, byteLength, buffer } = chunk
    // Else there may be frames of other streams in it
    if (byteOffset <= FRAME_HEADER_BYTES && byteOffset + byteLength === buffer.byteLength) free(chunk)
  }
}

function readSize(payload: Buffer): number {
  const { success, data } = blobHeader.safeParse(parseJson(payload))
  if (!success) throw new MeshError('INVALID_MESSAGE', 'not the header of a blob')
  if ('error' in data) {
    const { code, message } = data.error
    throw MeshError.fromBody({ code, message })
  }
  if (data.size > MAX_BLOB_BYTES)
    throw new MeshError('TOO_LARGE', `the blob has ${data.size} bytes, over the limit of ${MAX_BLOB_BYTES}`)
  return data.size
}
