import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { fingerprintFor } from '../../src/pairing/inviting.ts'
import { answerMac, epochKey, helloMac, inviteMac, rootOf } from '../../src/pairing/macs.ts'
import type { InviteBody, RedeemTerms } from '../../src/pairing/messages.ts'
import { readToken, writeToken } from '../../src/pairing/token.ts'

interface Vectors {
  readonly invite: InviteBody
  readonly token: string
  readonly fingerprint: string
  readonly redeem: { readonly from: string; readonly nonce: string; readonly mac: string }
  readonly answer: { readonly terms: RedeemTerms; readonly mac: string }
  readonly root: string
  readonly key1: string
  readonly hello: Record<'from' | 'to' | 'keyId' | 'time' | 'nonce' | 'mac', string>
}

const FILE = 'protocols/pair/1.0.0/vectors/secrets.json'
const { invite, token, fingerprint, redeem, answer, root, key1, hello }: Vectors = JSON.parse(
  readFileSync(FILE, 'utf8')
)
const secret = Buffer.from(invite.secret, 'base64url')
const redemption = { inviter: invite.peer, invitee: redeem.from, nonce: redeem.nonce }

it('the token of the vectors says what it should, and is what is written for it', () => {
  expect(readToken(token)).toEqual(invite)
  expect(writeToken(invite)).toBe(token)
  expect(fingerprintFor(invite.peer, invite.id, secret)).toBe(fingerprint)
})

it('the proofs of a redemption are those of the vectors', () => {
  expect(inviteMac(secret, redemption)).toBe(redeem.mac)
  expect(answerMac(secret, redemption, answer.terms)).toBe(answer.mac)
})

it('the secrets of a pair are those of the vectors, whichever side asks', () => {
  expect(rootOf(secret, invite.peer, redeem.from).toString('hex')).toBe(root)
  expect(rootOf(secret, redeem.from, invite.peer).toString('hex')).toBe(root)
  expect(epochKey(Buffer.from(root, 'hex'), 1).toString('hex')).toBe(key1)
  expect(helloMac(Buffer.from(key1, 'hex'), hello.from, hello.to, hello)).toBe(hello.mac)
})
