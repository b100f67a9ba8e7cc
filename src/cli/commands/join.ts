import { MeshError } from '../../errors.ts'
import type { Pair } from '../../pairing/index.ts'
import { note, print, printFields, json as toJson } from '../output.ts'
import { readSecret } from '../secret.ts'
import type { Verb } from '../verb.ts'

export const join: Verb = {
  usage: 'join [file]',
  summary: 'pair with the node that made an invite; asks for the invite, or reads it from a file or stdin (-)',
  examples: ['join', 'join laptop.invite', 'pass invite | pryx-mesh join -'],
  async run({ client, json }, _options, [file]) {
    if (file?.startsWith('mesh_i_') === true) {
      throw new MeshError('INVALID_ARGUMENT', 'an invite is a secret, and arguments are seen by every user here', {
        hint: 'run pryx-mesh join and paste it when asked; if others use this machine, ask for a new invite'
      })
    }
    const token = await readSecret(file, 'invite')
    const pair = await client.ask<Pair>('POST', '/v1/pairs', { token })
    if (json) {
      print(toJson(pair))
      return
    }
    const { peer, name, alias, level, fingerprint } = pair
    printFields([
      ['peer', peer],
      ['name', name],
      ['alias', alias],
      ['level', level],
      ['fingerprint', fingerprint]
    ])
    note('paired, if the other node has shown the same fingerprint')
  }
}
