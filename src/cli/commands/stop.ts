import { MeshError } from '../../errors.ts'
import { note, print, progress, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const stop: Verb = {
  usage: 'stop',
  summary: 'stop the node, and wait until it is down',
  examples: ['stop'],
  async run({ client, home, json }) {
    const done = progress(() => 'stopping')
    try {
      await client.ask('POST', '/v1/stop')
    } catch (err) {
      // The process may end before its answer is read
      if (!(err instanceof MeshError) || err.code !== 'CONNECTION_LOST') throw err
    } finally {
      done()
    }
    if (json) print(toJson({ stopped: true, home }))
    else note(`the node in ${home} is stopped`)
  }
}
