import { MeshError } from '../errors.ts'

/** What blobs take on disk, whole ones and those that are coming. */
export interface Room {
  readonly usedBytes: number
  /** Takes what a download will need in all. @throws {MeshError} LIMIT_EXCEEDED */
  take(sha256: string, size: number): void
  /** A download has left so much; 0 for nothing. */
  set(sha256: string, bytes: number): void
  /** A download has become a blob. */
  settle(sha256: string): void
  /** Bytes that are written, or given back when below 0. @throws {MeshError} LIMIT_EXCEEDED */
  add(bytes: number): void
}

/**
 * @param wholeBytes of the blobs that there are
 * @param partials bytes of downloads that were left, by hash
 */
export function createRoom(quotaBytes: number, wholeBytes: number, partials: Map<string, number>): Room {
  let used = wholeBytes + [...partials.values()].reduce((sum, bytes) => sum + bytes, 0)
  const check = (more: number): void => {
    if (more <= 0 || used + more <= quotaBytes) return
    throw new MeshError('LIMIT_EXCEEDED', `there is no room: blobs may take ${quotaBytes} bytes, and have ${used}`, {
      hint: 'drop what is not needed: pryx-mesh blobs list'
    })
  }
  const set = (sha256: string, bytes: number): void => {
    used += bytes - (partials.get(sha256) ?? 0)
    if (bytes === 0) partials.delete(sha256)
    else partials.set(sha256, bytes)
  }
  return {
    get usedBytes() {
      return used
    },
    take(sha256, size) {
      check(size - (partials.get(sha256) ?? 0))
      set(sha256, size)
    },
    set,
    settle: (sha256) => void partials.delete(sha256),
    add(bytes) {
      check(bytes)
      used += bytes
    }
  }
}
