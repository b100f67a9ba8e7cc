import type { HealthReport, HealthState } from '../../health/index.ts'
import type { LocalAgent } from '../../index.ts'
import type { AgentRecord } from '../../registry/messages.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { addQueryOptions, queryString, type Verb } from '../verb.ts'

export const listAgents: Verb = {
  usage: 'list',
  summary: 'list the agents of this node, how they are, and why one is not well',
  examples: ['agents list', 'agents list --kind tool --tag files --json'],
  options: addQueryOptions,
  async run({ client, json }, query) {
    const agents = await client.ask<readonly LocalAgent[]>('GET', `/v1/agents${queryString(query)}`)
    const reports = await client.ask<readonly HealthReport[]>('GET', '/v1/health')
    const healthOf = new Map(reports.map((report) => [report.id, report]))
    if (json) {
      print(toJson(agents.map((agent) => summary(agent, healthOf.get(agent.id)))))
      return
    }
    if (agents.length === 0) {
      note(`no agents: add one with ${programName()} agents add NAME --mcp-stdio 'COMMAND ARGS'`)
      return
    }
    printTable(
      ['NAME', 'STATE', 'HEALTH', 'DRIVER', 'AUDIENCE', 'CAPABILITIES', 'TAGS', 'WHY'],
      agents.map(({ id, definition, state, reason, record }) => [
        definition.name,
        state,
        healthOf.get(id)?.state ?? 'unknown',
        definition.driver,
        definition.audience,
        record === undefined ? '-' : String(record.record.capabilities.length),
        definition.tags.join(','),
        reason ?? healthOf.get(id)?.reason ?? ''
      ])
    )
  }
}

/** What programs get of a local agent: flat, its record as `agents show` prints it. */
interface AgentSummary {
  readonly id: string
  readonly name: string
  readonly state: LocalAgent['state']
  /** As calls and probes find it. */
  readonly health: HealthState
  /** Why it is down, or not well. */
  readonly reason?: string
  readonly driver: string
  readonly audience: AgentRecord['audience']
  readonly tags: readonly string[]
  readonly record?: AgentRecord
}

function summary(agent: LocalAgent, health: HealthReport | undefined): AgentSummary {
  const { id, state, definition, record } = agent
  const reason = agent.reason ?? health?.reason
  const { name, driver, audience, tags } = definition
  return {
    id,
    name,
    state,
    health: health?.state ?? 'unknown',
    ...(reason === undefined ? {} : { reason }),
    driver,
    audience,
    tags,
    ...(record === undefined ? {} : { record: record.record })
  }
}
