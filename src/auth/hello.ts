import { MeshError } from '../errors.ts'
import type { Endpoint } from '../rpc/index.ts'
import { HELLO } from './constants.ts'
import { type Hello, helloMessage } from './messages.ts'

export interface HelloComponents {
  /** What this node says of itself, now. */
  readonly describe: () => Hello
  /** Told what a peer said of itself. */
  readonly onHello?: (peer: string, hello: Hello) => void
}

/** Answers `hello/1.0.0`: both sides say the same things of themselves. */
export function createHello(components: HelloComponents): Endpoint {
  return {
    protocol: HELLO,
    handle(body, { caller }) {
      const hello = readHello(body)
      components.onHello?.(caller.peer, hello)
      return components.describe()
    }
  }
}

/** Checks what a peer sent as hello. @throws {MeshError} INVALID_MESSAGE */
export function readHello(body: unknown): Hello {
  const { success, data, error } = helloMessage.safeParse(body)
  if (success) return data
  const path = error.issues[0]?.path.join('.') ?? ''
  throw new MeshError(
    'INVALID_MESSAGE',
    `not a hello: ${path === '' ? 'it has the wrong shape' : `${path} is not valid`}`
  )
}
