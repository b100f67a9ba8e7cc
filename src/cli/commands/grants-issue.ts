import type { Grant } from '../../grants/index.ts'
import { addLimitOptions, printChain } from '../grant.ts'
import type { Verb } from '../verb.ts'

export const issueGrant: Verb = {
  usage: 'issue <peer> <act> <res>',
  summary: 'let a peer do something with an agent of this node where policy asks, without asking; prints it as JSON',
  examples: [
    "grants issue carol tool.call 'tool:files/*' --for 30d --calls 100",
    "grants issue 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy '*' 'tool:files/read' --depth 1"
  ],
  options: addLimitOptions,
  async run({ client, json }, { for: forMs, calls: uses, depth }, [holder, act, res]) {
    printChain(await client.ask<Grant>('POST', '/v1/grants', { holder, act, res, forMs, uses, depth }), json)
  }
}
