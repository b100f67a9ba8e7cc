import { MeshError } from '../../errors.ts'
import type { Grant } from '../../grants/index.ts'
import { printGrant } from '../grant.ts'
import { readSecret } from '../secret.ts'
import type { Verb } from '../verb.ts'

export const keepGrant: Verb = {
  usage: 'keep [file]',
  summary: 'take a grant that another node gave to this one, from a file or stdin',
  examples: ['grants keep carol.json', 'ssh carol pryx-mesh grants delegate 5f0c61ab me | pryx-mesh grants keep -'],
  async run({ client, json }, _options, [file]) {
    const chain = chainIn(await readSecret(file, 'grant as JSON'))
    printGrant(await client.ask<Grant>('POST', '/v1/held-grants', { chain }), json)
  }
}

/** A list of links, or a whole grant as `--json` prints it. */
function chainIn(text: string): unknown {
  try {
    const given: unknown = JSON.parse(text)
    return typeof given === 'object' && given !== null && 'chain' in given ? given.chain : given
  } catch (err) {
    throw new MeshError(
      'INVALID_ARGUMENT',
      'that is no grant: give the JSON that grants issue or delegate has printed',
      {
        cause: err
      }
    )
  }
}
