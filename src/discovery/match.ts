import { compileQuery, matchRecord } from '../registry/index.ts'
import type { AgentRecord, Query } from '../registry/messages.ts'
import { type Match, nameOf } from './cache.ts'
import { hinted } from './hints.ts'
import type { Hint } from './messages.ts'

/** @throws {MeshError} INVALID_ARGUMENT for a bad range, glob or tag */
export function capabilityMatch(query: Query): Match {
  const compiled = compileQuery(query)
  return (record) => matchRecord(record, compiled)
}

/** Whether a record has a match, or offers nothing just now and nothing in particular is asked for. */
export function recordMatches(query: Query): (record: AgentRecord) => boolean {
  const match = capabilityMatch(query)
  const { id, agent, ...ofCapabilities } = query
  const asksForAny = Object.values(ofCapabilities).every((value) => value === undefined)
  return (record) => {
    if (record.capabilities.length > 0 || !asksForAny) return match(record).length > 0
    return (id ?? record.id) === record.id && (agent ?? record.name) === record.name
  }
}

/** Whether a hint's record may match: what a hint doesn't tell, such as tags, counts as matching. */
export function hintMatches(query: Query): (hint: Hint) => boolean {
  const { id, agent, kind } = query
  const { hasName, hasVersion } = compileQuery(query)
  return (hint) => {
    if ((id ?? hint.id) !== hint.id || (agent ?? nameOf(hint.id)) !== nameOf(hint.id)) return false
    if (hint.more === true) return true
    for (const offered of hinted(hint)) {
      if ((kind ?? offered.kind) === offered.kind && hasName(offered.name) && hasVersion(offered.version)) return true
    }
    return false
  }
}
