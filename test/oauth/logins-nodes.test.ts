import { decodeJwt } from 'jose'
import { expect, it, vi } from 'vitest'
import type { Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { type AuthorizationServerOptions, startAuthorizationServer } from './authorization-server.ts'
import { walk } from './login-support.ts'

vi.setConfig({ testTimeout: 60_000 })

const { signal } = new AbortController()

it('a login lets a node in where its scope is asked for, until it logs out', async () => {
  const { near, far, call, logIn } = await startScoped()
  expect(await failureOf(call(near))).toMatchObject({ code: 'FORBIDDEN' })
  const id = await logIn(near)
  const shown = nextEvent(far, 'credential:presented', ({ method }) => method === 'oauth')
  expect(await call(near)).toEqual({ a: 1 })
  expect(await shown).toEqual({ peer: near.id, method: 'oauth', subject: 'agent', token: expect.any(String) })
  await near.logins.logout(id, { signal })
  expect(near.logins.list()).toEqual([])
})

it('a token is presented anew before its end, and calls go on', async () => {
  const { near, far, call, logIn } = await startScoped({ accessTokenTtl: 10 })
  await logIn(near)
  expect(await call(near)).toEqual({ a: 1 })
  let presented = 0
  far.on('credential:presented', ({ method, refusal }) => {
    if (method === 'oauth' && refusal === undefined) presented += 1
  })
  const until = Date.now() + 12_000
  let calls = 0
  // Longer than the first token lives
  while (Date.now() < until || presented < 2) {
    expect(await call(near)).toEqual({ a: 1 })
    calls += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(calls).toBeGreaterThan(50)
  // While it is being renewed it is expiring
  await expect.poll(() => near.logins.list(), { timeout: 5_000 }).toMatchObject([{ state: 'ok' }])
})

it("an agent exchanges its caller's token for one to call onward with, and no other caller's", async () => {
  const { server, near, far, logIn } = await startScoped()
  const audience = 'https://files.example.org/'
  await far.agents.add({
    name: 'onward',
    capabilities: [{ name: 'go', handler: async (_input, { caller }) => far.exchangeToken(caller, audience) }]
  })
  await far.policy.put([{ id: 'onward', effect: 'allow', who: '*', act: '*.call', res: 'tool:onward/*' }])
  await logIn(far)
  const go = () => near.call(`${far.id}/onward`, 'go')
  expect(await failureOf(go())).toMatchObject({
    code: 'NOT_FOUND',
    message: 'the caller has presented no access token'
  })
  await logIn(near)
  const { token } = (await go()) as { token: string }
  expect(decodeJwt(token)).toMatchObject({ iss: server.issuer, aud: audience, act: { sub: 'agent' } })
})

async function startScoped(options: AuthorizationServerOptions = {}) {
  const server = await startAuthorizationServer(options)
  const { issuer, clients } = server
  const [near, far] = [
    await startNode({ name: 'near' }),
    await startNode({ name: 'far', auth: { issuers: [{ issuer }] } })
  ]
  await far.agents.add({ name: 'echo', capabilities: [{ name: 'echo', handler: (input: unknown) => input }] })
  await far.policy.put([{ id: 'oauth', effect: 'allow', who: 'scope:tools.call', act: '*.call', res: 'tool:echo/*' }])
  await near.connect(addressOf(far))
  const { client_id: clientId, client_secret: clientSecret } = clients.confidential
  return {
    server,
    near,
    far,
    call: (node: Node) => node.call(`${far.id}/echo`, 'echo', { a: 1 }),
    logIn: async (node: Node): Promise<string> => {
      const init = { issuer, clientId, clientSecret, flow: 'client-credentials', scopes: ['tools.call'] } as const
      const steps = await walk(node.logins.login({ ...init, peers: [far.id] }, { signal }), server)
      const last = steps.at(-1)
      return last?.step === 'done' ? last.login.id : ''
    }
  }
}
