import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { parseArgsStringToArgv } from 'string-argv'
import { MeshError } from '../errors.ts'
import type { AgentInit, AgentPatch, LocalAgent } from '../index.ts'
import type { AUDIENCES, SignedRecord } from '../registry/messages.ts'
import { headline, print, printFields, printTable, json as toJson } from './output.ts'
import { repeated } from './verb.ts'

/** Adds the options that describe an agent. */
export function addAgentOptions(command: Command): Command {
  return command
    .option('--mcp-stdio <command>', 'an MCP server that this node runs, from the folder of this command')
    .option('--mcp <url>', 'an MCP server at a URL')
    .option('--module <file>', 'a JavaScript or TypeScript file that exports the agent')
    .option('--driver <kind>', 'any other kind, such as http or websocket; needs --config')
    .option('--config <file|json>', 'its configuration, in JSON; secrets stand in files that it names')
    .option('--description <text>', 'what it is for')
    .option('--tag <tag>', 'tag to be found by; repeat for more', repeated)
    .addOption(
      new Option('--audience <who>', 'who may see it').choices([
        'public',
        'paired'
      ] satisfies readonly (typeof AUDIENCES)[number][])
    )
    .option(
      '--available <hours>',
      "when it is there, as 'mon-fri 08:00-18:00 Europe/Berlin', or always; repeat for more",
      repeated
    )
    .option('--allow <who>', 'who may call it besides you: any, or a PeerId; repeat for more', repeated)
}

/** The options of {@link addAgentOptions}, as commander gives them. */
export interface AgentFlags {
  mcpStdio?: string
  mcp?: string
  module?: string
  driver?: string
  config?: string
  description?: string
  tag?: readonly string[]
  audience?: (typeof AUDIENCES)[number]
  available?: readonly string[]
  allow?: readonly string[]
}

/**
 * What the options say, and nothing else.
 *
 * @throws {MeshError} INVALID_ARGUMENT when they name more than one source
 */
export function patchOf(flags: AgentFlags): AgentPatch {
  const { description, tag, audience, available, allow } = flags
  return {
    ...sourceOf(flags),
    ...(description === undefined ? {} : { description }),
    ...(tag === undefined ? {} : { tags: tag }),
    ...(audience === undefined ? {} : { audience }),
    ...(available === undefined ? {} : { availability: available.flatMap(hoursOf) }),
    ...(allow === undefined ? {} : { allow: allow.includes('any') ? 'any' : allow.filter((who) => who !== 'none') })
  }
}

/** What the hours are is for the node to judge; here they are taken apart. */
function hoursOf(text: string): NonNullable<AgentPatch['availability']> {
  if (text === 'always') return []
  const [, days, from, to, zone] = HOURS.exec(text.trim()) ?? []
  if (days === undefined && from === undefined)
    throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(text.slice(0, 80))} are no hours`, {
      hint: "write them as 'mon-fri 08:00-18:00 Europe/Berlin', 'sat,sun' or '22:00-06:00'"
    })
  return [
    {
      ...(days === undefined ? {} : { days }),
      ...(from === undefined ? {} : { from }),
      ...(to === undefined || to === '24:00' ? {} : { to }),
      ...(zone === undefined ? {} : { zone })
    }
  ]
}

/** As `--available` takes it. */
export function hoursText({ days = 'mon-sun', from = '00:00', to = '24:00', zone = 'UTC' }: Hours): string {
  return `${days} ${from}-${to} ${zone}`
}

type Hours = NonNullable<AgentPatch['availability']>[number]

const HOURS = /^(?:([a-z]{3}[a-z,-]*))?(?:(?:^|\s+)(\d\d:\d\d)-(\d\d:\d\d))?(?:\s+([A-Z]\S*))?$/

function sourceOf({ mcpStdio, mcp, module, driver, config }: AgentFlags): Pick<AgentInit, 'driver' | 'config'> {
  if ((driver === undefined) !== (config === undefined))
    throw new MeshError('INVALID_ARGUMENT', '--driver and --config go together')
  const sources = [
    ...(mcpStdio === undefined ? [] : [{ driver: 'mcp-stdio', config: commandOf(mcpStdio) }]),
    ...(mcp === undefined ? [] : [{ driver: 'mcp-http', config: { url: mcp } }]),
    ...(module === undefined ? [] : [{ driver: 'module', config: { file: resolve(module) } }]),
    ...(driver === undefined || config === undefined ? [] : [{ driver, config: configOf(config) }])
  ]
  if (sources.length > 1)
    throw new MeshError('INVALID_ARGUMENT', 'give one of --mcp-stdio, --mcp, --module and --driver, not more')
  return sources[0] ?? {}
}

/** Split as a shell would, but run without one: nothing in it is expanded. */
function commandOf(line: string): { command: string; args: readonly string[]; cwd: string } {
  const [command, ...args] = parseArgsStringToArgv(line)
  if (command === undefined || command === '') throw new MeshError('INVALID_ARGUMENT', '--mcp-stdio needs a command')
  return { command, args, cwd: process.cwd() }
}

/** JSON, or a file of it. */
function configOf(given: string): unknown {
  const isJson = given.trimStart().startsWith('{')
  try {
    return JSON.parse(isJson ? given : readFileSync(given, 'utf8'))
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err)
    throw new MeshError('INVALID_ARGUMENT', `--config can't be read: ${why}`, { cause: err })
  }
}

/** Prints an agent's record; for people, with what only its owner knows. */
export function printAgent({ signed, local }: { signed?: SignedRecord; local?: LocalAgent }, json: boolean): void {
  if (json && signed !== undefined) {
    print(toJson(signed.record))
    return
  }
  if (signed === undefined) {
    throw new MeshError(
      'AGENT_UNAVAILABLE',
      `${local?.id ?? 'the agent'} has no record: ${local?.reason ?? 'it has never been up'}`
    )
  }
  const { record } = signed
  printFields([
    ['id', record.id],
    ['description', record.description],
    ['version', record.version],
    ['state', local === undefined ? undefined : [local.state, ...(local.reason === undefined ? [] : [local.reason])]],
    ['driver', record.driver],
    ['audience', record.audience],
    ['hours', record.availability?.map(hoursText)],
    ['tags', record.tags.length === 0 ? undefined : record.tags.join(', ')],
    ['record', `number ${record.seq}, until ${record.expiresAt}`]
  ])
  if (record.capabilities.length === 0) return
  print('')
  printTable(
    ['KIND', 'CAPABILITY', 'VERSION', 'STREAMS', 'DESCRIPTION'],
    record.capabilities.map(({ kind, name, version, streaming, description }) => [
      kind,
      name,
      version,
      streaming ? 'yes' : 'no',
      headline(description)
    ])
  )
}
