import { createSecretKey } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { expect, it } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { createHttpDriver } from '../../src/drivers/http.ts'
import { createWebSocketDriver } from '../../src/drivers/websocket.ts'
import { type HttpSignatureKey, httpKeyOfDid, readSignature, verifyRequest } from '../../src/wire/index.ts'
import { makeCertificate } from '../auth/certificates.ts'
import { startAuthorizationServer } from '../oauth/authorization-server.ts'
import { tempFolder } from '../temp.ts'
import { components, json, listening, type Seen, secretFile, startEndpoint } from './endpoints.ts'
import { connect } from './support.ts'

const SECRET = 'the-secret-of-the-endpoint'
const capabilities = [{ name: 'do' }]

/** An endpoint that is asked once, and what it saw. */
async function askedWith(auth: unknown, made = components()) {
  const endpoint = await startEndpoint((_, response) => json(response, 'ok'))
  const connected = await connect(createHttpDriver(made), { url: `${endpoint.url}/a?t=1`, capabilities, auth })
  await connected.describe()
  await connected.call('do', { a: 1 })
  return { ...connected, ...endpoint, made }
}

const code = (expected: string) => expect.objectContaining({ code: expected })

it.each([
  { auth: { type: 'api-key', header: 'X-Key' }, header: 'x-key', value: SECRET },
  { auth: { type: 'bearer' }, header: 'authorization', value: `Bearer ${SECRET}` }
])('shows the secret of $auth.type', async ({ auth, header, value }) => {
  const { seen } = await askedWith({ ...auth, secretFile: await secretFile(`${SECRET}\n`) })
  expect(seen[0]?.headers[header]).toBe(value)
})

it.each([
  { id: 'others may read', file: () => secretFile(SECRET, 0o644), text: 'can be read or written by others' },
  { id: 'is empty', file: () => secretFile('\n'), text: 'is empty' },
  { id: 'is too large', file: () => secretFile('x'.repeat(20_000)), text: 'too large' },
  { id: 'is not there', file: async () => join(await tempFolder(), 'none'), text: 'is not there' }
])('refuses a file that $id, and does not say what is in it', async ({ file, text }) => {
  const failed = await askedWith({ type: 'bearer', secretFile: await file() }).catch((err: unknown) => err)
  expect(failed).toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining(text) })
  expect(JSON.stringify(failed)).not.toContain(SECRET)
})

it('shows no secret to whom the endpoint redirects', async () => {
  const other = await startEndpoint((_, response) => json(response, 'ok'))
  const endpoint = await startEndpoint((_, response) =>
    response.writeHead(307, { location: `${other.url}/elsewhere` }).end()
  )
  const auth = { type: 'bearer', secretFile: await secretFile(SECRET) }
  const { call, describe } = await connect(createHttpDriver(components()), { url: endpoint.url, capabilities, auth })
  await describe()
  expect(await call('do', { a: 1 })).toBe('ok')
  expect(endpoint.seen[0]?.headers.authorization).toBe(`Bearer ${SECRET}`)
  expect(other.seen).toMatchObject([{ url: '/elsewhere', body: '{"a":1}' }])
  expect(other.seen[0]?.headers).not.toHaveProperty('authorization')
})

function verify({ method, url, headers, body }: Seen, host: string, key: HttpSignatureKey, now: number) {
  const fields = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
  const signature = readSignature(fields)
  if (signature === undefined) throw new Error('there is no signature')
  const request = { method, url: new URL(url, host), headers: fields, body: Buffer.from(body) }
  return { keyId: signature.keyId, ...verifyRequest(request, signature, { key, now }) }
}

it('signs with a shared secret, each request with a nonce of its own', async () => {
  const auth = { type: 'hmac', keyId: 'node-1', secretFile: await secretFile(SECRET) }
  const { call, seen, url, made } = await askedWith(auth)
  await call('do', { a: 2 })
  const key: HttpSignatureKey = { algorithm: 'hmac-sha256', key: createSecretKey(Buffer.from(SECRET)) }
  const checked = seen.map((one) => verify(one, url, key, made.now))
  expect(checked.map(({ keyId }) => keyId)).toEqual(['node-1', 'node-1'])
  expect(new Set(checked.map(({ nonce }) => nonce)).size).toBe(2)
})

it("signs with the node's key, under its did:key", async () => {
  const { seen, url, made } = await askedWith({ type: 'ed25519' })
  const [first] = seen
  if (first === undefined) throw new Error('nothing was asked')
  const { did } = made.identity
  expect(verify(first, url, httpKeyOfDid(did), made.now).keyId).toBe(did)
})

