import type { PermissionRequest } from '../../index.ts'
import { note, print, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'
import { approvalRoute, printApproval } from './approvals-show.ts'

export const denyApproval: Verb = {
  usage: 'deny <id>',
  summary: 'deny what was asked; with --forever by a rule, so that it is not asked again',
  examples: ['approvals deny Zk3v --reason "not on weekends"', 'approvals deny Zk3v --forever'],
  options: (command) =>
    command
      .option('--forever', 'write a rule that denies this to this peer')
      .option('--reason <text>', 'why, for the peer to read'),
  async run({ client, json }, { forever, reason }, [id = '']) {
    const body = { ...(forever === true && { forever }), ...(reason === undefined ? {} : { reason }) }
    const request = await client.ask<PermissionRequest>('POST', `${approvalRoute(id)}/deny`, body)
    if (json) {
      print(toJson(request))
      return
    }
    printApproval(request)
    note(forever === true ? `denied for ever: the rule is in ${programName()} policy show` : 'denied')
  }
}
