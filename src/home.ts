import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { MeshError } from './errors.ts'

/** `sun_path` has 108 bytes on Linux and 104 elsewhere, with the closing zero; unix(7). */
export const MAX_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103

/** Where a node keeps what it keeps: absolute paths in its home. */
export interface Home {
  readonly path: string
  readonly identityKey: string
  readonly config: string
  readonly policy: string
  /** What must not be lost. */
  readonly database: string
  /** Space that is given back to a full disk. */
  readonly ballast: string
  /** libp2p's memory; may be deleted while no node runs. */
  readonly cache: string
  readonly socket: string
  readonly audit: string
  /** Where content is kept by its hash. */
  readonly blobs: string
  /** What secrets in the database are sealed with. */
  readonly secretsKey: string
  /** What the owner shows at the HTTP edge. */
  readonly httpToken: string
}

/**
 * Where the home is: what was asked for, else `PRYX_MESH_HOME`, else `.pryx-mesh` in the owner's home folder.
 *
 * @returns an absolute path; nothing is created or checked
 */
export function resolveHome(option: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  return resolve(option || env['PRYX_MESH_HOME'] || join(env['HOME'] || homedir(), '.pryx-mesh'))
}

/**
 * Names the files of a home; touches none.
 *
 * @throws {MeshError} INVALID_ARGUMENT when the path is too long for a unix socket in it
 */
export function homeAt(path: string): Home {
  const socket = join(path, 'control.sock')
  const bytes = Buffer.byteLength(socket)
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new MeshError(
      'INVALID_ARGUMENT',
      `the home ${path} is too deep: its control socket would have a path of ${bytes} bytes`,
      {
        hint: `choose a home with at most ${MAX_SOCKET_PATH_BYTES - '/control.sock'.length} bytes in its path, with --home or PRYX_MESH_HOME`
      }
    )
  }
  return {
    path,
    socket,
    identityKey: join(path, 'identity.key'),
    config: join(path, 'config.json'),
    policy: join(path, 'policy.json'),
    database: join(path, 'mesh.db'),
    ballast: join(path, 'ballast'),
    cache: join(path, 'cache.db'),
    audit: join(path, 'audit.log'),
    blobs: join(path, 'blobs'),
    secretsKey: join(path, 'secrets.key'),
    httpToken: join(path, 'http.token')
  }
}
