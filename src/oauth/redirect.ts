import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { abortable, MeshError } from '../errors.ts'

/** Where a browser is sent back to: RFC 8252 §7.3, loopback at any port. */
export interface Redirect {
  /** `http://127.0.0.1:<port>/callback` */
  readonly uri: string
  /** Waits for the answer. @throws {MeshError} TIMEOUT, CANCELLED */
  answer(signal: AbortSignal): Promise<URL>
  /** Closes the port at once. */
  close(): void
}

const PATH = '/callback'

/** A query with more than this is no answer of an issuer. */
const MAX_TARGET_LENGTH = 8_192

/**
 * Opens a port on loopback for one answer.
 *
 * @param state of that answer; requests without it are refused and change nothing
 * @throws {MeshError} IO
 */
export async function openRedirect(state: string): Promise<Redirect> {
  const { promise, resolve } = Promise.withResolvers<URL>()
  const server = createServer({ maxHeaderSize: 16_384, requestTimeout: 10_000 }, (request, response) => {
    const { url = '/', method } = request
    const target =
      url.length <= MAX_TARGET_LENGTH && URL.canParse(url, origin(server)) ? new URL(url, origin(server)) : undefined
    const isAnswer = method === 'GET' && target?.pathname === PATH && isSame(target.searchParams.getAll('state'), state)
    response.writeHead(isAnswer ? 200 : 400, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'",
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
      connection: 'close'
    })
    // Nothing of the request is shown
    response.end(
      isAnswer
        ? page('Back to your node: its terminal says how the login ended. You can close this.')
        : page('This is not the answer that this node waits for.')
    )
    if (isAnswer && target !== undefined) {
      server.close()
      resolve(target)
    }
  })
  server.maxConnections = 16
  await new Promise<void>((listening, failed) => {
    server.once('error', (err) => failed(new MeshError('IO', 'no port on 127.0.0.1 can be opened', { cause: err })))
    server.listen(0, '127.0.0.1', listening)
  })
  return {
    uri: `${origin(server)}${PATH}`,
    answer: (signal) => abortable(promise, signal),
    close() {
      server.close()
      server.closeAllConnections()
    }
  }
}

function origin(server: Server): string {
  const address = server.address()
  // Once closed it has none; what still comes in is refused by its state
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}

function isSame(given: readonly string[], expected: string): boolean {
  const [state, ...more] = given
  if (state === undefined || more.length > 0) return false
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(state), digest(expected))
}

function page(text: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>pryx-mesh</title><p>${text}</p></html>`
}
