import type { Compatibility, Missing } from '../../calls/index.ts'
import { type ErrorCode, MeshError } from '../../errors.ts'
import { plain, print, printTable, json as toJson } from '../output.ts'
import { duration, kindOption, type Verb } from '../verb.ts'

export const check: Verb = {
  usage: 'check <agent> <capability>',
  summary: 'tell all that is missing before a capability can be called; its owner is not asked for permission',
  examples: ['check @files read_file', 'check @maths@bob math.add --version ^1.2 --json'],
  options: (command) =>
    command
      .addOption(kindOption())
      .option('--version <range>', 'semver range that its version must be in, such as ^1.2')
      .option('--timeout <duration>', 'how long to wait for its node (default: 30s)', duration),
  async run({ client, json }, { timeout: timeoutMs, ...options }, [target, capability]) {
    const found = await client.ask<Compatibility>('POST', '/v1/check', { target, capability, timeoutMs, ...options })
    if (json) print(toJson(found))
    else printMissing(found)
    const [first, ...rest] = found.missing
    if (first === undefined) return
    const others = rest.length === 0 ? '' : ` (and ${rest.length} more)`
    throw new MeshError(
      CODES[first.what],
      `${found.capability} of ${found.agent}: ${first.text}${others}`,
      first.hint === undefined ? {} : { hint: first.hint }
    )
  }
}

/** What a call would fail with, as far as that is known; for the exit code. */
const CODES: Readonly<Record<Missing['what'], ErrorCode>> = {
  protocol: 'UNSUPPORTED_VERSION',
  capability: 'NOT_FOUND',
  version: 'UNSUPPORTED_VERSION',
  pin: 'DEFINITION_CHANGED',
  schema: 'UNSUPPORTED_VERSION',
  credential: 'FORBIDDEN',
  scope: 'FORBIDDEN',
  permission: 'FORBIDDEN'
}

function printMissing({ agent, capability, missing }: Compatibility): void {
  if (missing.length === 0) {
    print(plain(`${capability} of ${agent} can be called`))
    return
  }
  printTable(
    ['MISSING', 'WHY', 'WHAT TO DO'],
    missing.map(({ what, text, hint = '' }) => [what, text, hint])
  )
}
