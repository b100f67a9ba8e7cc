import semver from 'semver'
import { MeshError } from '../errors.ts'
import type { Capability } from '../registry/messages.ts'
import type { CallRequest } from './messages.ts'

/** The capability that a request means, or why there is none. */
export function pickCapability(
  capabilities: readonly Capability[],
  request: Pick<CallRequest, 'agent' | 'capability' | 'kind' | 'version'>
): Capability | MeshError {
  const { agent, capability: name, kind, version } = request
  const [first, second] = capabilities.filter(
    (each) => each.name === name && (kind === undefined || each.kind === kind)
  )
  if (first === undefined) {
    return noCapability(agent, name, kind)
  }
  if (second !== undefined) {
    return new MeshError('AMBIGUOUS', `agent ${agent} has ${name} in several kinds`, {
      hint: 'say which: tool, skill or model'
    })
  }
  if (version === undefined) return first
  if (semver.validRange(version) === null) {
    return new MeshError('INVALID_ARGUMENT', 'the version is not a semver range', { hint: 'such as ^1.2.0, or >=1 <3' })
  }
  if (semver.satisfies(first.version, version, { includePrerelease: true })) return first
  return new MeshError(
    'UNSUPPORTED_VERSION',
    `agent ${agent} has ${name} ${first.version}, which is not in the range`,
    {
      hint: 'ask for another range, or find another agent: pryx-mesh find --name NAME --version RANGE'
    }
  )
}

export function noCapability(agent: string, name: string, kind = 'capability'): MeshError {
  return new MeshError('NOT_FOUND', `agent ${agent} has no ${kind} ${name}`, {
    hint: 'see what it offers with: pryx-mesh agents show AGENT'
  })
}
