import { longDuration, type Verb } from '../verb.ts'
import { printKey, type ShownKey } from './keys-create.ts'

export const rotateKey: Verb = {
  usage: 'rotate <id>',
  summary: 'give an API key a new secret, and print it this once',
  examples: ['keys rotate 4ggcmquzyZO', 'keys rotate 4ggcmquzyZO --overlap 7d', 'keys rotate 4ggcmquzyZO --no-overlap'],
  options: (command) =>
    command
      .option('--overlap <duration>', 'how long the old secret is accepted too, up to 30d (default: 24h)', longDuration)
      .option('--no-overlap', 'the old secret ends at once'),
  async run({ client, json }, { overlap }, [id = '']) {
    const path = `/v1/keys/${encodeURIComponent(id)}/rotate`
    printKey(await client.ask<ShownKey>('POST', path, { overlapMs: overlap === false ? 0 : overlap }), json)
  }
}
