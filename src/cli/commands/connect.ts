import { print, progress, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const connect: Verb = {
  usage: 'connect <multiaddr>',
  summary: 'connect to a peer, and stay connected',
  examples: ['connect /ip4/192.0.2.7/tcp/4001'],
  async run({ client, json }, _options, [address]) {
    const done = progress(() => `dialling ${address}`)
    const answer = await client.ask<{ peer: string }>('POST', '/v1/connect', { address }).finally(done)
    print(json ? toJson(answer) : answer.peer)
  }
}
