import { rcompare } from 'semver'
import { MeshError } from '../errors.ts'
import type { HeldEntry, Holder, HoldVerdict } from '../network/holder.ts'
import { hash, type Position } from '../network/position.ts'
import type { Endpoint, Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'
import { type DhtHint, type HintRefusal, isHintSigned, readHint } from './dht-hint.ts'
import {
  HINTS_PROTOCOL,
  HINTS_TIMEOUT_MS,
  MAX_CLOSER_ADDRESSES,
  MAX_CLOSER_PEERS,
  MAX_PROVIDER_ADDRESSES
} from './hint-constants.ts'
import {
  type HintsGetAnswer,
  type HintsPutAnswer,
  type HintsRequest,
  hintsRequest,
  isAddress,
  isPeerId
} from './hint-messages.ts'
import type { Refusals } from './refusals.ts'

export const hintsProtocol: Protocol = {
  id: HINTS_PROTOCOL,
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: HINTS_TIMEOUT_MS,
  // Sixteen finds at once, and what is published meanwhile.
  maxInFlight: 32
}

/** What became of a hint that was put. */
export type PutResult = HoldVerdict | HintRefusal | 'over-budget'

export interface HintsComponents {
  readonly holder: Holder
  /** Nodes of the routing table nearest to a position, nearest first. */
  readonly closest: (
    position: Position,
    count: number
  ) => readonly { readonly id: string; readonly addresses: readonly string[] }[]
  /** What network a connected peer is in, if that counts. */
  readonly subnetOf: (peer: string) => string | undefined
  /** Where a connected peer says that it listens; asked when a put doesn't say. Default: nowhere. */
  readonly addressesOf?: (peer: string) => readonly string[]
  readonly refusals: Pick<Refusals, 'add'>
  /** A peer sent what no honest node sends. */
  readonly onBroken?: (peer: string, reason: string) => void
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Keeps signed hints for the mesh and gives them to whoever asks. Only their providers put and withdraw them, so nothing is
 * relayed and nothing replayed by others; all of it was meant for everybody.
 */
export function createHintsEndpoint(components: HintsComponents): Endpoint {
  return {
    protocol: hintsProtocol,
    handle(body, { caller }) {
      if (caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'this peer is blocked')
      const parsed = hintsRequest.safeParse(body)
      if (!parsed.success) throw new MeshError('INVALID_MESSAGE', 'not a hints request')
      const request = parsed.data
      switch (request.op) {
        case 'put':
          return answerPut(components, caller.peer, request)
        case 'get':
          return answerGet(components, caller.peer, request)
        case 'withdraw':
          return { withdrawn: withdraw(components, caller.peer, request.hints) }
      }
    }
  }
}

/** Where the DHT places a key. @param key base64url of its digest */
export function positionOfKey(key: string): Position {
  // kad-dht hashes the bytes of the multihash: code 0x12, 32 bytes
  return hash(Buffer.concat([Uint8Array.of(0x12, 32), Buffer.from(key, 'base64url')]))
}

function answerPut(
  components: HintsComponents,
  peer: string,
  request: Extract<HintsRequest, { op: 'put' }>
): HintsPutAnswer {
  const { addressesOf, holder, now } = components
  const addresses = bounded(request.addresses ?? addressesOf?.(peer) ?? [], MAX_PROVIDER_ADDRESSES)
  const results = request.hints.map((text) => {
    const bytes = Buffer.from(text, 'base64url')
    const hint = readHint(bytes, now())
    if (typeof hint === 'string') return { result: refused(components, peer, hint), total: 0 }
    const result = put(components, hint, { bytes, addresses, peer })
    return { result: refused(components, peer, result), total: holder.estimate(hint.key) }
  })
  return { results }
}

/** What costs most is done last: an id that isn't the caller's, or one beyond its quota, costs no signature check. */
function put(
  { holder, subnetOf }: HintsComponents,
  hint: DhtHint,
  { bytes, addresses, peer }: { bytes: Uint8Array; addresses: readonly string[]; peer: string }
): PutResult {
  if (hint.peer !== peer) return 'wrong-owner'
  if (!holder.admit(peer, hint.key)) return 'over-budget'
  if (!isHintSigned(bytes)) return 'forged'
  const [version] = [...hint.versions].sort(rcompare)
  return holder.put({
    key: hint.key,
    peer,
    expiresAt: hint.expiresAt,
    subnet: subnetOf(peer),
    hint: { bytes, seq: hint.seq, version, addresses }
  })
}

/** Counts what was refused, by peer and reason. */
function refused({ refusals, onBroken }: HintsComponents, peer: string, result: PutResult): PutResult {
  if (result === 'kept' || result === 'dropped') return result
  refusals.add(peer, result)
  if (result === 'bad-hint' || result === 'forged' || result === 'wrong-owner') onBroken?.(peer, `a hint: ${result}`)
  return result
}

type GetRequest = Extract<HintsRequest, { op: 'get' }>

function answerGet({ holder, closest }: HintsComponents, peer: string, request: GetRequest): HintsGetAnswer {
  const { key } = request
  const chosen = entriesFor(holder, request)
  const where = chosen.flatMap(({ hint, peer: id }) => {
    return hint?.addresses === undefined || hint.addresses.length === 0 ? [] : [{ id, addresses: [...hint.addresses] }]
  })
  const near = closest(positionOfKey(key), MAX_CLOSER_PEERS + 1).filter(({ id }) => id !== peer && isPeerId(id))
  return {
    hints: chosen.flatMap(({ hint }) => (hint === undefined ? [] : [Buffer.from(hint.bytes).toString('base64url')])),
    providers: chosen.flatMap(({ hint, peer: provider }) =>
      hint === undefined && isPeerId(provider) ? [provider] : []
    ),
    ...(where.length > 0 && { where }),
    total: holder.estimate(key),
    held: holder.count(key),
    closer: near.slice(0, MAX_CLOSER_PEERS).map(({ id, addresses }) => ({
      id,
      addresses: bounded(addresses, MAX_CLOSER_ADDRESSES)
    }))
  }
}

/** What would spoil the answer is left out. */
function bounded(addresses: readonly string[], most: number): string[] {
  return addresses.filter(isAddress).slice(0, most)
}

function entriesFor(holder: Holder, { key, offset, best }: GetRequest): readonly HeldEntry[] {
  if (offset !== undefined) return holder.page(key, offset)
  return best === true ? holder.best(key) : holder.sample(key)
}

function withdraw(
  { holder }: HintsComponents,
  peer: string,
  hints: readonly { readonly key: string; readonly seq: number }[]
): number {
  return hints.filter(({ key, seq }) => holder.withdraw(key, peer, seq)).length
}
