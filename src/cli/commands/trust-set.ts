import { MeshError } from '../../errors.ts'
import type { TrustReport } from '../../trust/index.ts'
import { printStanding, trustRoute } from '../trust.ts'
import type { Verb } from '../verb.ts'

export const setTrust: Verb = {
  usage: 'set <peer> [level]',
  summary: 'say how far a peer is trusted (blocked, unknown, known, trusted, owner), or give it a name',
  examples: [
    'trust set 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy trusted --alias carol',
    'trust set carol unknown --reason "left the team"',
    'trust set carol --alias carol-old'
  ],
  options: (command) =>
    command
      .option('--alias <name>', 'what you call the peer; an empty one takes the name away')
      .option('--reason <text>', 'kept for trust why'),
  async run({ client, json }, { alias, reason }, [peer = '', level]) {
    if (level === undefined && alias === undefined) {
      throw new MeshError('INVALID_ARGUMENT', 'say a level, --alias or both')
    }
    const report = await client.ask<TrustReport>('PUT', trustRoute(peer), { level, alias, reason })
    printStanding(report, json)
  }
}
