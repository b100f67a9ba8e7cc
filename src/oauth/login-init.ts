import { MeshError } from '../errors.ts'
import { didFromKey, keyFromPeerId } from '../wire/index.ts'
import { MAX_LOGIN_PEERS, MAX_LOGIN_SCOPES, MAX_LOGIN_TEXT } from './constants.ts'
import type { LoginInit } from './index.ts'

/** What a login is made of, all of it checked. */
export interface LoginPlan extends LoginInit {
  readonly scopes: readonly string[]
  readonly resources: readonly string[]
}

/** @throws {MeshError} INVALID_ARGUMENT */
export function checkLogin(init: LoginInit): LoginPlan {
  const { clientId, clientSecret, flow, scopes = [], peers } = init
  checkIssuer(init.issuer)
  // RFC 6749 appendix A: VSCHAR
  if (!/^[\x20-\x7e]+$/.test(clientId) || clientId.length > MAX_LOGIN_TEXT) throw invalid('the client id is not usable')
  if (flow === 'client-credentials' && clientSecret === undefined) {
    throw invalid(
      'the client-credentials flow needs a client secret',
      'log in with --client-secret-file, or --flow device'
    )
  }
  checkCount('scopes', scopes, 0, MAX_LOGIN_SCOPES)
  for (const scope of scopes) {
    if (!/^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/.test(scope)) throw invalid(`no scope: ${scope.slice(0, 80)}`)
  }
  checkCount('peers', peers, 1, MAX_LOGIN_PEERS)
  const dids = peers.map(didOf)
  const resources = init.resources ?? dids
  checkCount('resources', resources, 1, MAX_LOGIN_PEERS)
  for (const resource of resources) checkResource(resource)
  return {
    ...init,
    scopes: [...new Set(scopes)],
    peers: [...new Set(peers)],
    resources: [...new Set(resources)]
  }
}

/** The did:key of a peer. @throws {MeshError} INVALID_ARGUMENT */
export function didOf(peer: string): string {
  try {
    return didFromKey(keyFromPeerId(peer))
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `not a PeerId of an Ed25519 key: ${peer.slice(0, 80)}`, { cause: err })
  }
}

/** RFC 8707 §2: an absolute URI without a fragment. @throws {MeshError} INVALID_ARGUMENT */
export function checkResource(resource: string): void {
  if (resource.length <= MAX_LOGIN_TEXT && URL.canParse(resource) && !resource.includes('#')) return
  throw invalid(
    `no resource: ${resource.slice(0, 80)}`,
    'a resource is the did:key of a peer, or a URL without fragment'
  )
}

/** http is for issuers on this machine. @throws {MeshError} INVALID_ARGUMENT */
export function checkIssuer(issuer: string): void {
  const url = issuer.length <= MAX_LOGIN_TEXT && URL.canParse(issuer) ? new URL(issuer) : undefined
  // RFC 8414 §2: no query, no fragment
  const isPlain = url?.search === '' && url.hash === '' && url.username === '' && url.password === ''
  if (url !== undefined && isPlain && isSafe(url)) return
  throw invalid(
    'an issuer is an https URL without query and fragment',
    'http is allowed on 127.0.0.1, ::1 and localhost'
  )
}

/** Whether what is sent there can't be read on the way. */
export function isSafe(url: URL): boolean {
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url))
}

export function isLoopback({ hostname }: URL): boolean {
  return ['127.0.0.1', '[::1]', 'localhost'].includes(hostname)
}

function checkCount(what: string, list: readonly unknown[], min: number, max: number): void {
  if (list.length < min || list.length > max) throw invalid(`a login has ${min} to ${max} ${what}`)
}

function invalid(message: string, hint?: string): MeshError {
  return new MeshError('INVALID_ARGUMENT', message, hint === undefined ? {} : { hint })
}
