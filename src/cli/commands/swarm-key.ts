import { note, print, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const swarmKey: Verb = {
  usage: 'swarm-key',
  summary: 'make a key for a private mesh, and print it: only nodes that have it connect to each other',
  examples: ['(umask 077; pryx-mesh swarm-key > swarm.key)', 'start --swarm-key swarm.key'],
  async run({ json }) {
    // Only this verb and `start` pay for the network
    const { createSwarmKey } = await import('../../index.ts')
    const key = createSwarmKey()
    print(json ? toJson({ swarmKey: key }) : key)
    if (process.stdout.isTTY && !json) {
      note('')
      note(`keep it in a file that only you can read, give every node of the mesh a copy, and start each with it:`)
      note(`  ${programName()} start --swarm-key FILE`)
    }
  }
}
