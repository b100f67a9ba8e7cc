import type { PermissionRequest } from '../../index.ts'
import { note, print, printFields, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const showApproval: Verb = {
  usage: 'show <id>',
  summary: 'show all of a request: who asks, the exact input, what changed; the beginning of an id will do',
  examples: ['approvals show Zk3v', 'approvals show Zk3v --json'],
  async run({ client, json }, _options, [id = '']) {
    const request = await client.ask<PermissionRequest>('GET', approvalRoute(id))
    if (json) {
      print(toJson(request))
      return
    }
    printApproval(request)
    if (request.state !== 'pending') return
    const ask = `${programName()} approvals`
    note(
      `answer it: ${ask} allow ${request.id} [--once|--session|--for 1h|--always], ${ask} deny ${request.id} [--forever]`
    )
  }
}

export function approvalRoute(id: string): string {
  return `/v1/approvals/${encodeURIComponent(id)}`
}

export function printApproval(request: PermissionRequest): void {
  const { input, wanted, changed } = request
  printFields([
    ['id', request.id],
    ['state', request.answeredBy === undefined ? request.state : `${request.state} by ${request.answeredBy}`],
    ['peer', request.peer],
    ['alias', request.alias],
    ['trust', request.trust],
    ['fingerprint', request.fingerprint],
    ['action', request.action],
    ['resource', request.resource],
    ['tool digest', request.digest],
    ['changed', changed === undefined ? undefined : ['since it was last allowed to this peer:', ...changed]],
    ['input', input && inputLines(input)],
    ['input digest', input?.digest],
    ['wanted', wanted && wantedText(wanted)],
    ['their reason', wanted?.reason],
    ['rules', request.rules.join(', ') || 'none allows it'],
    ['may be', request.remember.join(', ')],
    ['asked', `${request.askedAt}${request.times > 1 ? `, ${request.times} times` : ''}`],
    ['deadline', request.deadline],
    ['answered', request.answeredAt],
    ['reason', request.reason],
    ['grant', request.grant]
  ])
}

function inputLines({ json, bytes, isCut }: NonNullable<PermissionRequest['input']>): string[] {
  if (isCut) return [visible(json), `… only the beginning of ${bytes} bytes is shown`]
  return JSON.stringify(JSON.parse(json), undefined, 2).split('\n').map(visible)
}

/** What an eye wouldn't see in a JSON text, as JSON writes it. */
function visible(json: string): string {
  const hex = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  return json.replace(UNSEEN, (char) => char.split('').map(hex).join(''))
}

/** Controls, formats, odd spaces, fillers, tags, unassigned characters. */
const UNSEEN = /[[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]--[ ]]/gv

function wantedText({ forMs, uses }: NonNullable<PermissionRequest['wanted']>): string {
  const time = forMs === undefined ? 'for any time' : `for ${forMs / 1000} s`
  return `${time}, ${uses === undefined ? 'any number of calls' : `${uses} calls`}`
}
