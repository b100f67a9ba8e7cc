import { createHash } from 'node:crypto'
import { rcompare } from 'semver'
import { MeshError } from '../errors.ts'
import type { HeldEntry, Holder, HoldVerdict } from '../network/holder.ts'
import type { Endpoint, Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'
import { type DhtHint, type HintRefusal, isHintSigned, readHint } from './dht-hint.ts'
import {
  HINTS_PROTOCOL,
  HINTS_TIMEOUT_MS,
  MAX_CLOSER_ADDRESS_LENGTH,
  MAX_CLOSER_ADDRESSES,
  MAX_CLOSER_PEERS
} from './hint-constants.ts'
import { type HintsGetAnswer, type HintsPutAnswer, type HintsRequest, hintsRequest } from './hint-messages.ts'
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
    position: Uint8Array,
    count: number
  ) => readonly { readonly id: string; readonly addresses: readonly string[] }[]
  /** What network a connected peer is in, if that counts. */
  readonly subnetOf: (peer: string) => string | undefined
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
          return answerPut(components, caller.peer, request.hints)
        case 'get':
          return answerGet(components, caller.peer, request)
        case 'withdraw':
          return { withdrawn: withdraw(components, caller.peer, request.hints) }
      }
    }
  }
}

/** Where the DHT places a key. @param key base64url of its digest */
export function positionOfKey(key: string): Uint8Array {
  // kad-dht hashes the bytes of the multihash: code 0x12, 32 bytes
  return createHash('sha256').update(Uint8Array.of(0x12, 32)).update(Buffer.from(key, 'base64url')).digest()
}

function answerPut(components: HintsComponents, peer: string, hints: readonly string[]): HintsPutAnswer {
  const { holder, now } = components
  const results = hints.map((text) => {
    const bytes = Buffer.from(text, 'base64url')
    const hint = readHint(bytes, now())
    if (typeof hint === 'string') return { result: refused(components, peer, hint), total: 0 }
    const result = put(components, peer, { hint, bytes })
    return { result: refused(components, peer, result), total: holder.estimate(hint.key) }
  })
  return { results }
}

/** What costs most is done last: an id that isn't the caller's, or one beyond its quota, costs no signature check. */
function put(
  { holder, subnetOf }: HintsComponents,
  peer: string,
  { hint, bytes }: { hint: DhtHint; bytes: Uint8Array }
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
    hint: { bytes, seq: hint.seq, version }
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
  const near = closest(positionOfKey(key), MAX_CLOSER_PEERS + 1).filter(({ id }) => id !== peer)
  return {
    hints: chosen.flatMap(({ hint }) => (hint === undefined ? [] : [Buffer.from(hint.bytes).toString('base64url')])),
    providers: chosen.flatMap(({ hint, peer: provider }) => (hint === undefined ? [provider] : [])),
    total: holder.estimate(key),
    held: holder.count(key),
    closer: near.slice(0, MAX_CLOSER_PEERS).map(({ id, addresses }) => ({
      id,
      addresses: addresses.filter(({ length }) => length <= MAX_CLOSER_ADDRESS_LENGTH).slice(0, MAX_CLOSER_ADDRESSES)
    }))
  }
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
