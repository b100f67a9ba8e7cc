/** Orientation, not a peer: node:http with keep-alive, one connection for each call in flight. */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { nthItem } from '../payload.ts'
import type { System } from '../system.ts'

export const system: System = {
  async serve() {
    const server = createServer((req, res) => {
      answer(req, res).catch((err: unknown) => res.destroy(err as Error))
    })
    server.keepAliveTimeout = 60_000
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    return {
      contact: { port },
      close: async () => {
        server.close()
        server.closeAllConnections()
      }
    }
  },

  async connect({ port }) {
    const { post, agent } = poster(Number(port))
    return {
      call: async (message) => JSON.parse(await text(await post('/echo', JSON.stringify(message)))),
      stream: async (count, onItem) => {
        const res = await post('/items', JSON.stringify({ count }))
        let rest = ''
        for await (const chunk of res.setEncoding('utf8')) {
          const events = (rest + (chunk as string)).split('\n\n')
          rest = events.pop() ?? ''
          for (const event of events) onItem(JSON.parse(event.slice('data: '.length)))
        }
      },
      close: async () => agent.destroy()
    }
  }
}

/** A client with as many connections as it has requests under way. */
export function poster(port: number, more: Readonly<Record<string, string>> = {}) {
  const agent = new Agent({ keepAlive: true })
  const post = (path: string, body: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...more }
      request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }, resolve).on('error', reject).end(body)
    })
  return { agent, post }
}

async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = JSON.parse(await text(req)) as { count: number }
  if (req.url === '/echo') {
    const echo = JSON.stringify(body)
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(echo) }).end(echo)
    return
  }
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  for (let i = 0; i < body.count; i++) {
    if (!res.write(`data: ${JSON.stringify(nthItem(i))}\n\n`)) await once(res, 'drain')
  }
  res.end()
}

export function text(message: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    message.on('data', (part: Buffer) => parts.push(part))
    message.on('end', () => resolve(Buffer.concat(parts).toString()))
    message.on('error', reject)
  })
}
