import semver from 'semver'
import { ownerCaller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { CheckAnswer } from '../permissions/index.ts'
import type { AgentRecord, Capability } from '../registry/messages.ts'
import type { RequestOptions } from '../rpc/index.ts'
import { compileSchema, type ValidationPool } from '../schema/index.ts'
import { noCapability, pickCapability } from './capability.ts'
import { CALL } from './constants.ts'
import type { AgentAddress, CallsComponents, Invocation } from './index.ts'

/** Whether a capability can be called from here, and if not, all that is missing. */
export interface Compatibility {
  readonly ok: boolean
  /** `<PeerId>/<name>` */
  readonly agent: string
  readonly capability: string
  /** What is missing, in the order in which it would stop a call; empty when nothing is. */
  readonly missing: readonly Missing[]
}

export interface Missing {
  readonly what: 'protocol' | 'capability' | 'version' | 'pin' | 'schema' | 'credential' | 'scope' | 'permission'
  /** One sentence, with what is there and what is needed. */
  readonly text: string
  /** What to do about it. */
  readonly hint?: string
}

/** What is known of the target: its record, unless that is hidden from this node, and what its owner says. */
interface Known {
  readonly agent: string
  readonly invocation: Invocation
  readonly record: AgentRecord | undefined
  readonly answer: CheckAnswer | MeshError
}

/**
 * Says all that is missing for a call, at once. The owner isn't asked for permission, nothing is pinned, and no limit is
 * touched; credentials are presented, as for a call.
 *
 * @throws {MeshError} INVALID_ARGUMENT for a range that isn't one; NOT_FOUND for an agent that this node doesn't have;
 *   UNREACHABLE, TIMEOUT, CANCELLED when a peer can't be asked
 */
export async function checkCompatibility(
  components: CallsComponents,
  target: AgentAddress,
  invocation: Invocation,
  options: RequestOptions
): Promise<Compatibility> {
  const { capability, version } = invocation
  if (version !== undefined && semver.validRange(version) === null) {
    throw new MeshError('INVALID_ARGUMENT', 'the version is not a semver range', { hint: 'such as ^1.2.0, or >=1 <3' })
  }
  const known =
    target.peer === components.self
      ? lookHere(components, target, invocation)
      : await ask(components, target, invocation, options)
  const defined = definitionOf(known)
  const missing = [
    ...missingProtocol(known),
    ...missingCapability(known, defined),
    ...missingVersion(known, defined),
    ...(target.peer === components.self ? [] : changedPin(components, known, defined)),
    ...(await brokenSchemas(components.schemas, defined)),
    ...missingRights(known)
  ]
  return { ok: missing.length === 0, agent: known.agent, capability, missing }
}

/** What the node's own policy says to its owner, who is whom a call from here comes from. */
function lookHere({ self, registry, policy }: CallsComponents, { agent }: AgentAddress, invocation: Invocation): Known {
  const record = registry.record(agent)?.record
  if (record === undefined) throw new MeshError('NOT_FOUND', `this node has no agent ${agent}, or it has never been up`)
  const picked = pickCapability(record.capabilities, withoutVersion(agent, invocation))
  const id = `${self}/${agent}`
  if (picked instanceof MeshError) return { agent: id, invocation, record, answer: picked }
  const { effect, reason } = policy.judge({
    caller: ownerCaller(self),
    action: `${picked.kind}.call`,
    resource: `${picked.kind}:${agent}/${picked.name}`,
    facts: { effects: picked.effects, tags: [...picked.tags, ...record.tags], bytes: () => '{}'.length }
  })
  return { agent: id, invocation, record, answer: { effect, reason, proven: ['local'] } }
}

async function ask(
  { discovery, presenter, permissions, checkPermission }: CallsComponents,
  { peer, agent }: AgentAddress,
  invocation: Invocation,
  options: RequestOptions
): Promise<Known> {
  const deadline = AbortSignal.timeout(options.timeoutMs ?? CALL.timeoutMs)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
  const id = `${peer}/${agent}`
  const { capability, kind } = invocation
  const signed = await discovery.resolve(id, { signal }).catch(ifCode(['NOT_FOUND'], () => undefined))
  // As before a call: what is missing is what is still missing then
  await Promise.allSettled([presenter.ready(peer), permissions.present(peer)])
  const wanted = { agent, capability, ...(kind === undefined ? {} : { kind }) }
  const answer = await checkPermission(peer, wanted, { signal }).catch(ifCode(ANSWERS, (err) => err))
  return { agent: id, invocation, record: signed?.record, answer }
}

/** Errors that say something of the capability or the peer, and not only that it couldn't be asked. */
const ANSWERS: readonly MeshError['code'][] = [
  'NOT_FOUND',
  'AMBIGUOUS',
  'FORBIDDEN',
  'UNSUPPORTED_VERSION',
  'INVALID_MESSAGE'
]

function ifCode<T>(codes: readonly MeshError['code'][], then: (err: MeshError) => T): (err: unknown) => T {
  return (err) => {
    if (err instanceof MeshError && codes.includes(err.code)) return then(err)
    throw err
  }
}

/** From the record, or as much as the owner told of it; an error that says why there is none. */
type Defined = { readonly capability?: Capability; readonly version: string } | MeshError

function definitionOf({ agent, invocation, record, answer }: Known): Defined {
  const name = agent.slice(agent.indexOf('/') + 1)
  const { capability, kind } = invocation
  if (record !== undefined) {
    const picked = pickCapability(record.capabilities, withoutVersion(name, invocation))
    if (!(picked instanceof MeshError)) return { capability: picked, version: picked.version }
    if (picked.code !== 'NOT_FOUND') return picked
  }
  // Who may call an agent need not be allowed to see its record
  if (!(answer instanceof MeshError) && answer.capability !== undefined) return answer.capability
  if (answer instanceof MeshError && (answer.code === 'NOT_FOUND' || answer.code === 'AMBIGUOUS')) return answer
  return noCapability(name, capability, kind)
}

function withoutVersion(agent: string, { capability, kind }: Invocation): Parameters<typeof pickCapability>[1] {
  return { agent, capability, ...(kind === undefined ? {} : { kind }) }
}

function missingProtocol({ record, answer }: Known): Missing[] {
  const ours = CALL.id.split('/').at(-1) ?? ''
  const theirs = record?.protocols['call'] ?? []
  if (record !== undefined && !theirs.some((version) => semver.satisfies(version, `^${ours}`))) {
    const spoken = theirs.length === 0 ? 'no call protocol' : `call ${theirs.join(', ')}`
    return [{ what: 'protocol', text: `its node speaks ${spoken}; this one speaks call ${ours}`, hint: UPDATE }]
  }
  if (!(answer instanceof MeshError)) return []
  if (answer.code !== 'UNSUPPORTED_VERSION' && answer.code !== 'INVALID_MESSAGE') return []
  const text = 'its node does not answer what a call would meet, so that nothing is known of permission there'
  return [{ what: 'protocol', text, hint: UPDATE }]
}

const UPDATE = 'one of the two nodes needs another version of pryx-mesh'

function missingCapability({ record, answer }: Known, defined: Defined): Missing[] {
  if (!(defined instanceof MeshError)) return []
  // A node that hides an agent doesn't say whether it is there; what it denies says enough
  if (record === undefined && (!(answer instanceof MeshError) || answer.code === 'FORBIDDEN')) return []
  return [{ what: 'capability', text: defined.message, ...(defined.hint === undefined ? {} : { hint: defined.hint }) }]
}

function missingVersion({ invocation }: Known, defined: Defined): Missing[] {
  const { capability, version: range } = invocation
  if (range === undefined || defined instanceof MeshError) return []
  if (semver.satisfies(defined.version, range, { includePrerelease: true })) return []
  const hint = `ask for another range, or find another agent: pryx-mesh find --name ${capability} --version '${range}'`
  return [{ what: 'version', text: `it is ${defined.version}, which is not in the range ${range}`, hint }]
}

function changedPin({ pins }: CallsComponents, { agent, invocation }: Known, defined: Defined): Missing[] {
  const { capability: name, kind } = invocation
  const definition = defined instanceof MeshError ? undefined : defined.capability
  const wanted = definition?.kind ?? kind
  const pin = pins.list(agent).find((each) => each.name === name && (wanted === undefined || each.kind === wanted))
  if (pin === undefined || (definition !== undefined && pin.digest === definition.digest)) return []
  if (definition === undefined) {
    const text = `it was pinned as version ${pin.version}, and its definition can't be seen any more`
    return [{ what: 'pin', text, hint: `call it as it is now, unseen: pryx-mesh pins forget ${agent} ${name}` }]
  }
  const text = `its definition is another than the one that was pinned, version ${pin.version}`
  const hint = `pryx-mesh pins show ${agent} tells what changed; pryx-mesh pins approve ${agent} ${name} accepts it`
  return [{ what: 'pin', text, hint }]
}

async function brokenSchemas(pool: ValidationPool, defined: Defined): Promise<Missing[]> {
  if (defined instanceof MeshError || defined.capability === undefined) return []
  const { input, output } = defined.capability
  const check = async (which: string, schema: unknown): Promise<Missing[]> => {
    try {
      if (schema !== undefined) await compileSchema(schema, pool)
      return []
    } catch (err) {
      const text = `its ${which} schema can't be used here: ${MeshError.from(err).message}`
      return [{ what: 'schema', text, hint: 'tell its owner, or find another agent: pryx-mesh find' }]
    }
  }
  return [...(await check('input', input)), ...(await check('output', output))]
}

/** Methods whose credentials may have scopes. */
const WITH_SCOPES: readonly string[] = ['oauth', 'api-key', 'mtls']

function missingRights({ agent, invocation, record, answer }: Known): Missing[] {
  if (answer instanceof MeshError) {
    return answer.code === 'FORBIDDEN' ? [{ what: 'permission', text: answer.message }] : []
  }
  const { effect, reason, proven, missingScopes = [] } = answer
  if (effect === 'allow') return []
  const missing: Missing[] = []
  const accepted = record?.auth.filter((method) => WITH_SCOPES.includes(method)) ?? []
  if (missingScopes.length > 0 && !proven.some((method) => WITH_SCOPES.includes(method))) {
    const ways = accepted.length === 0 ? 'a credential with scopes' : accepted.join(' or ')
    const text = `proven there: ${proven.join(', ')}; scopes would need ${ways}`
    missing.push({
      what: 'credential',
      text,
      hint: 'pryx-mesh logins and pryx-mesh keys use give this node credentials'
    })
  }
  if (missingScopes.length > 0) {
    const text = `none of these scopes is held there: ${missingScopes.join(', ')}`
    missing.push({ what: 'scope', text, hint: `log in with one of them, or ask the owner for a key with one` })
  }
  const request = `pryx-mesh permission request ${agent} ${invocation.capability}`
  const text = effect === 'ask' ? `its owner would be asked: ${reason}` : reason
  return [...missing, { what: 'permission', text, hint: `ask its owner ahead: ${request}` }]
}
