import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** In the home; only its owner may open it. */
export const CONTROL_SOCKET = 'control.sock'

const DEFAULT_HOME = join(homedir(), '.pryx-mesh')

/** The home to use: the flag, else PRYX_MESH_HOME, else the default. Absolute. */
export function homeOf(flag: string | undefined): string {
  return resolve(flag || process.env['PRYX_MESH_HOME'] || DEFAULT_HOME)
}

/** What to add to a command that shall mean this home, with a space before it; empty for the default. */
export function homeFlag(home: string): string {
  if (home === DEFAULT_HOME) return ''
  return ` --home ${/^[\w./-]+$/.test(home) ? home : `'${home.replaceAll("'", "'\\''")}'`}`
}
