import type { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Endpoint } from '../rpc/index.ts'
import { HELLO } from './constants.ts'
import type { Auth, Presented } from './index.ts'
import { type Hello, type HelloAnswer, helloAnswer, helloRequest } from './messages.ts'

export interface HelloComponents {
  readonly auth: Pick<Auth, 'present'>
  /** What this node says of itself, now. */
  readonly describe: () => Hello
  /** Told what a peer said of itself. */
  readonly onHello?: (peer: string, hello: Hello) => void
  /** Told what became of a credential that a peer presented. */
  readonly onPresented?: (peer: string, method: string, presented: Presented) => void
}

/** Answers `hello/1.0.0`: both sides say the same things of themselves, and the asking one may present credentials. */
export function createHello(components: HelloComponents): Endpoint {
  const { auth, describe, onHello, onPresented } = components
  return {
    protocol: HELLO,
    handle(body, { session, signal }) {
      const { credentials, ...hello } = read(helloRequest, body)
      const { peer } = session.caller
      onHello?.(peer, hello)
      if (credentials === undefined) return describe()
      return auth.present(session, credentials, { signal }).then((presented): HelloAnswer => {
        const methods = credentials.map(({ method }) => method)
        presented.forEach((each, n) => onPresented?.(peer, methods[n] ?? '', each))
        return { ...describe(), credentials: presented.map((each, n) => report(methods[n] ?? '', each)) }
      })
    }
  }
}

/** Checks what a peer answered to a hello. @throws {MeshError} INVALID_MESSAGE */
export function readHello(body: unknown): HelloAnswer {
  return read(helloAnswer, body)
}

function read<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const { success, data, error } = schema.safeParse(body)
  if (success) return data
  const path = error.issues[0]?.path.join('.') ?? ''
  throw new MeshError(
    'INVALID_MESSAGE',
    `not a hello: ${path === '' ? 'it has the wrong shape' : `${path} is not valid`}`
  )
}

function report(method: string, presented: Presented): NonNullable<HelloAnswer['credentials']>[number] {
  if (!presented.ok) {
    const { code, message, data } = presented.error
    const reason = (data as { reason?: string } | undefined)?.reason
    return { ok: false, method, error: { code, message, ...(reason === undefined ? {} : { data: { reason } }) } }
  }
  const { scopes, expiresAt } = presented.credential
  return {
    ok: true,
    method,
    ...(scopes.length === 0 ? {} : { scopes: [...scopes] }),
    ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() })
  }
}
