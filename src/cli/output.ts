import { styleText } from 'node:util'
import type { MeshError } from '../errors.ts'
import { HINTS } from './errors.ts'

type Style = Parameters<typeof styleText>[0]

/** How the user calls this program, for texts that tell what to run next. */
export function programName(): string {
  const { PRYX_MESH_PROGRAM: given, npm_lifecycle_event: script } = process.env
  return given ?? (script === 'start' ? 'scripts/pryx-mesh' : 'pryx-mesh')
}

/** A text that others wrote, without what would steer a terminal or turn its text around. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069]/gu, (char) =>
    char === '\n' || char === '\t' ? char : '\uFFFD'
  )
}

/** JSON on one line, ASCII where a character could steer a terminal; it parses to the same. */
export function json(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}

/** The first line of a description, cut for a terminal's row. */
export function headline(description = ''): string {
  const [line = ''] = description.split('\n', 1)
  return process.stdout.isTTY && line.length > MAX_HEADLINE ? `${line.slice(0, MAX_HEADLINE - 1)}…` : line
}

const MAX_HEADLINE = 72

/** Prints a line of the result. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** Tells something beside the result. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Colours on a terminal only. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream })
}

/** Prints labels and values, one a line; values that are lists take several. */
export function printFields(
  fields: readonly (readonly [label: string, value: string | readonly string[] | undefined])[]
): void {
  const width = Math.max(...fields.map(([label]) => label.length))
  for (const [label, value] of fields) {
    const lines = value === undefined ? [] : [value].flat()
    lines.forEach((line, n) => print(`  ${paint('dim', (n === 0 ? label : '').padEnd(width))}  ${plain(line)}`))
  }
}

/** Prints rows: aligned under a heading on a terminal, else with tabs and nothing else. */
export function printTable(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  const cells = rows.map((row) => row.map((cell) => plain(cell).replace(/[\n\t]/g, ' ')))
  if (!process.stdout.isTTY) {
    for (const row of cells) print(row.join('\t'))
    return
  }
  const widths = heading.map((title, n) => Math.max(title.length, ...cells.map((row) => row[n]?.length ?? 0)))
  const align = (row: readonly string[]) =>
    row
      .map((cell, n) => cell.padEnd(widths[n] ?? 0))
      .join('  ')
      .trimEnd()
  print(paint('bold', align(heading)))
  for (const row of cells) print(align(row))
}

/**
 * Says on stderr what failed and what to do next.
 *
 * @param verb names of the command that failed
 */
export function printError(err: MeshError, verb: readonly string[]): void {
  const usage = ['pryx-mesh', ...verb, '--help'].join(' ')
  const hint = (err.hint ?? (err.code === 'INVALID_ARGUMENT' ? usage : HINTS[err.code])).replaceAll(
    /\bpryx-mesh(?= [a-z-])/g,
    programName()
  )
  note(`${paint('red', 'error:', process.stderr)} ${err.code}: ${indented(err.message)}`)
  note(`${paint('dim', 'next:', process.stderr)} ${indented(hint)}`)
}

/** A peer's words can't pass for a line of ours. */
function indented(text: string): string {
  return plain(text).replaceAll('\n', '\n  ')
}

/**
 * Shows on a terminal that something is still going on, and for how long; elsewhere nothing.
 *
 * @returns how to end it; may be called twice
 */
export function progress(text: () => string): () => void {
  const { stderr } = process
  if (!stderr.isTTY) return () => {}
  const startedAt = Date.now()
  let shown = false
  const timer = setInterval(() => {
    shown = true
    stderr.write(`\r\u001b[K${paint('dim', `${text()} ${Math.round((Date.now() - startedAt) / 1000)} s`, stderr)}`)
  }, 500)
  timer.unref()
  return () => {
    clearInterval(timer)
    if (shown) stderr.write('\r\u001b[K')
    shown = false
  }
}
