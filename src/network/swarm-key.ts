import { generateKey } from '@libp2p/pnet'
import { MeshError } from '../errors.ts'
import { readPrivate } from '../store/index.ts'
import { MAX_SWARM_KEY_BYTES } from './constants.ts'

// https://github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md: three lines, 32 bytes in base16
const SWARM_KEY = /^\/key\/swarm\/psk\/1\.0\.0\/\r?\n\/base16\/\r?\n([0-9a-f]{64})\s*$/i
const SWARM_KEY_BYTES = 95

/** The text of a new swarm key file, without a line break at its end. */
export function createSwarmKey(): string {
  const bytes = new Uint8Array(SWARM_KEY_BYTES)
  generateKey(bytes)
  return new TextDecoder().decode(bytes)
}

/**
 * Reads a swarm key as libp2p takes it.
 *
 * @throws {MeshError} INVALID_CONFIG when there is no such file, others can read it, or it holds no key; IO when it can't be read
 */
export async function readSwarmKey(path: string): Promise<Uint8Array> {
  const unusable = (what: string): MeshError =>
    new MeshError('INVALID_CONFIG', `${path} ${what}`, {
      hint: 'make one with: (umask 077; pryx-mesh swarm-key > FILE); every node of the mesh needs a copy'
    })
  const text = await readPrivate({
    path,
    maxBytes: MAX_SWARM_KEY_BYTES,
    unusable: () => unusable('holds no swarm key')
  })
  if (text === undefined) throw unusable('is not there, and should hold the swarm key')
  const [, key] = SWARM_KEY.exec(text) ?? []
  if (key === undefined)
    throw unusable('holds no swarm key: /key/swarm/psk/1.0.0/, /base16/ and 64 digits, a line each')
  return new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${key.toLowerCase()}`)
}
