import { MAX_DIFF_LINES, MAX_DIFF_VALUE_LENGTH } from './constants.ts'

/**
 * Says how two definitions of a capability differ: a line each, `- path: old` and `+ path: new`, by member in a fixed order.
 *
 * Values are JSON; whatever an eye wouldn't see is escaped. At most MAX_DIFF_LINES lines.
 */
export function diffDefinitions(before: unknown, after: unknown): readonly string[] {
  const old = leavesOf(before)
  const now = leavesOf(after)
  const paths = [...new Set([...old.keys(), ...now.keys()])].sort(byMember)
  const lines = paths.flatMap((path) => {
    const [was, is] = [old.get(path), now.get(path)]
    if (was === is) return []
    return [
      ...(was === undefined ? [] : [`- ${path}: ${excerpt(was, is)}`]),
      ...(is === undefined ? [] : [`+ ${path}: ${excerpt(is, was)}`])
    ]
  })
  // A digest covers members of later versions too, which records lose when they are read
  if (lines.length === 0) return ['+ members that this version of the program does not know']
  if (lines.length <= MAX_DIFF_LINES) return lines
  const shown = lines.slice(0, MAX_DIFF_LINES - 1)
  return [...shown, `… and ${lines.length - shown.length} more lines`]
}

/** Short members first, so that a large schema can't push them out of what is shown. */
const MEMBERS = ['kind', 'name', 'version', 'description', 'effects', 'streaming', 'tags', 'input', 'output']

/** Follows from everything else. */
const DIGEST = 'digest'

/** Every value that isn't a container, or is an empty one, as escaped JSON by its escaped path. */
function leavesOf(definition: unknown): Map<string, string> {
  const leaves = new Map<string, string>()
  const visit = (value: unknown, path: string) => {
    const members = membersOf(value, path)
    if (members.length === 0) leaves.set(path, escaped(JSON.stringify(value)))
    for (const [member, at] of members) visit(member, at)
  }
  for (const [member, path] of membersOf(definition, '')) if (path !== DIGEST) visit(member, path)
  return leaves
}

function membersOf(value: unknown, path: string): ReadonlyArray<readonly [member: unknown, path: string]> {
  if (Array.isArray(value)) return value.map((member: unknown, n) => [member, `${path}[${n}]`] as const)
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).map(([key, member]) => {
    const name = /^[A-Za-z_$][\w$-]*$/.test(key) ? key : escaped(JSON.stringify(key))
    return [member, path === '' ? name : `${path}.${name}`] as const
  })
}

function byMember(a: string, b: string): number {
  return rank(a) - rank(b) || a.localeCompare(b, 'en', { numeric: true })
}

function rank(path: string): number {
  const at = MEMBERS.indexOf(path.split(/[.[]/, 1)[0] ?? '')
  return at === -1 ? MEMBERS.length : at
}

/** What no reader sees, or what turns text around: controls, formats, odd spaces, fillers, tags, unassigned characters. */
const UNSEEN = /[[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]--[ ]]/gv

function escaped(json: string): string {
  return json.replace(UNSEEN, (char) => {
    const hex = char.codePointAt(0)?.toString(16) ?? ''
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`
  })
}

/** A long value from a little before where it begins to differ: a cut must not hide the change. */
function excerpt(text: string, other = ''): string {
  if (text.length <= MAX_DIFF_VALUE_LENGTH) return text
  const from = Math.max(0, commonLength(text, other) - MAX_DIFF_VALUE_LENGTH / 10)
  const shown = text.slice(from, from + MAX_DIFF_VALUE_LENGTH).toWellFormed()
  const left = text.length - from - shown.length
  return `${from > 0 ? '…' : ''}${shown}${left > 0 ? `… and ${left} more characters` : ''}`
}

function commonLength(a: string, b: string): number {
  let n = 0
  while (n < a.length && a[n] === b[n]) n += 1
  return n
}
