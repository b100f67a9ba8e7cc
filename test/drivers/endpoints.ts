import { once } from 'node:events'
import { chmod, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { EndpointComponents } from '../../src/drivers/endpoint-auth.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { tempFolder } from '../temp.ts'

export type Answer = (request: IncomingMessage & { readonly body: string }, response: ServerResponse) => void

/** What an endpoint was asked. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface TestEndpoint {
  readonly url: string
  readonly server: Server
  /** All but HEAD, in order. */
  readonly seen: Seen[]
}

/** An HTTP server that answers HEAD with yes and all else as the test says. */
export async function startEndpoint(answer: Answer): Promise<TestEndpoint> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.once('end', () => {
      const body = Buffer.concat(chunks).toString()
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body })
      answer(Object.assign(request, { body }), response)
    })
  })
  const port = await listening(server)
  return { url: `http://127.0.0.1:${port}`, server, seen }
}

export async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

export function json(response: ServerResponse, value: unknown, status = 200, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(value))
}

/** A node's part of a driver, with a clock that the test moves. */
export function components(): EndpointComponents & { now: number } {
  const made = { identity: createIdentity(), now: Date.now(), clock: () => made.now, random: () => 0.5 }
  return made
}

/** A file with a secret, readable by its owner unless another mode is given. */
export async function secretFile(text: string, mode = 0o600): Promise<string> {
  const path = join(await tempFolder(), 'secret')
  await writeFile(path, text)
  await chmod(path, mode)
  return path
}
