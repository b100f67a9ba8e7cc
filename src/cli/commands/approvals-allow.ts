import { MeshError } from '../../errors.ts'
import type { Answer, PermissionRequest } from '../../index.ts'
import { note, print, json as toJson } from '../output.ts'
import { count, longDuration, type Verb } from '../verb.ts'
import { approvalRoute, printApproval } from './approvals-show.ts'

export const allowApproval: Verb = {
  usage: 'allow <id>',
  summary: 'allow what was asked: this very input once by default, or as long as was asked for ahead',
  examples: ['approvals allow Zk3v', 'approvals allow Zk3v --for 1h --uses 100', 'approvals allow Zk3v --always'],
  options: (command) =>
    command
      .option('--once', 'this very input, one time, within a day')
      .option('--session', 'any input, as long as the connection lasts')
      .option('--for <duration>', 'any input, for this long', longDuration)
      .option('--always', 'any input, until the grant is revoked or the tool changes')
      .option('--uses <count>', 'so many calls at most', count),
  async run({ client, json }, options, [id = '']) {
    const route = approvalRoute(id)
    const given = answerOf(options)
    const { wanted, id: full } = await client.ask<PermissionRequest>('GET', route)
    const answer = given ?? defaultAnswer(wanted, options.uses as number | undefined)
    const request = await client.ask<PermissionRequest>('POST', `${approvalRoute(full)}/allow`, answer)
    if (json) {
      print(toJson(request))
      return
    }
    printApproval(request)
    note(`allowed: ${sentenceOf(answer)}`)
  }
}

/** @throws {MeshError} INVALID_ARGUMENT for two answers at once */
function answerOf(options: Record<string, unknown>): Answer | undefined {
  const { once, session, for: forMs, always } = options
  const uses = options.uses === undefined ? {} : { uses: options.uses as number } // parsed by its option
  const answers: Answer[] = [
    ...(once === true ? [{ remember: 'once', ...uses } as const] : []),
    ...(session === true ? [{ remember: 'session', ...uses } as const] : []),
    ...(typeof forMs === 'number' ? [{ remember: 'duration', forMs, ...uses } as const] : []),
    ...(always === true ? [{ remember: 'always', ...uses } as const] : [])
  ]
  if (answers.length <= 1) return answers[0]
  throw new MeshError('INVALID_ARGUMENT', 'give one of --once, --session, --for and --always')
}

/** What was asked for ahead; else as little as helps. */
function defaultAnswer(wanted: PermissionRequest['wanted'], given: number | undefined): Answer {
  const uses = given ?? wanted?.uses
  const limit = uses === undefined ? {} : { uses }
  if (wanted?.forMs !== undefined) return { remember: 'duration', forMs: wanted.forMs, ...limit }
  return { remember: 'once', ...(given === undefined ? {} : { uses: given }) }
}

function sentenceOf(answer: Answer): string {
  const times = answer.uses === undefined ? '' : `, ${answer.uses} calls at most`
  switch (answer.remember) {
    case 'once':
      return 'once'
    case 'session':
      return `as long as the connection lasts${times}`
    case 'duration':
      return `for ${answer.forMs / 1000} s${times}`
    case 'always':
      return `until it is revoked or the tool changes${times}`
  }
}
