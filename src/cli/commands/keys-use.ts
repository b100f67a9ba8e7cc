import { MeshError } from '../../errors.ts'
import type { HeldKey } from '../../keys/index.ts'
import { print, json as toJson } from '../output.ts'
import { readSecret } from '../secret.ts'
import type { Verb } from '../verb.ts'

export const useKey: Verb = {
  usage: 'use <peer> [file]',
  summary: 'keep a key of another node, sealed, and present it to that peer',
  examples: [
    'keys use 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy ci.key',
    'pass ci | pryx-mesh keys use 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy -'
  ],
  async run({ client, json }, _options, [peer = '', file]) {
    const key = await readSecret(file, `API key for ${peer}`)
    const held = await client.ask<HeldKey>('PUT', `/v1/held-keys/${encodeURIComponent(peer)}`, { key })
    print(json ? toJson(held) : `key ${held.id} is presented to ${held.peer}`)
  }
}

export const unuseKey: Verb = {
  usage: 'unuse <peer>',
  summary: 'forget the key that is presented to a peer',
  examples: ['keys unuse 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'],
  async run({ client, json }, _options, [peer = '']) {
    const path = `/v1/held-keys/${encodeURIComponent(peer)}`
    const result = await client.ask<{ readonly dropped: boolean }>('DELETE', path)
    if (!result.dropped)
      throw new MeshError('NOT_FOUND', 'no key is kept for that peer', { hint: 'pryx-mesh keys list --held' })
    print(json ? toJson(result) : `the key for ${peer} is forgotten`)
  }
}
