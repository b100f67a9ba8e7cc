import { Command, CommanderError } from 'commander'
import { MeshError } from '../errors.ts'
import { VERSION } from '../version.ts'
import { agents } from './commands/agents.ts'
import { approvals } from './commands/approvals.ts'
import { audit } from './commands/audit.ts'
import { block } from './commands/block.ts'
import { call } from './commands/call.ts'
import { check } from './commands/check.ts'
import { connect } from './commands/connect.ts'
import { events } from './commands/events.ts'
import { find } from './commands/find.ts'
import { grants } from './commands/grants.ts'
import { invite } from './commands/invite.ts'
import { join } from './commands/join.ts'
import { keys } from './commands/keys.ts'
import { login } from './commands/login.ts'
import { logins } from './commands/logins.ts'
import { pairs } from './commands/pairs.ts'
import { peers } from './commands/peers.ts'
import { permission } from './commands/permission.ts'
import { pins } from './commands/pins.ts'
import { policy } from './commands/policy.ts'
import { start } from './commands/start.ts'
import { status } from './commands/status.ts'
import { stop } from './commands/stop.ts'
import { swarmKey } from './commands/swarm-key.ts'
import { tokens } from './commands/tokens.ts'
import { trust } from './commands/trust.ts'
import { unpair } from './commands/unpair.ts'
import { EXIT_CODES } from './errors.ts'
import { note, printError, programName } from './output.ts'
import { addCommonOptions, addGroup, addVerb, quit } from './verb.ts'

const VERBS = [
  start,
  status,
  peers,
  stop,
  connect,
  find,
  call,
  check,
  events,
  invite,
  join,
  pairs,
  unpair,
  login,
  block,
  swarmKey
]
const GROUPS = [agents, keys, logins, tokens, trust, policy, approvals, permission, grants, pins, audit]

/** A terminal's Ctrl-C reaches this process twice when npm, which runs it, passes it on too. */
const SAME_INTERRUPT_MS = 250

/**
 * Runs the program.
 *
 * @returns its exit code, see {@link EXIT_CODES}
 */
export async function main(argv: readonly string[]): Promise<number> {
  process.stderr.on('error', () => {})
  // Help and version are printed before any verb runs
  process.stdout.on('error', quit)
  const program = createProgram(interruption())
  try {
    await program.parseAsync(argv, { from: 'user' })
    return 0
  } catch (err) {
    if (err instanceof CommanderError) return usageExit(err, program, argv)
    const error = describe(err)
    printError(error, verbOf(program, argv))
    return EXIT_CODES[error.code]
  }
}

function createProgram(signal: AbortSignal): Command {
  const program = addCommonOptions(new Command('pryx-mesh'))
    .description('A node of the mesh: it carries your agents, finds those of others, and lets calls pass as you say.')
    .version(VERSION, '-V, --version', 'print the version')
    // Else --version of `find` would be the program's own
    .enablePositionalOptions()
    .exitOverride()
    // Errors are printed by main, in one form for all
    .configureOutput({ outputError: () => {} })
    .addHelpText(
      'after',
      `\nExample:\n  ${programName()} start\n\nEvery command explains itself: ${programName()} find --help`
    )
  for (const verb of VERBS) addVerb(program, verb, signal)
  for (const group of GROUPS) addGroup(program, group, signal)
  return program
}

/** Aborted by the first SIGINT or SIGTERM; another one ends the process at once. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  let since = 0
  const interrupt = (_name: string, number: number) => {
    if (controller.signal.aborted && Date.now() - since > SAME_INTERRUPT_MS) process.exit(128 + number)
    if (controller.signal.aborted) return
    since = Date.now()
    controller.abort(new MeshError('CANCELLED', 'interrupted'))
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  return controller.signal
}

/** Help and version are no errors; everything else that commander throws is wrong usage. */
function usageExit(err: CommanderError, program: Command, argv: readonly string[]): number {
  if (err.exitCode === 0) return 0
  // Without a command it has printed its help, on stderr
  if (err.code === 'commander.help') return EXIT_CODES.INVALID_ARGUMENT
  const message = err.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ')
  printError(new MeshError('INVALID_ARGUMENT', message), verbOf(program, argv))
  return EXIT_CODES.INVALID_ARGUMENT
}

/** The command that the arguments name, as far as they do. */
function verbOf(program: Command, argv: readonly string[]): string[] {
  const names: string[] = []
  let group = program
  for (const word of argv) {
    const command = group.commands.find((one) => one.name() === word)
    if (command === undefined) continue
    names.push(word)
    group = command
  }
  return names
}

/** This program's own defects show their text and place: its user is the owner. */
function describe(err: unknown): MeshError {
  if (err instanceof MeshError) return err
  if (err instanceof Error && err.stack !== undefined) note(err.stack)
  return new MeshError('INTERNAL', err instanceof Error ? err.message : String(err), {
    hint: 'report what is printed above',
    cause: err
  })
}
