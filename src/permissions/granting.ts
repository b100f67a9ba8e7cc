import { randomBytes } from 'node:crypto'
import { MeshError } from '../errors.ts'
import type { GrantTerms } from '../grants/index.ts'
import type { Rule } from '../policy/index.ts'
import { digest } from '../wire/index.ts'
import { MAX_GRANT_MS, MIN_GRANT_MS, ONCE_MS } from './constants.ts'
import type { Answer, PermissionRequest } from './index.ts'

/**
 * What an answer grants: `once` this very input, everything else any input; always the definition as it is now.
 *
 * @param now milliseconds since 1970
 */
export function termsOf(request: PermissionRequest, answer: Answer, now: number): GrantTerms & { holder: string } {
  const { peer, action, resource, input, digest } = request
  const common = { holder: peer, act: action, res: resource, ...(digest === undefined ? {} : { digest }) }
  const uses = answer.uses === undefined ? {} : { uses: answer.uses }
  switch (answer.remember) {
    case 'once':
      return { ...common, uses: 1, expiresAt: now + ONCE_MS, ...(input === undefined ? {} : { input: input.digest }) }
    case 'duration':
      return { ...common, ...uses, expiresAt: now + answer.forMs }
    case 'session':
    case 'always':
      return { ...common, ...uses }
  }
}

/** @throws {MeshError} INVALID_ARGUMENT when the answer makes no sense for this request */
export function checkAnswer({ remember }: PermissionRequest, answer: Answer): void {
  if (!remember.includes(answer.remember)) {
    throw new MeshError('INVALID_ARGUMENT', `the rule that asks lets a yes be remembered ${remember.join(', ')} only`)
  }
  const { uses } = answer
  if (uses !== undefined && (!Number.isSafeInteger(uses) || uses < 1)) {
    throw new MeshError('INVALID_ARGUMENT', 'uses is a whole number from 1')
  }
  if (answer.remember === 'once' && uses !== undefined && uses !== 1) {
    throw new MeshError('INVALID_ARGUMENT', 'once is one use', { hint: 'allow it for a time, with --for 1h --uses N' })
  }
  if (answer.remember !== 'duration') return
  const { forMs } = answer
  if (Number.isInteger(forMs) && forMs >= MIN_GRANT_MS && forMs <= MAX_GRANT_MS) return
  throw new MeshError('INVALID_ARGUMENT', `a duration is from ${MIN_GRANT_MS} to ${MAX_GRANT_MS} ms`)
}

/** @throws {MeshError} INVALID_ARGUMENT when it isn't open any more */
export function checkOpen({ id, state, answeredBy }: PermissionRequest): void {
  if (state === 'pending') return
  throw new MeshError(
    'INVALID_ARGUMENT',
    `request ${id} is ${state} already${answeredBy ? `, by ${answeredBy}` : ''}`,
    {
      hint: 'pryx-mesh approvals list shows what is pending'
    }
  )
}

/** 128 random bits, in hex: an id is an argument of commands and must not begin with a dash. */
export function newId(): string {
  return randomBytes(16).toString('hex')
}

/** The rule that denies this peer and resource for ever. */
export function denyRule({ peer, action, resource }: PermissionRequest): Rule {
  // The end of a PeerId is its key; 16 characters of it nobody else can have. Longer resources than an id may be: their digest
  const short = peer.slice(-16).replace(/[^A-Za-z0-9]/g, '-')
  const what = /^[A-Za-z0-9._:@/-]{1,100}$/.test(resource) ? resource : digest(resource)
  return { id: `deny:${short}:${what}`, effect: 'deny', who: peer, act: action, res: resource }
}
