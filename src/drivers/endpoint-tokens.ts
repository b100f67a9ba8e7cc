import type { Configuration, CustomFetch } from 'openid-client'
import { abortable, MeshError } from '../errors.ts'
import type { EndpointComponents } from './endpoint-auth.ts'
import { CONNECT_MS, MAX_TOKEN_ANSWER_BYTES, TOKEN_LIFE_MS, TOKEN_MARGIN_MS } from './endpoint-constants.ts'
import { readBody } from './http-body.ts'
import { createDialler, type Dialler } from './http-dial.ts'
import { type Reach, reachOf } from './ssrf.ts'

export interface TokensInit {
  readonly issuer: string
  readonly clientId: string
  readonly secret: string
  readonly scopes?: readonly string[] | undefined
  readonly resource?: string | undefined
  /** Of the endpoint; an issuer on a private network is reached by the same permission. */
  readonly reach: Reach
}

/** Access tokens of one client, by the client credentials grant. */
export interface EndpointTokens {
  /** @throws {MeshError} AGENT_UNAVAILABLE when there is none to be had; CANCELLED, TIMEOUT */
  get(options: { signal: AbortSignal }): Promise<string>
  /** The token was refused. @returns whether another one may be had: not when it has just been issued */
  forget(): boolean
  close(): void
}

export function openTokens(init: TokensInit, { resolve, clock = Date.now }: EndpointComponents): EndpointTokens {
  const issuer = new URL(init.issuer)
  const reach = reachOf(issuer, init.reach === 'private')
  // A redirect would carry the secret to somebody else.
  const dialler = createDialler({ reach, resolve, maxRedirects: 0 })
  let token: { readonly text: string; readonly until: number; isUsed: boolean } | undefined
  let asking: Promise<string> | undefined
  let config: Promise<Configuration> | undefined

  const ask = async (): Promise<string> => {
    const { clientCredentialsGrant } = await import('openid-client')
    config ??= discover(init, issuer, dialler)
    try {
      const { scopes = [], resource } = init
      const answer = await clientCredentialsGrant(await config, {
        ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
        ...(resource === undefined ? {} : { resource })
      })
      const lifeMs = answer.expires_in === undefined ? TOKEN_LIFE_MS : answer.expires_in * 1000
      // One that lives shorter than the margin is used until half its life.
      const until = clock() + Math.max(lifeMs - TOKEN_MARGIN_MS, lifeMs / 2)
      token = { text: answer.access_token, until, isUsed: false }
      return token.text
    } catch (err) {
      config = undefined
      throw new MeshError('AGENT_UNAVAILABLE', `no token for the endpoint is to be had from ${issuer.origin}`, {
        cause: err,
        hint: 'check the client, its secret and its scopes at the issuer'
      })
    }
  }

  return {
    async get({ signal }) {
      if (token !== undefined && clock() < token.until) {
        token.isUsed = true
        return token.text
      }
      // One request for all who wait; whoever leaves does not end it for the others.
      asking ??= ask().finally(() => {
        asking = undefined
      })
      return abortable(asking, signal)
    },
    forget() {
      const wasUsed = token?.isUsed === true
      token = undefined
      return wasUsed
    },
    close: () => dialler.close()
  }
}

/** RFC 8414, else OpenID Connect Discovery. */
async function discover({ clientId, secret }: TokensInit, issuer: URL, dialler: Dialler): Promise<Configuration> {
  const { allowInsecureRequests, ClientSecretBasic, customFetch, discovery } = await import('openid-client')
  const execute = issuer.protocol === 'http:' ? [allowInsecureRequests] : []
  const options = { execute, timeout: CONNECT_MS / 1000, [customFetch]: fetchBy(dialler) }
  const auth = ClientSecretBasic(secret)
  try {
    return await discovery(issuer, clientId, undefined, auth, { ...options, algorithm: 'oauth2' })
  } catch {
    return await discovery(issuer, clientId, undefined, auth, options)
  }
}

/** As much of `fetch` as the library needs, with the bounds of endpoints: an issuer names its own addresses. */
function fetchBy(dialler: Dialler): CustomFetch {
  return async (target, { headers, body, method, signal }) => {
    // Types of Node's own fetch and of the library differ in name only
    const response = await dialler.send({
      url: new URL(target),
      method,
      headers: async () => ({ ...headers, 'accept-encoding': 'identity' }),
      ...(body === undefined || body === null
        ? {}
        : { body: Buffer.from(await new Response(body as RequestInit['body'] & {}).arrayBuffer()) }),
      signal: signal ?? AbortSignal.timeout(CONNECT_MS)
    })
    const bytes = await readBody(response, { maxBytes: MAX_TOKEN_ANSWER_BYTES })
    const { statusCode = 500, headers: fields } = response
    const answered = new Headers()
    for (const [name, value] of Object.entries(fields)) if (value !== undefined) answered.set(name, String(value))
    return new Response(bytes.length === 0 ? null : new Uint8Array(bytes), { status: statusCode, headers: answered })
  }
}
