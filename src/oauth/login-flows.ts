import {
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  clientCredentialsGrant,
  type DeviceAuthorizationResponse,
  initiateDeviceAuthorization,
  pollDeviceAuthorizationGrant,
  randomPKCECodeVerifier,
  randomState,
  type TokenEndpointResponse
} from 'openid-client'
import { abortable, MeshError } from '../errors.ts'
import { LOGIN_TIMEOUT_MS } from './constants.ts'
import type { LoginStep } from './index.ts'
import { readFailure } from './login-errors.ts'
import { isSafe, type LoginPlan } from './login-init.ts'
import type { IssuerClient } from './login-issuer.ts'
import { openRedirect } from './redirect.ts'

export type Visit = Extract<LoginStep, { step: 'visit' }>

export interface FlowInit {
  readonly client: IssuerClient
  readonly plan: LoginPlan
  readonly fingerprint: string
  readonly now: number
  /** Has the deadline in it. */
  readonly signal: AbortSignal
}

/** Yields what the owner has to do, and returns what the issuer answers in the end. Errors are the library's own. */
export function runFlow(init: FlowInit): AsyncGenerator<Visit, TokenEndpointResponse> {
  return { 'client-credentials': withCredentials, code: withCode, device: withDevice }[init.plan.flow](init)
}

// oxlint-disable-next-line require-yield -- there is nothing for the owner to do
async function* withCredentials(init: FlowInit): AsyncGenerator<Visit, TokenEndpointResponse> {
  const { client, plan, signal } = init
  const wanted = parameters(plan.scopes, plan.resources.slice(0, 1))
  return abortable(clientCredentialsGrant(client.config, wanted, { DPoP: client.dpop }), signal)
}

async function* withCode(init: FlowInit): AsyncGenerator<Visit, TokenEndpointResponse> {
  const { client, plan, signal, fingerprint, now } = init
  const { config, dpop } = client
  needEndpoint(init, 'authorization_endpoint')
  const [state, pkceCodeVerifier] = [randomState(), randomPKCECodeVerifier()]
  const redirect = await openRedirect(state)
  try {
    const scopes = withOfflineAccess(init)
    const wanted = parameters(scopes, plan.resources)
    wanted.set('redirect_uri', redirect.uri)
    wanted.set('state', state)
    wanted.set('code_challenge', await calculatePKCECodeChallenge(pkceCodeVerifier))
    wanted.set('code_challenge_method', 'S256')
    // RFC 9449 §10: the code, too, is good for this key only
    wanted.set('dpop_jkt', await dpop.calculateThumbprint())
    // OpenID Connect Core §11: else offline access may be left out
    if (scopes.includes('offline_access')) wanted.set('prompt', 'consent')
    const url = checkPage(client.issuer, buildAuthorizationUrl(config, wanted).href)
    yield { step: 'visit', url, fingerprint, expiresAt: new Date(now + LOGIN_TIMEOUT_MS).toISOString() }
    const answer = await redirect.answer(signal)
    const checks = { pkceCodeVerifier, expectedState: state }
    const one = { resource: plan.resources[0] ?? '' }
    return await abortable(authorizationCodeGrant(config, answer, checks, one, { DPoP: dpop }), signal)
  } finally {
    redirect.close()
  }
}

async function* withDevice(init: FlowInit): AsyncGenerator<Visit, TokenEndpointResponse> {
  const { client, plan, signal, fingerprint, now } = init
  needEndpoint(init, 'device_authorization_endpoint')
  const wanted = parameters(withOfflineAccess(init), plan.resources)
  const begun = await abortable(initiateDeviceAuthorization(client.config, wanted), signal)
  const url = checkPage(client.issuer, begun.verification_uri_complete ?? begun.verification_uri)
  const lifeMs = Math.min(begun.expires_in * 1_000, LOGIN_TIMEOUT_MS)
  const userCode = checkUserCode(client.issuer, begun.user_code)
  yield { step: 'visit', url, userCode, fingerprint, expiresAt: new Date(now + lifeMs).toISOString() }
  // 5 s is the RFC's default; what an issuer asks for is kept, but none makes a busy loop
  const interval = Math.max(begun.interval ?? 5, 1)
  return poll(init, { ...begun, interval }, AbortSignal.any([signal, AbortSignal.timeout(lifeMs)]))
}

/** The library keeps the pace that the issuer asks for (RFC 8628 §3.5). A line that is down for a moment ends nothing. */
async function poll(
  { client, plan }: FlowInit,
  begun: DeviceAuthorizationResponse,
  signal: AbortSignal
): Promise<TokenEndpointResponse> {
  for (;;) {
    try {
      const one = { resource: plan.resources[0] ?? '' }
      return await abortable(
        pollDeviceAuthorizationGrant(client.config, begun, one, { DPoP: client.dpop, signal }),
        signal
      )
    } catch (err) {
      if (signal.aborted || readFailure(err, client.issuer).error.code !== 'UNREACHABLE') throw err
    }
  }
}

/** Without it many issuers give no refresh token, and the owner would be asked again every few minutes. */
function withOfflineAccess({ client, plan }: FlowInit): readonly string[] {
  const isOffered = client.config.serverMetadata().scopes_supported?.includes('offline_access') === true
  return isOffered ? [...new Set([...plan.scopes, 'offline_access'])] : plan.scopes
}

function parameters(scopes: readonly string[], resources: readonly string[]): URLSearchParams {
  const wanted = new URLSearchParams()
  for (const resource of resources) wanted.append('resource', resource)
  if (scopes.length > 0) wanted.set('scope', scopes.join(' '))
  return wanted
}

function needEndpoint(
  { client, plan }: FlowInit,
  name: 'authorization_endpoint' | 'device_authorization_endpoint'
): void {
  if (client.config.serverMetadata()[name] !== undefined) return
  throw new MeshError('INVALID_ARGUMENT', `${client.issuer} has no ${plan.flow} flow`, {
    hint: 'choose another --flow'
  })
}

/** Somebody will open it. */
function checkPage(issuer: string, page: string): string {
  if (URL.canParse(page) && isSafe(new URL(page))) return new URL(page).href
  throw new MeshError('UNAUTHENTICATED', `${issuer} has a page that is not safe to open`)
}

function checkUserCode(issuer: string, code: string): string {
  if (/^[\x20-\x7e]{1,64}$/.test(code)) return code
  throw new MeshError('UNAUTHENTICATED', `${issuer} gives a code that nobody can type`)
}
