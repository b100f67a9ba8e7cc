import { homeAt, resolveHome } from '../home.ts'

/** The home to use: the flag, else PRYX_MESH_HOME, else the default. Absolute. */
export function homeOf(flag: string | undefined): string {
  return resolveHome(flag, process.env)
}

/** Where the node of a home listens to its owner. @throws {MeshError} INVALID_ARGUMENT when the path is too long */
export function socketOf(home: string): string {
  return homeAt(home).socket
}

/** What to add to a command that shall mean this home, with a space before it; empty for the default. */
export function homeFlag(home: string): string {
  if (home === resolveHome(undefined, { HOME: process.env['HOME'] })) return ''
  return ` --home ${/^[\w./-]+$/.test(home) ? home : `'${home.replaceAll("'", "'\\''")}'`}`
}
