import { LRUCache } from 'lru-cache'
import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Endpoint } from '../rpc/index.ts'
import type { Trust } from '../trust/index.ts'
import { parseJson } from '../wire/index.ts'
import { MAX_PAIRS_IN_MEMORY, MESSAGE } from './constants.ts'
import {
  type DeliverAnswer,
  type DeliverRequest,
  type DeliverResult,
  type Envelope,
  envelope,
  messageRequest
} from './messages.ts'
import type { Arrival, Receiving } from './receiving.ts'
import { createBatchVerifier, createDids, digestOf, signReceipts, type VerifiedBatch } from './signatures.ts'
import type { Taken } from './taken.ts'

export interface DeliveryComponents {
  readonly identity: Identity
  readonly receiving: Receiving
  readonly callerOf: (peer: string) => Caller
  readonly note: Trust['note']
}

/** Checks who wrote what comes, and takes it; undefined: it was brought by one who could not know what it is. */
export type Receive = (request: DeliverRequest, carrier?: Caller) => Promise<DeliverAnswer>

export function createReceive(components: DeliveryComponents): Receive {
  const { identity } = components
  const verify = createBatchVerifier()
  const judge = createJudge(components)
  /** Of each carrier: what it brought before has been judged. */
  const turns = new Map<string, Promise<void>>()

  const verified = (text: string): VerifiedBatch | MeshError => {
    try {
      return verify(text)
    } catch (err) {
      return MeshError.from(err)
    }
  }

  /** Messages are taken in the order they were brought in. */
  const inTurn = (request: DeliverRequest, carrier: Caller | undefined): Promise<Judged> => {
    const signatures = request.signatures.map(verified)
    if (carrier === undefined) return judge(request, signatures, carrier)
    const { peer } = carrier
    const before = turns.get(peer)
    const next = (): Promise<Judged> => judge(request, signatures, carrier)
    const judged = before === undefined ? next() : before.then(next)
    const leave = (): void => {
      if (turns.get(peer) === over) turns.delete(peer)
    }
    // Of a failure whoever brought it is told
    const over: Promise<void> = judged.then(leave, leave)
    turns.set(peer, over)
    return judged
  }

  return async (request, carrier) => {
    const { opened, taken, written } = await inTurn(request, carrier)
    for (const each of written) await each
    const receipts = [...taken.values()].flatMap(({ receipt }) => (receipt === undefined ? [] : [receipt]))
    return {
      results: opened.map((each) => ('state' in each ? each : (taken.get(each)?.result ?? LOST))),
      ...(receipts.length === 0 ? {} : { receipts: signReceipts(identity, receipts) })
    }
  }
}

type Judge = (
  request: DeliverRequest,
  signatures: readonly (VerifiedBatch | MeshError)[],
  carrier: Caller | undefined
) => Promise<Judged>

function createJudge({ identity, receiving, callerOf, note }: DeliveryComponents): Judge {
  const didOf = createDids()

  /** @returns the message, or why it is refused */
  const open = (
    { envelope: text, sig, after }: DeliverRequest['messages'][number],
    signatures: readonly (VerifiedBatch | MeshError)[]
  ): Arrival | DeliverResult => {
    const signature = signatures[sig]
    if (signature === undefined) return refusedAs('INVALID_MESSAGE', 'it names no signature')
    if (signature instanceof MeshError) return refusedAs(signature.code, signature.message)
    if (!signature.digests.has(digestOf(text)))
      return refusedAs('INVALID_RECORD', 'the signature is not about this message')
    const parsed = parseEnvelope(text)
    if (parsed === undefined) return refusedAs('INVALID_MESSAGE', 'not an envelope')
    if (didOf(peerOf(parsed.from)) !== signature.did)
      return refusedAs('INVALID_RECORD', 'it is signed by another than its author')
    if (peerOf(parsed.to) !== identity.id) return refusedAs('INVALID_MESSAGE', 'it is for another node')
    return { envelope: parsed, text, after }
  }

  return async (request, signatures, carrier) => {
    const opened = request.messages.map((message) => open(message, signatures))
    if (carrier !== undefined && opened.some((each) => 'state' in each && each.code === 'INVALID_RECORD'))
      note(carrier.peer, 'signature:bad')
    const authors = Map.groupBy(opened.filter(isArrival), (arrival) => peerOf(arrival.envelope.from))
    const taken = new Map<Arrival | DeliverResult, Taken>()
    const written: Promise<void>[] = []
    for (const [author, arrivals] of authors) {
      const caller = author === carrier?.peer ? carrier : callerOf(author)
      const batch = await receiving.take(caller, arrivals)
      written.push(batch.written)
      for (const [index, arrival] of arrivals.entries()) {
        const result = batch.taken[index]
        if (result !== undefined) taken.set(arrival, result)
      }
    }
    return { opened, taken, written }
  }
}

/** A request whose messages have each their result, and are being written. */
interface Judged {
  readonly opened: readonly (Arrival | DeliverResult)[]
  readonly taken: ReadonlyMap<Arrival | DeliverResult, Taken>
  readonly written: readonly Promise<void>[]
}

/** Answers `message/1.0.0`. */
export function createEndpoint(
  receive: Receive,
  takeReceipts: (receipts: string, by: string) => Promise<void>
): Endpoint {
  return {
    protocol: MESSAGE,
    handle(body, { caller }) {
      if (caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'blocked by the owner')
      const { success, data, error } = messageRequest.safeParse(body)
      if (!success) {
        const at = error.issues[0]?.path.join('.') ?? ''
        throw new MeshError('INVALID_MESSAGE', `not a message request${at === '' ? '' : `: ${at} is not valid`}`)
      }
      return data.op === 'deliver' ? receive(data, caller) : takeReceipts(data.receipts, caller.peer).then(() => ({}))
    }
  }
}

/** Callers that are known by what they have signed only. The same object while the peer's standing is the same. */
export function createCallers(self: Caller, of: Trust['of']): (peer: string) => Caller {
  const known = new LRUCache<string, Caller>({ max: MAX_PAIRS_IN_MEMORY })
  return (peer) => {
    if (peer === self.peer) return self
    const { level, alias } = of(peer)
    const before = known.get(peer)
    if (before !== undefined && before.trust === level && before.alias === alias) return before
    const caller: Caller = {
      peer,
      credentials: [{ method: 'noise', binding: 'noise', subject: peer, scopes: [] }],
      trust: level,
      binding: 'noise',
      ...(alias === undefined ? {} : { alias })
    }
    known.set(peer, caller)
    return caller
  }
}

export const peerOf = (agent: string): string => agent.slice(0, agent.indexOf('/'))

const LOST: DeliverResult = { state: 'busy', code: 'INTERNAL' }

function parseEnvelope(text: string): Envelope | undefined {
  try {
    return envelope.safeParse(parseJson(text)).data
  } catch {
    return undefined // what isn't even JSON is no envelope either
  }
}

function refusedAs(code: string, reason: string): DeliverResult {
  return { state: 'refused', code, reason: reason.slice(0, 500) }
}

function isArrival(each: Arrival | DeliverResult): each is Arrival {
  return 'envelope' in each
}
