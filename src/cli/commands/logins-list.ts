import type { Login } from '../../oauth/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const listLogins: Verb = {
  usage: 'list',
  summary: 'list the OAuth logins of this node, and which needs its owner',
  examples: ['logins list', 'logins list --json'],
  async run({ client, json }) {
    const logins = await client.ask<readonly Login[]>('GET', '/v1/logins')
    if (json) {
      print(toJson(logins))
      return
    }
    if (logins.length === 0) {
      note(`no logins: make one with ${programName()} login ISSUER --client-id ID --for PEER`)
      return
    }
    printTable(
      ['ID', 'STATE', 'ISSUER', 'CLIENT', 'FLOW', 'SCOPES', 'TOKEN UNTIL', 'FOR', 'WHY'],
      logins.map(({ id, state, issuer, clientId, flow, scopes, expiresAt = '-', peers, reason = '' }) => [
        id,
        state,
        issuer,
        clientId,
        flow,
        scopes.join(',') || '-',
        expiresAt,
        peers.join(','),
        reason
      ])
    )
    if (logins.some(({ state }) => state === 'reauth_required')) {
      note(`reauth_required: log in again with ${programName()} login, which takes its place`)
    }
  }
}
