import type { LocalAgent } from '../../index.ts'
import type { AgentRecord } from '../../registry/messages.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { addQueryOptions, queryString, type Verb } from '../verb.ts'

export const listAgents: Verb = {
  usage: 'list',
  summary: 'list the agents of this node, and why one is down',
  examples: ['agents list', 'agents list --kind tool --tag files --json'],
  options: addQueryOptions,
  async run({ client, json }, query) {
    const agents = await client.ask<readonly LocalAgent[]>('GET', `/v1/agents${queryString(query)}`)
    if (json) {
      print(toJson(agents.map(summary)))
      return
    }
    if (agents.length === 0) {
      note(`no agents: add one with ${programName()} agents add NAME --mcp-stdio 'COMMAND ARGS'`)
      return
    }
    printTable(
      ['NAME', 'STATE', 'DRIVER', 'AUDIENCE', 'CAPABILITIES', 'TAGS', 'WHY'],
      agents.map(({ definition, state, reason = '', record }) => [
        definition.name,
        state,
        definition.driver,
        definition.audience,
        record === undefined ? '-' : String(record.record.capabilities.length),
        definition.tags.join(','),
        reason
      ])
    )
  }
}

/** What programs get of a local agent: flat, its record as `agents show` prints it. */
interface AgentSummary {
  readonly id: string
  readonly name: string
  readonly state: LocalAgent['state']
  readonly reason?: string
  readonly driver: string
  readonly audience: AgentRecord['audience']
  readonly tags: readonly string[]
  readonly record?: AgentRecord
}

function summary({ id, state, reason, definition, record }: LocalAgent): AgentSummary {
  const { name, driver, audience, tags } = definition
  return {
    id,
    name,
    state,
    ...(reason === undefined ? {} : { reason }),
    driver,
    audience,
    tags,
    ...(record === undefined ? {} : { record: record.record })
  }
}
