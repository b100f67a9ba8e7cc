import { MeshError } from '../errors.ts'
import { agentId as agentIdSchema, type SignedRecord } from '../registry/messages.ts'
import { nameOf, peerOf } from './cache.ts'
import { FIND_TIMEOUT_MS, TRUSTED_MS } from './constants.ts'
import type { FindComponents } from './find-components.ts'
import type { Puller } from './pull.ts'
import type { Refusal } from './refusals.ts'

type ResolveComponents = Pick<FindComponents, 'peer' | 'network' | 'local' | 'cache' | 'hints' | 'peers' | 'now'> & {
  readonly puller: Puller
}

/**
 * The verified record of one agent, from the cache or its owner.
 *
 * @throws {MeshError} NOT_FOUND, UNREACHABLE, TIMEOUT, INVALID_RECORD, INVALID_ARGUMENT
 */
export async function resolve(
  components: ResolveComponents,
  agentId: string,
  signal: AbortSignal
): Promise<SignedRecord> {
  if (!agentIdSchema.safeParse(agentId).success) {
    throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(agentId.slice(0, 160))} is not an agent id`, {
      hint: 'write it as <PeerId>/<name>'
    })
  }
  const { cache, hints, local, network, peers, puller } = components
  const known = local.get(agentId) ?? cache.get(agentId)
  if (known !== undefined && isCurrent(components, known)) return known
  const peer = peerOf(agentId)
  const notFound = new MeshError('NOT_FOUND', `${peer} gives no record of an agent ${nameOf(agentId)}`)
  if (peer === components.peer) throw notFound
  let refusal: Refusal | undefined
  let given: SignedRecord | undefined
  if (!peers.isConnected(peer)) await network.learn(peer, hints.addressesOf(peer))
  await puller.pull(
    peer,
    { id: agentId },
    {
      signal,
      source: 'peer',
      timeoutMs: FIND_TIMEOUT_MS,
      onRecord: (signed) => {
        if (signed.record.id === agentId) given = signed
      },
      onRefusal: (reason) => {
        refusal = reason
      }
    }
  )
  if (given !== undefined) return given
  if (refusal !== undefined) throw new MeshError('INVALID_RECORD', `the record of ${agentId} was refused: ${refusal}`)
  cache.forget(agentId)
  throw notFound
}

function isCurrent({ cache, hints, now, peer: self, peers }: ResolveComponents, { record }: SignedRecord): boolean {
  const { id, seq } = record
  const peer = peerOf(id)
  if (peer === self) return true
  const isTrusted = peers.isConnected(peer) || now() - (cache.verifiedAt(id) ?? 0) < TRUSTED_MS
  return isTrusted && !hints.isReplaced(id, seq)
}
