import type { CustomFetch } from 'openid-client'
import { MeshError } from '../errors.ts'
import { MAX_LOGIN_ANSWER_BYTES } from './constants.ts'
import { isLoopback, isSafe } from './login-init.ts'

export interface IssuerFetchInit {
  readonly issuer: string
  /** Ends what is under way when the room stops. */
  readonly stopped: AbortSignal
}

/** A `fetch` for one issuer: https (http only on loopback, for an issuer there), no redirects, bounded answers. */
export function issuerFetch({ issuer, stopped }: IssuerFetchInit): CustomFetch {
  const isLocal = isLoopback(new URL(issuer))
  return async (target, { headers, body, method, signal }) => {
    const url = new URL(target)
    // Its metadata names the endpoints: they must be no less safe than the issuer, nor on this machine if that isn't
    if (!isSafe(url) || (isLoopback(url) && !isLocal)) {
      throw new MeshError('UNAUTHENTICATED', `${issuer} has an endpoint that is not safe to ask: ${url.origin}`)
    }
    const response = await fetch(url, {
      headers,
      method,
      redirect: 'manual',
      // Types of Node's own fetch and of the library differ in name only
      ...(body === null || body === undefined ? {} : { body: body as RequestInit['body'] & {} }),
      signal: signal === undefined ? stopped : AbortSignal.any([signal, stopped])
    }).catch((err: unknown) => {
      // Deadline and stop have names of their own
      if (!(err instanceof TypeError)) throw err
      throw new MeshError('UNREACHABLE', `${issuer} cannot be reached`, {
        cause: err,
        hint: 'check the issuer, and the network'
      })
    })
    const { status, statusText } = response
    const bytes = await readBounded(response, issuer)
    return new Response(bytes.length === 0 ? null : bytes, { status, statusText, headers: response.headers })
  }
}

async function readBounded(response: Response, issuer: string): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of response.body ?? []) {
      bytes += chunk.length
      if (bytes > MAX_LOGIN_ANSWER_BYTES) break
      chunks.push(chunk)
    }
  } catch (err) {
    if (!(err instanceof TypeError)) throw err
    throw new MeshError('UNREACHABLE', `${issuer} broke off its answer`, { cause: err })
  }
  if (bytes > MAX_LOGIN_ANSWER_BYTES) throw new MeshError('UNREACHABLE', `the answer of ${issuer} is too large`)
  return Buffer.concat(chunks)
}
