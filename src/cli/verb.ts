import { type Command, InvalidArgumentError, Option } from 'commander'
import ms, { type StringValue } from 'ms'
import { abortError, MeshError } from '../errors.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import { type Client, createClient } from './client.ts'
import { homeOf } from './home.ts'
import { programName } from './output.ts'

/** What a verb gets besides its own arguments and options. */
export interface Context {
  /** Absolute. */
  readonly home: string
  /** Print JSON for programs. */
  readonly json: boolean
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
  readonly client: Client
}

type Arguments = readonly (string | undefined)[]

/** A command of the program, as data. */
export interface Verb {
  /** Name and arguments, as commander reads them. */
  readonly usage: string
  readonly summary: string
  /** Without the program's name; a pipeline says `pryx-mesh` in its place. */
  readonly examples: readonly string[]
  /** Adds its own options. */
  readonly options?: (command: Command) => Command
  /** Goes on when nobody reads its output any more. */
  readonly outlivesReader?: boolean
  run(context: Context, options: Record<string, unknown>, args: Arguments): Promise<void>
}

/** Commands under one name, as data. */
export interface Group {
  readonly name: string
  readonly summary: string
  readonly example: string
  readonly verbs: readonly Verb[]
}

/** Adds a group of verbs to the program. */
export function addGroup(program: Command, { name, summary, example, verbs }: Group, signal: AbortSignal): void {
  const group = addCommonOptions(program.command(name).description(summary))
    .enablePositionalOptions()
    .addHelpText('after', `\nExample:\n  ${commandLine(example)}`)
  for (const verb of verbs) addVerb(group, verb, signal)
}

/** Adds a verb to the program, or to a group of it. */
export function addVerb(parent: Command, verb: Verb, signal: AbortSignal): void {
  // Of a group that has a list, its bare name asks for that
  const isDefault = verb.usage.split(' ')[0] === 'list'
  const command = addCommonOptions(parent.command(verb.usage, { isDefault }).description(verb.summary))
  verb.options?.(command)
  const examples = verb.examples.map((example) => `  ${commandLine(example)}`)
  command.addHelpText('after', ['', examples.length > 1 ? 'Examples:' : 'Example:', ...examples].join('\n'))
  command.action(async () => {
    if (verb.outlivesReader === true) process.stdout.off('error', quit).on('error', () => {})
    const { home, json, ...options } = mergedOptions(command)
    const absolute = homeOf(home as string | undefined)
    const client = createClient({ home: absolute, signal })
    await verb.run({ home: absolute, json: json === true, signal, client }, options, command.processedArgs)
  })
}

/** What every command and the program itself take. */
export function addCommonOptions(command: Command): Command {
  return command
    .option('--home <dir>', 'where the node keeps its key and data (default: PRYX_MESH_HOME, else ~/.pryx-mesh)')
    .option('--json', 'print JSON')
}

/** An example as it can be typed; one that is a pipeline names the program itself. */
function commandLine(example: string): string {
  const own = /\bpryx-mesh(?= )/
  return own.test(example) ? example.replace(own, programName()) : `${programName()} ${example}`
}

/** For errors of stdout: `… | head` closes the pipe, nothing failed, and nobody reads on. */
export function quit(err: NodeJS.ErrnoException): never {
  process.exit(err.code === 'EPIPE' ? 0 : 1)
}

function mergedOptions(command: Command): Record<string, unknown> {
  return { ...(command.parent === null ? {} : mergedOptions(command.parent)), ...command.opts() }
}

/** Collects an option that may be repeated. */
export function repeated(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

/** A duration such as `500ms`, `5s`, `2m`, in milliseconds. */
export function duration(text: string): number {
  const value = /\d/.test(text) && text.length <= 100 ? ms(text as StringValue) : undefined
  if (value === undefined || !(value >= 1 && value <= 86_400_000)) {
    throw new InvalidArgumentError('Say how long, from 1ms to 24h, such as 5s or 2m.')
  }
  return Math.ceil(value)
}

/** A duration such as `30s`, `24h`, `90d`, for what lasts long, in milliseconds. */
export function longDuration(text: string): number {
  const value = /\d/.test(text) && text.length <= 100 ? ms(text as StringValue) : undefined
  if (value === undefined || !(value >= 1_000 && value <= MAX_LONG_MS)) {
    throw new InvalidArgumentError('Say how long, from 1s to 10y, such as 30m, 24h or 90d.')
  }
  return Math.ceil(value)
}

const MAX_LONG_MS = ms('10y')

/** A whole number from 1. */
export function count(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Give a whole number from 1.')
  return value
}

/** An option with the kinds of capabilities as its values. */
export function kindOption(): Option {
  return new Option('--kind <kind>', 'kind of capability').choices([
    'tool',
    'skill',
    'model'
  ] satisfies readonly CapabilityKind[])
}

/** Adds the options that narrow what is looked for. */
export function addQueryOptions(command: Command): Command {
  return command
    .addOption(kindOption())
    .option('--name <glob>', 'name of the capability; * stands for any characters')
    .option('--version <range>', 'semver range of its version, such as ^1.2')
    .option('--tag <tag>', 'tag of the agent or the capability; repeat for more', repeated)
    .option('--text <words>', 'words of names, descriptions and tags')
}

/** A query string; undefined values are left out, lists repeat. */
export function queryString(fields: Record<string, unknown>): string {
  const params = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) {
    // Options are texts, numbers, or lists of texts
    for (const one of value === undefined ? [] : ([value].flat() as (string | number)[]))
      params.append(name, String(one))
  }
  return params.size === 0 ? '' : `?${params.toString()}`
}

/** Runs what goes on until its signal, which is its good end. */
export async function untilAborted(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (err) {
    if (!signal.aborted || !(err instanceof MeshError) || err.code !== abortError(signal).code) throw err
  }
}
