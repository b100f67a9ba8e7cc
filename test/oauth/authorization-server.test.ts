import { decodeJwt } from 'jose'
import * as oauth from 'openid-client'
import { expect, it } from 'vitest'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { EXCHANGE_GRANT, proofKeys, startAuthorizationServer } from './authorization-server.ts'

const RESOURCE = 'did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V'

async function publicClient(issuer: string): Promise<oauth.Configuration> {
  return oauth.discovery(new URL(issuer), 'desktop', undefined, oauth.None(), {
    execute: [oauth.allowInsecureRequests],
    algorithm: 'oauth2'
  })
}

it.each([false, true])('issues by client credentials, asking for a nonce: %s', async (requireNonce) => {
  const server = await startAuthorizationServer({ requireNonce })
  const { access_token } = await server.issueFor({ resource: RESOURCE, identity: createIdentity() })
  expect(decodeJwt(access_token)).toMatchObject({ aud: RESOURCE, iss: server.issuer, cnf: { jkt: expect.any(String) } })
})

it('issues by code and PKCE, and replaces a refresh token at each use', async () => {
  const server = await startAuthorizationServer()
  const config = await publicClient(server.issuer)
  const DPoP = oauth.getDPoPHandle(config, await proofKeys(createIdentity()))
  const pkceCodeVerifier = oauth.randomPKCECodeVerifier()
  const url = oauth.buildAuthorizationUrl(config, {
    redirect_uri: 'http://127.0.0.1:4711/callback',
    scope: 'tools.call offline_access',
    prompt: 'consent',
    resource: RESOURCE,
    code_challenge: await oauth.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256'
  })
  const { location = '' } = await server.visit(url.href)
  const first = await oauth.authorizationCodeGrant(config, new URL(location), { pkceCodeVerifier }, undefined, { DPoP })
  expect(decodeJwt(first.access_token)).toMatchObject({ aud: RESOURCE, sub: 'alice', scope: 'tools.call' })
  const second = await oauth.refreshTokenGrant(config, first.refresh_token ?? '', { resource: RESOURCE }, { DPoP })
  expect(second.refresh_token).not.toBe(first.refresh_token)
  await expect(
    oauth.refreshTokenGrant(config, first.refresh_token ?? '', { resource: RESOURCE }, { DPoP })
  ).rejects.toMatchObject({ error: 'invalid_grant' })
})

it.each([
  { answer: 'approveDevice', outcome: 'alice' },
  { answer: 'denyDevice', outcome: 'access_denied' }
] as const)('lets a test $answer', async ({ answer, outcome }) => {
  const server = await startAuthorizationServer()
  const config = await publicClient(server.issuer)
  const DPoP = oauth.getDPoPHandle(config, await proofKeys(createIdentity()))
  const started = await oauth.initiateDeviceAuthorization(config, { scope: 'tools.call', resource: RESOURCE })
  await server[answer](started.user_code)
  const subject = await oauth
    .pollDeviceAuthorizationGrant(config, { ...started, interval: 0.01 }, {}, { DPoP })
    .then(({ access_token }) => decodeJwt(access_token).sub)
    .catch((err: { error: string }) => err.error)
  expect(subject).toBe(outcome)
})

it('exchanges a token of a caller for one to call onward with', async () => {
  const server = await startAuthorizationServer()
  const called = createIdentity()
  const subject = await server.issueFor({ resource: called.did, identity: createIdentity() })
  const { confidential } = server.clients
  const config = await oauth.discovery(
    new URL(server.issuer),
    confidential.client_id,
    undefined,
    oauth.ClientSecretBasic(confidential.client_secret),
    { execute: [oauth.allowInsecureRequests], algorithm: 'oauth2' }
  )
  const exchange = async (subject_token: string, identity: Identity) =>
    oauth.genericGrantRequest(
      config,
      EXCHANGE_GRANT,
      {
        subject_token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        resource: RESOURCE,
        scope: 'tools.call'
      },
      { DPoP: oauth.getDPoPHandle(config, await proofKeys(identity)) }
    )
  const { access_token } = await exchange(subject.access_token, called)
  expect(decodeJwt(access_token)).toMatchObject({
    aud: RESOURCE,
    act: { sub: 'agent' },
    exp: decodeJwt(subject.access_token).exp
  })
  await expect(exchange(subject.access_token, createIdentity())).rejects.toMatchObject({ error: 'invalid_request' })
})
