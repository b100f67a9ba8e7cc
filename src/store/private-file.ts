import { randomUUID } from 'node:crypto'
import { type FileHandle, link, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MeshError } from '../errors.ts'

export interface PrivateFileInit {
  readonly path: string
  /** A larger file is not read. */
  readonly maxBytes: number
  /** The content of a new file. */
  readonly make: () => string
  /** The error for content that is not what it should be. */
  readonly unusable: () => MeshError
}

/**
 * Reads a file that only its owner may read; makes it, with its folder (0700), when there is none.
 *
 * @throws {MeshError} INVALID_CONFIG when others may read or write it; what `unusable` gives when it is too large; IO
 */
export async function readOrCreatePrivate(init: PrivateFileInit): Promise<string> {
  try {
    return (await read(init)) ?? (await create(init))
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `cannot read or write ${init.path}: ${reason(err)}`, {
      cause: err,
      hint: 'check that the folder is yours to write and the disk has room'
    })
  }
}

/**
 * Reads a file that only its owner may read.
 *
 * @returns undefined when there is none
 * @throws {MeshError} as {@link readOrCreatePrivate}
 */
export async function readPrivate(init: Omit<PrivateFileInit, 'make'>): Promise<string | undefined> {
  try {
    return await read(init)
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `cannot read ${init.path}: ${reason(err)}`, {
      cause: err,
      hint: 'check that it is a file that is yours to read'
    })
  }
}

async function read({ path, maxBytes, unusable }: Omit<PrivateFileInit, 'make'>): Promise<string | undefined> {
  const file = await openExisting(path)
  if (file === undefined) return undefined
  try {
    const { mode, size } = await file.stat()
    if ((mode & 0o077) !== 0 && process.platform !== 'win32') {
      throw new MeshError(
        'INVALID_CONFIG',
        `${path} can be read or written by others (mode ${(mode & 0o777).toString(8)})`,
        { hint: `if nobody has read it: chmod 600 ${path}` }
      )
    }
    if (size > maxBytes) throw unusable()
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r')
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined
    throw err
  }
}

/**
 * The file appears under its name whole and on disk, or not at all: written beside it first, then linked. The link fails
 * when another process was faster; then its content is what counts.
 */
async function create(init: PrivateFileInit): Promise<string> {
  const { path } = init
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const text = init.make()
  const draft = `${path}.${randomUUID()}.new`
  try {
    await writeDurably(draft, text)
    await link(draft, path)
  } catch (err) {
    const existing = await read(init)
    if (existing === undefined) throw err
    return existing
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(dirname(path))
  return text
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** A new name is durable only when its folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
