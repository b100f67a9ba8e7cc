import { createPrivateKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { type FileHandle, link, mkdir, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { MeshError } from '../errors.ts'
import { MAX_KEY_FILE_BYTES } from './constants.ts'

/**
 * Reads the node's key, PKCS#8 in PEM; makes one when there is none.
 *
 * @throws {MeshError} INVALID_CONFIG when the file is no Ed25519 key, or others may read it; IO
 */
export async function readOrCreateKey(path: string): Promise<KeyObject> {
  try {
    const pem = (await readPrivate(path)) ?? (await create(path))
    return parse(pem, path)
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `cannot read or write ${path}: ${reason(err)}`, {
      cause: err,
      hint: 'check that the folder is yours to write and the disk has room'
    })
  }
}

export function generateKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey
}

/** The file's text, or undefined when there is none. */
async function readPrivate(path: string): Promise<string | undefined> {
  const file = await openExisting(path)
  if (file === undefined) return undefined
  try {
    const { mode, size } = await file.stat()
    if ((mode & 0o077) !== 0 && process.platform !== 'win32') {
      throw new MeshError(
        'INVALID_CONFIG',
        `${path} can be read or written by others (mode ${(mode & 0o777).toString(8)})`,
        {
          hint: `if nobody has read it: chmod 600 ${path}`
        }
      )
    }
    if (size > MAX_KEY_FILE_BYTES) throw notAKey(path)
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
 * The key appears under its name whole and on disk, or not at all: written beside it first, then linked. The link fails
 * when another process was faster; then its key is the node's.
 */
async function create(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const pem = generateKey().export({ type: 'pkcs8', format: 'pem' }).toString()
  const draft = `${path}.${randomUUID()}.new`
  try {
    await writeDurably(draft, pem)
    await link(draft, path)
  } catch (err) {
    const existing = await readPrivate(path)
    if (existing === undefined) throw err
    return existing
  } finally {
    await rm(draft, { force: true })
  }
  await syncFolder(dirname(path))
  return pem
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

function parse(pem: string, path: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (err) {
    throw notAKey(path, err)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw notAKey(path)
  return key
}

function notAKey(path: string, cause?: unknown): MeshError {
  return new MeshError('INVALID_CONFIG', `${path} does not hold an Ed25519 private key (PKCS#8, PEM)`, {
    cause,
    hint: `put a backup of it in its place; or move it away, and the node becomes a new one with another id`
  })
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