it('signs the request that opens a WebSocket', async () => {
  const made = components()
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const opened = once(server, 'connection') as Promise<[WebSocket, IncomingMessage]>
  const url = `ws://127.0.0.1:${(server.address() as { port: number }).port}/agent?a=1`
  const connecting = connect(createWebSocketDriver(made), { url, auth: { type: 'ed25519' } })
  const [socket, { headers, url: path = '' }] = await opened
  socket.send(JSON.stringify({ type: 'hello', capabilities: [] }))
  await connecting
  const seen = { method: 'GET', url: path, headers, body: '' }
  expect(verify(seen, url, httpKeyOfDid(made.identity.did), made.now).keyId).toBe(made.identity.did)
  server.close()
})

async function oauth(options: Parameters<typeof startAuthorizationServer>[0] = {}, status = () => 200) {
  const server = await startAuthorizationServer(options)
  const { client_id: clientId, client_secret: secret } = server.clients.confidential
  const endpoint = await startEndpoint((_, response) => json(response, 'ok', status()))
  const auth = {
    type: 'oauth',
    issuer: server.issuer,
    clientId,
    secretFile: await secretFile(secret),
    scopes: ['tools.call'],
    resource: 'https://agent.example/'
  }
  const made = components()
  const open = async (changed = {}) => {
    const config = { url: endpoint.url, capabilities, auth: { ...auth, ...changed } }
    const connected = await connect(createHttpDriver(made), config)
    await connected.describe()
    return connected
  }
  return { ...endpoint, server, open, made, secret }
}

const supported = { resource: 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK' }

it('has a token issued once for all who wait, and again when it is about to expire', async () => {
  const { server, open, made, seen } = await oauth()
  const { call } = await open(supported)
  await Promise.all([call('do'), call('do'), call('do')])
  expect(server.requestsTo('/token')).toBe(1)
  const tokens = () => new Set(seen.map(({ headers }) => headers.authorization))
  expect([...tokens()]).toEqual([expect.stringMatching(/^Bearer [\w.-]+$/)])
  made.now += 269_000
  await call('do')
  expect(tokens().size).toBe(1)
  made.now += 2_000
  await call('do')
  expect(server.requestsTo('/token')).toBe(2)
  expect(tokens().size).toBe(2)
})

it('has another token issued when the endpoint refuses one that it took before, and only then', async () => {
  let refusals = 0
  const { server, open, seen } = await oauth({}, () => {
    refusals -= 1
    return refusals >= 0 ? 401 : 200
  })
  const { call } = await open(supported)
  await call('do')
  refusals = 1
  expect(await call('do')).toBe('ok')
  expect([server.requestsTo('/token'), seen.length]).toEqual([2, 3])
  refusals = 10
  await expect(call('do')).rejects.toMatchObject({ code: 'AGENT_ERROR', data: { status: 401 } })
  expect([server.requestsTo('/token'), seen.length]).toEqual([3, 5])
})

it('is unavailable without a token, and says nothing of the secret', async () => {
  const { server, open, seen, secret } = await oauth()
  const wrong = await open({ ...supported, secretFile: await secretFile('not-the-secret') }).catch(
    (err: unknown) => err
  )
  expect(wrong).toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  expect(JSON.stringify(wrong)).not.toContain('not-the-secret')
  server.setDown(true)
  const down = await open(supported).catch((err: unknown) => err)
  expect(down).toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  expect(JSON.stringify(down)).not.toContain(secret)
  expect(seen).toEqual([])
})

it('takes no secret to where an issuer redirects', async () => {
  const { server, open } = await oauth()
  let isAsked = false
  const other = await startEndpoint((_, response) => {
    isAsked = true
    json(response, {})
  })
  server.intercept('/token', (_, response) => response.writeHead(307, { location: other.url }).end())
  await expect(open(supported)).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  expect(isAsked).toBe(false)
})

it('shows its certificate, and accepts none but that of the authority it knows', async () => {
  const authority = await makeCertificate({ subject: 'CN=authority', isAuthority: true })
  const theirs = await makeCertificate({ subject: 'CN=localhost', issuer: authority, uris: [] })
  const mine = await makeCertificate({ subject: 'CN=node', issuer: authority })
  const server = createServer(
    { cert: theirs.cert, key: theirs.key, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
    ({ socket }, response) => json(response, (socket as TLSSocket).getPeerCertificate().subject.CN)
  )
  const url = `https://localhost:${await listening(server)}/`
  const auth = {
    type: 'mtls',
    certFile: await secretFile(mine.cert, 0o644),
    keyFile: await secretFile(mine.key)
  }
  const caFile = await secretFile(authority.cert, 0o644)
  const { call, describe } = await connect(createHttpDriver(components()), {
    url,
    capabilities,
    auth: { ...auth, caFile }
  })
  await describe()
  expect(await call('do')).toBe('node')
  const stranger = { url, capabilities, auth }
  await expect(connect(createHttpDriver(components()), stranger)).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  const open = { ...stranger, auth: { ...auth, caFile, keyFile: await secretFile(mine.key, 0o640) } }
  await expect(connect(createHttpDriver(components()), open)).rejects.toThrow(code('INVALID_CONFIG'))
})
