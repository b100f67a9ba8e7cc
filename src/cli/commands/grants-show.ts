import type { Grant } from '../../grants/index.ts'
import { grantRoute, printGrant } from '../grant.ts'
import { print, printTable } from '../output.ts'
import type { Verb } from '../verb.ts'

export const showGrant: Verb = {
  usage: 'show <id>',
  summary: 'show what a grant allows whom, how often it was used, and whom it came through',
  examples: ['grants show 5f0c61ab', 'grants show 5f0c61ab --json'],
  async run({ client, json }, _options, [id = '']) {
    const grant = await client.ask<Grant>('GET', grantRoute(id))
    printGrant(grant, json)
    if (json || grant.chain.length < 2) return
    print('')
    printTable(
      ['LINK', 'GRANT', 'ISSUER', 'HOLDER', 'ACT', 'RES'],
      grant.chain.map((text, n) => linkRow(text, n))
    )
  }
}

/** The node has checked the chain; here it is only shown. */
function linkRow(text: string, n: number): string[] {
  const [, payload = ''] = text.split('.')
  const link: Record<string, unknown> = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
  return [String(n + 1), ...['jti', 'iss', 'aud', 'act', 'res'].map((name) => String(link[name]))]
}
