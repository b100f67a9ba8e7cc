import { constants, existsSync } from 'node:fs'
import { access, mkdir, readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import { MAX_DETACHED_MS } from './calls/index.ts'
import { MeshError } from './errors.ts'
import { type Home, homeAt } from './home.ts'
import { MAX_AGENTS, MAX_PEER_RECORDS } from './registry/constants.ts'

const address = z.string().refine(isMultiaddr, 'is not a multiaddr, such as /ip4/192.0.2.7/tcp/4001')

const settings = z.strictObject({
  name: z.string().min(1).max(64).optional(),
  listen: z.array(address).optional(),
  bootstrap: z.array(address).optional(),
  lan: z.boolean().optional(),
  auth: z
    .strictObject({
      issuers: z
        .array(
          z.strictObject({
            issuer: z.url(),
            introspection: z
              .strictObject({ clientId: z.string().min(1), clientSecretFile: z.string().min(1) })
              .exactOptional(),
            acceptUnbound: z.boolean().exactOptional()
          })
        )
        .exactOptional(),
      audience: z.url().exactOptional(),
      mtls: z
        .strictObject({
          ca: z.string().min(1).exactOptional(),
          pins: z
            .array(
              z.strictObject({ spki: z.string(), name: z.string().min(1), scopes: z.array(z.string()).exactOptional() })
            )
            .exactOptional()
        })
        .exactOptional()
    })
    .exactOptional(),
  edge: z
    .strictObject({
      listen: z.string().min(1),
      tls: z
        .strictObject({
          certFile: z.string().min(1),
          keyFile: z.string().min(1),
          clientCaFile: z.string().min(1).exactOptional()
        })
        .exactOptional(),
      hosts: z.array(z.string().min(1)).exactOptional(),
      origins: z.array(z.url()).exactOptional(),
      traces: z.url().exactOptional(),
      maxAgents: z
        .int()
        .min(0)
        .max(MAX_PEER_RECORDS - MAX_AGENTS)
        .exactOptional()
    })
    .optional(),
  approverCommand: z.array(z.string()).min(1).optional(),
  blobs: z.strictObject({ quotaBytes: z.int().min(0).exactOptional() }).optional(),
  streams: z.strictObject({ detachedMs: z.int().min(0).max(MAX_DETACHED_MS).exactOptional() }).optional(),
  swarmKey: z.string().min(1).optional(),
  mesh: z.string().min(1).max(32).optional()
})

/** The lasting settings of `config.json`, as in `NodeInit`; what a program is given at its start goes before them. */
export type Settings = Readonly<z.infer<typeof settings>>

/**
 * Makes the folder of a home, for its owner only (0700), unless it is there; its settings are {@link readSettings}.
 *
 * @throws {MeshError} IO when it isn't a folder that this process may write in, INVALID_ARGUMENT as {@link homeAt}
 */
export async function openHome(path: string): Promise<Home> {
  const home = homeAt(resolve(path))
  try {
    await makeFolder(home.path)
    await access(home.path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (err) {
    throw new MeshError('IO', `the home ${home.path} cannot be used: ${await obstacle(home.path, err)}`, {
      cause: err,
      hint: 'choose a folder that is yours to write, with --home or PRYX_MESH_HOME'
    })
  }
  return home
}

/** Node's own `recursive` never ends where a folder is missing in one that is there, as everywhere in /proc. */
async function makeFolder(path: string): Promise<void> {
  const parent = dirname(path)
  if (!existsSync(parent)) await makeFolder(parent)
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (err) {
    if (!existsSync(path)) throw err
  }
}

/**
 * Reads `config.json`; a home without one has no settings.
 *
 * @throws {MeshError} INVALID_CONFIG saying what is wrong and where, IO when it can't be read
 */
export async function readSettings(home: Pick<Home, 'config'>): Promise<Settings> {
  const text = await readIfThere(home.config)
  if (text === undefined) return {}
  const { success, data, error } = settings.safeParse(parse(text, home.config))
  if (success) return withFilesOf(dirname(home.config), data)
  const [issue] = error.issues
  const at = issue === undefined || issue.path.length === 0 ? '' : ` ${z.core.toDotPath(issue.path)}:`
  throw invalid(home.config, `${at} ${issue?.message ?? 'not valid'}`, error)
}

/** Files in `config.json` are named from its folder, wherever the program was started. */
function withFilesOf(folder: string, { swarmKey, auth, ...rest }: Settings): Settings {
  const at = (file: string): string => resolve(folder, file)
  const issuers = auth?.issuers?.map(({ introspection, ...issuer }) => ({
    ...issuer,
    ...(introspection && {
      introspection: { ...introspection, clientSecretFile: at(introspection.clientSecretFile) }
    })
  }))
  const mtls = auth?.mtls && { ...auth.mtls, ...(auth.mtls.ca !== undefined && { ca: at(auth.mtls.ca) }) }
  return {
    ...rest,
    ...(swarmKey !== undefined && { swarmKey: at(swarmKey) }),
    ...(auth && { auth: { ...auth, ...(issuers && { issuers }), ...(mtls && { mtls }) } })
  }
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (err) {
    throw invalid(path, ` ${reason(err)}`, err) // V8 tells line and column
  }
}

function invalid(path: string, what: string, cause: unknown): MeshError {
  return new MeshError('INVALID_CONFIG', `${path}:${what}`, {
    cause,
    hint: 'correct the file, or move it away to start with the defaults; it may have name, listen, bootstrap, lan, mesh, auth, edge, approverCommand, swarmKey, blobs and streams'
  })
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    if (isMissing(err)) return undefined
    throw new MeshError('IO', `cannot read ${path}: ${reason(err)}`, {
      cause: err,
      hint: 'check that the file is yours to read'
    })
  }
}

/** `mkdir` says "file exists" of a file in the folder's place. */
async function obstacle(path: string, err: unknown): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  return found === undefined || found.isDirectory() ? reason(err) : 'it is not a folder'
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'ENOENT'
}

function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text)
    return true
  } catch {
    return false
  }
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
