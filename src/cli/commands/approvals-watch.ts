import type { PermissionRequest } from '../../index.ts'
import { paint, plain, print, json as toJson } from '../output.ts'
import { untilAborted, type Verb } from '../verb.ts'

export const watchApprovals: Verb = {
  usage: 'watch',
  summary: 'print what waits for your answer, then each request as it is asked or answered, until Ctrl-C',
  examples: ['approvals watch', 'approvals watch --json'],
  async run({ client, json, signal }) {
    await untilAborted(signal, async () => {
      for await (const request of client.items<PermissionRequest, unknown>('GET', '/v1/approvals/watch')) {
        print(json ? toJson(request) : line(request))
      }
    })
  }
}

function line(request: PermissionRequest): string {
  const { id, state, peer, alias = peer, resource, askedAt, answeredAt = askedAt, deadline } = request
  const until = state === 'pending' ? `  until ${deadline}` : ''
  return `${answeredAt}  ${paint('bold', state)}  ${id}  ${plain(`${alias}  ${resource}`)}${until}`
}
