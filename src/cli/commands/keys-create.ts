import type { ApiKeyInfo } from '../../keys/index.ts'
import { note, print, programName, json as toJson } from '../output.ts'
import { longDuration, repeated, type Verb } from '../verb.ts'

/** A key as text, shown once, and what may be told of it. */
export interface ShownKey {
  readonly key: string
  readonly info: ApiKeyInfo
}

export const createKey: Verb = {
  usage: 'create <name>',
  summary: 'make an API key for callers of this node, and print it this once',
  examples: [
    'keys create ci --scope build --for 30d',
    'keys create laptop --pin 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy',
    'pryx-mesh keys create ci > ci.key'
  ],
  options: (command) =>
    command
      .option('--scope <scope>', 'what rules may ask for as scope:SCOPE; repeat for more', repeated)
      .option('--for <duration>', 'how long it is good (default: 90d)', longDuration)
      .option(
        '--pin <off|peer>',
        'whom it is good for: off for anybody, or a PeerId (default: the first to present it)'
      ),
  async run({ client, json }, { scope: scopes, for: forMs, pin }, [name]) {
    const made = await client.ask<ShownKey>('POST', '/v1/keys', { name, scopes, forMs, pin })
    printKey(made, json)
  }
}

/** The key alone on stdout, so that it can go into a file or a pipe. */
export function printKey(made: ShownKey, json: boolean): void {
  if (json) {
    print(toJson(made))
    return
  }
  const { id, name, expiresAt, pin, peer, overlapUntil } = made.info
  print(made.key)
  const whom = { off: 'whoever has it', first: peer ?? 'the first peer that presents it', given: peer ?? '' }[pin]
  note(`key ${id} (${name}): good for ${whom}, until ${expiresAt}`)
  if (overlapUntil !== undefined) note(`the secret before it is accepted until ${overlapUntil}`)
  note(`it is not shown again; there: ${programName()} keys use PEER FILE`)
}
