import type { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Rpc } from '../rpc/index.ts'
import { hintsProtocol } from './dht-hints-endpoint.ts'
import { MAX_PROVIDER_ADDRESSES } from './hint-constants.ts'
import {
  type HintsGetAnswer,
  type HintsPutAnswer,
  type HintsRequest,
  hintsGetAnswer,
  hintsPutAnswer,
  hintsWithdrawAnswer,
  isAddress
} from './hint-messages.ts'

/** Asks holders. What they say has the right shape and nothing more: hints are for `verifyHint`, numbers for a median. */
export interface HintsClient {
  /**
   * @param hints 1 to 16 of this node's own
   * @param options `addresses`: where this node listens, the best first; the first four that fit are told
   * @throws {MeshError} as {@link Rpc.request}; UNSUPPORTED_VERSION or UNREACHABLE from who doesn't serve hints; INVALID_MESSAGE
   */
  put(
    peer: string,
    hints: readonly Uint8Array[],
    options: { signal: AbortSignal; addresses?: readonly string[] }
  ): Promise<HintsPutAnswer>
  /** @throws {MeshError} likewise */
  get(
    peer: string,
    request: { key: string; offset?: number; best?: true },
    options: { signal: AbortSignal }
  ): Promise<HintsGetAnswer>
  /**
   * @param hints 1 to 64
   * @returns how many there were
   * @throws {MeshError} likewise
   */
  withdraw(
    peer: string,
    hints: readonly { readonly key: string; readonly seq: number }[],
    options: { signal: AbortSignal }
  ): Promise<number>
}

export function createHintsClient({ rpc }: { readonly rpc: Pick<Rpc, 'request'> }): HintsClient {
  async function ask<T extends z.ZodType>(
    { peer, body, answer }: { peer: string; body: HintsRequest; answer: T },
    options: { signal: AbortSignal }
  ): Promise<z.infer<T>> {
    const parsed = answer.safeParse(await rpc.request(peer, hintsProtocol, body, options))
    if (parsed.success) return parsed.data
    throw new MeshError('INVALID_MESSAGE', `${peer} answers what is no answer to ${body.op}`)
  }

  return {
    put(peer, hints, { signal, addresses = [] }) {
      const texts = hints.map((bytes) => Buffer.from(bytes).toString('base64url'))
      const told = addresses.filter(isAddress).slice(0, MAX_PROVIDER_ADDRESSES)
      const body: HintsRequest = { op: 'put', hints: texts, ...(told.length > 0 && { addresses: told }) }
      return ask({ peer, body, answer: hintsPutAnswer }, { signal })
    },
    get: (peer, request, options) => ask({ peer, body: { op: 'get', ...request }, answer: hintsGetAnswer }, options),
    async withdraw(peer, hints, options) {
      const answer = hintsWithdrawAnswer
      return (await ask({ peer, body: { op: 'withdraw', hints: [...hints] }, answer }, options)).withdrawn
    }
  }
}
