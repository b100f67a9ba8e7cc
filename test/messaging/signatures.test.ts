import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { identityFrom } from '../../src/identity/identity.ts'
import { createIdentity } from '../../src/identity/index.ts'
import {
  createBatchVerifier,
  digestOf,
  signBatch,
  signReceipts,
  verifyReceipts
} from '../../src/messaging/signatures.ts'
import { failureOf } from '../nodes.ts'

const page = readFileSync(new URL('../../protocols/message/1.0.0/README.md', import.meta.url), 'utf8')
const seed = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
// RFC 8410 §7
const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
const ann = identityFrom(createPrivateKey({ format: 'der', type: 'pkcs8', key: der }))
const eve = createIdentity()

const texts = ['{"n":1}', '{"n":2}']
const receipt = { id: '01KASB7G00F8Z3N1Q2R4S5T6V7', state: 'processed', at: 1_795_428_000_123 } as const
const [batch, receipts] = [signBatch(ann, texts), signReceipts(ann, [receipt])]

it('signs as the page shows it', () => {
  expect(page).toContain(`\n    ${batch}\n    ${receipts}\n`)
})

it('a signature vouches for each text of its batch, and for no other', () => {
  const { did, digests } = createBatchVerifier()(batch)
  expect(did).toBe(ann.did)
  expect([...digests]).toEqual(texts.map(digestOf))
})

it('receipts are read as they were signed', () => {
  const items = [{ ...receipt, state: 'failed', code: 'AGENT_ERROR', reason: 'no. ä "quoted" \ud83d\ude00' } as const]
  expect(verifyReceipts(signReceipts(ann, items))).toEqual({ did: ann.did, items })
})

const parts = (text: string): string[] => text.split('.')
const [did = '', signature = '', content = ''] = parts(batch)
const zeros = Buffer.alloc(64).toString('base64url')
const short = (bytes: number) => Buffer.alloc(bytes).toString('base64url')
const signedOf = (bytes: Buffer) =>
  `${did}.${Buffer.from(ann.signBytes('pryx-mesh-messages/1', bytes)).toString('base64url')}.${bytes.toString('base64url')}`
const isBatch = async (text: string) => createBatchVerifier()(text)
const isReceipts = async (text: string) => verifyReceipts(text)

it.each([
  { id: 'another signer', read: isBatch, text: batch.replace(did, eve.did), code: 'INVALID_RECORD' },
  { id: 'another signature', read: isBatch, text: `${did}.${zeros}.${content}`, code: 'INVALID_RECORD' },
  { id: 'other digests', read: isBatch, text: `${did}.${signature}.${short(32)}`, code: 'INVALID_RECORD' },
  { id: 'receipts in place of messages', read: isBatch, text: receipts, code: 'INVALID_MESSAGE' },
  {
    id: 'messages that were signed as receipts',
    read: isBatch,
    text: `${did}.${Buffer.from(ann.signBytes('pryx-mesh-receipts/1', Buffer.from(content, 'base64url'))).toString('base64url')}.${content}`,
    code: 'INVALID_RECORD'
  },
  { id: 'no did:key', read: isBatch, text: `did:web:a.${signature}.${content}`, code: 'INVALID_MESSAGE' },
  { id: 'two parts', read: isBatch, text: `${did}.${signature}`, code: 'INVALID_MESSAGE' },
  { id: 'one part', read: isBatch, text: signature, code: 'INVALID_MESSAGE' },
  { id: 'a short signature', read: isBatch, text: `${did}.${short(63)}.${content}`, code: 'INVALID_MESSAGE' },
  { id: 'padding', read: isBatch, text: `${did}.${signature}==.${content}`, code: 'INVALID_MESSAGE' },
  { id: 'digests with padding', read: isBatch, text: `${batch}=`, code: 'INVALID_MESSAGE' },
  { id: 'half a digest', read: isBatch, text: signedOf(Buffer.alloc(48)), code: 'INVALID_MESSAGE' },
  { id: 'no digest', read: isBatch, text: signedOf(Buffer.alloc(0)), code: 'INVALID_MESSAGE' },
  { id: '65 digests', read: isBatch, text: signedOf(Buffer.alloc(65 * 32)), code: 'INVALID_MESSAGE' },
  { id: 'too long a text', read: isBatch, text: `${batch}${'a'.repeat(3_072)}`, code: 'TOO_LARGE' },
  { id: 'receipts of another', read: isReceipts, text: receipts.replace(did, eve.did), code: 'INVALID_RECORD' },
  {
    id: 'changed receipts',
    read: isReceipts,
    text: receipts.replace('processed', 'delivered'),
    code: 'INVALID_RECORD'
  },
  { id: 'messages in place of receipts', read: isReceipts, text: batch, code: 'INVALID_RECORD' },
  { id: 'no receipts', read: isReceipts, text: signReceipts(ann, []), code: 'INVALID_MESSAGE' },
  { id: '257 receipts', read: isReceipts, text: signReceipts(ann, Array(257).fill(receipt)), code: 'INVALID_MESSAGE' }
])('refuses $id', async ({ read, text, code }) => {
  expect(await failureOf(read(text))).toMatchObject({ code })
})
