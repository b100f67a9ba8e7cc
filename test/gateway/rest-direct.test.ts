import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { startEdge } from './edge-kit.ts'

const CALL = (target: string) => JSON.stringify({ target, capability: 'add', input: { a: 2, b: 3 } })

/** A connection, and what has come on it since it was last asked. */
async function open(url: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').setEncoding('utf8')
  onTestFinished(() => void socket.destroy())
  let text = ''
  socket.on('data', (part: string) => {
    text += part
  })
  await once(socket, 'connect')
  const answer = async (): Promise<string> => {
    await expect.poll(() => text, { timeout: 4_000 }).toMatch(/\}$/)
    const all = text
    text = ''
    return all
  }
  return { socket, answer }
}

it('an answer is the same whether its path needs a router or not', async () => {
  const { owner } = await startEdge()
  const [direct, routed] = await Promise.all([owner('GET', '/v1/agents'), owner('GET', '/v1/agents?limit=64')])
  const headersOf = ({ headers }: Response) => Object.fromEntries([...headers].filter(([name]) => name !== 'date'))
  expect(headersOf(direct)).toEqual(headersOf(routed))
  expect(await direct.json()).toEqual(await routed.json())
})

it.each([
  { id: 'whole', parts: (head: string, body: string) => [head + body] },
  { id: 'after its head', parts: (head: string, body: string) => [head, body] },
  {
    id: 'in pieces',
    parts: (head: string, body: string) => [head + body.slice(0, 9), body.slice(9, 20), body.slice(20)]
  }
])('a body that comes $id is read, and so is the next request', async ({ parts }) => {
  const { url, token, node } = await startEdge()
  const body = CALL(`${node.id}/calculator`)
  const head = `POST /v1/calls HTTP/1.1\r\nHost: ${new URL(url).host}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const { socket, answer } = await open(url)
  for (let n = 0; n < 2; n += 1) {
    for (const part of parts(head, body)) {
      await new Promise((resolve) => socket.write(part, resolve))
      // The edge has read what there is before the next part comes
      await fetch(`${url}/healthz`)
    }
    expect(await answer()).toMatch(/^HTTP\/1\.1 200 [^]*"result":5\}$/)
  }
})

it('who is refused before the body was read may ask again on the connection', async () => {
  const { url, token, node } = await startEdge()
  const body = CALL(`${node.id}/calculator`)
  const request = (bearer: string) =>
    `POST /v1/calls HTTP/1.1\r\nHost: ${new URL(url).host}\r\nAuthorization: Bearer ${bearer}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const { socket, answer } = await open(url)
  socket.write(request('mesh_k_guess'))
  expect(await answer()).toMatch(/^HTTP\/1\.1 401 /)
  socket.write(request(token))
  expect(await answer()).toMatch(/^HTTP\/1\.1 200 [^]*"result":5\}$/)
})

it('who is refused and goes on sending is cut off', async () => {
  const { url } = await startEdge()
  const { socket, answer } = await open(url)
  socket.write(
    `POST /v1/calls HTTP/1.1\r\nHost: ${new URL(url).host}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{`
  )
  expect(await answer()).toMatch(/^HTTP\/1\.1 401 /)
  await once(socket, 'close')
})
