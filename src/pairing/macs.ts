import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { canonicalJson } from '../wire/index.ts'
import type { RedeemTerms, SecretProof } from './messages.ts'

const INVITE_LABEL = 'pryx-mesh-invite-v1'
const ANSWER_LABEL = 'pryx-mesh-invite-answer-v1'
const PAIR_LABEL = 'pryx-mesh-pair-v1'
const HELLO_LABEL = 'pryx-mesh-hello-v1'

const KEY_BYTES = 32

/** Who redeems what of whom; the nonce is the invitee's. */
export interface Redemption {
  readonly inviter: string
  readonly invitee: string
  readonly nonce: string
}

/** Shows the inviter that the invitee has the invite's secret. */
export function inviteMac(secret: Buffer, { inviter, invitee, nonce }: Redemption): string {
  return mac(secret, [INVITE_LABEL, inviter, invitee, nonce])
}

/** Shows the invitee that the inviter has it too, and said these terms. */
export function answerMac(secret: Buffer, { inviter, invitee, nonce }: Redemption, terms: RedeemTerms): string {
  return mac(secret, [ANSWER_LABEL, inviter, invitee, nonce, canonicalJson(terms)])
}

/** What a pair shares from the invite's secret on: the same on both sides. */
export function rootOf(secret: Buffer, one: string, other: string): Buffer {
  return expand(secret, [PAIR_LABEL, ...[one, other].sort()].join('\0'))
}

/** The pair's secret of one epoch. */
export function epochKey(root: Buffer, epoch: number): Buffer {
  return expand(root, `http-${epoch}`)
}

/** Shows a peer that `from` has the pair's secret now. */
export function helloMac(
  key: Buffer,
  from: string,
  to: string,
  { keyId, time, nonce }: Pick<SecretProof, 'keyId' | 'time' | 'nonce'>
): string {
  return mac(key, [HELLO_LABEL, from, to, keyId, time, nonce])
}

/** In constant time, for texts of one length. */
export function isSame(one: string, other: string): boolean {
  const [left, right] = [Buffer.from(one), Buffer.from(other)]
  return left.length === right.length && timingSafeEqual(left, right)
}

function mac(key: Buffer, parts: readonly string[]): string {
  return createHmac('sha256', key).update(parts.join('\0')).digest('base64url')
}

function expand(key: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, '', info, KEY_BYTES))
}
