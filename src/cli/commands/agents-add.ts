import { MeshError } from '../../errors.ts'
import type { LocalAgent } from '../../index.ts'
import { addAgentOptions, patchOf, printAgent } from '../agent.ts'
import { progress } from '../output.ts'
import type { Verb } from '../verb.ts'

export const addAgent: Verb = {
  usage: 'add <name>',
  summary: 'add an agent to this node: run it, sign its record, and make it known',
  examples: [
    "agents add files --mcp-stdio 'npx -y @modelcontextprotocol/server-filesystem .' --tag files --allow any",
    'agents add weather --mcp https://example.org/mcp --audience paired',
    'agents add maths --module ./maths.ts',
    'agents add shop --driver http --config ./shop.json --allow any'
  ],
  options: addAgentOptions,
  async run({ client, json }, options, [name]) {
    const init = patchOf(options)
    if (init.driver === undefined) {
      throw new MeshError('INVALID_ARGUMENT', 'say what the agent is, with --mcp-stdio, --mcp, --module or --driver')
    }
    const done = progress(() => `starting ${name}`)
    const local = await client
      .ask<LocalAgent>('POST', '/v1/agents', { name, ...init })
      .catch(notKept)
      .finally(done)
    printAgent({ ...(local.record === undefined ? {} : { signed: local.record }), local }, json)
  }
}

/** An agent that doesn't come up is not listed either. */
function notKept(err: unknown): never {
  if (!(err instanceof MeshError) || err.code !== 'AGENT_UNAVAILABLE' || err.hint !== undefined) throw err
  throw new MeshError(err.code, err.message, { cause: err, hint: 'nothing was added: put it right, then add it again' })
}
