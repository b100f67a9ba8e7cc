import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { hintVectors } from '../../scripts/hint-vectors.ts'
import { signedVectors } from '../../scripts/vectors.ts'
import { readHello } from '../../src/auth/index.ts'
import { helloAnswer, helloRequest } from '../../src/auth/messages.ts'
import { blobHeader, blobRequest } from '../../src/blobs/messages.ts'
import { callRequest } from '../../src/calls/messages.ts'
import { verifyHint } from '../../src/discovery/dht-hint.ts'
import { hintsGetAnswer, hintsPutAnswer, hintsRequest, hintsWithdrawAnswer } from '../../src/discovery/hint-messages.ts'
import { hintsAnswer, queryAnswer, watchItem } from '../../src/discovery/messages.ts'
import { nameKey, segmentKey } from '../../src/discovery/names.ts'
import { createRecordsEndpoint } from '../../src/discovery/records.ts'
import { readMessage } from '../../src/discovery/topics.ts'
import { agentFrame, nodeFrame } from '../../src/drivers/agent-frames.ts'
import { MeshError } from '../../src/errors.ts'
import { authFrame, clientFrame, edgeFrame } from '../../src/gateway/ws/frames.ts'
import { infoAnswer, pingAnswer, statusRequest } from '../../src/health/messages.ts'
import {
  collectAnswer,
  mailboxRequest,
  mailboxStatement,
  registerAnswer,
  statementAnswer
} from '../../src/messaging/mailbox/messages.ts'
import { deliverAnswer, envelope, receipts as messageReceipts, messageRequest } from '../../src/messaging/messages.ts'
import {
  inviteBody,
  ownerProof,
  ownerStatement,
  redeemAnswer,
  redeemRequest,
  secretProof
} from '../../src/pairing/messages.ts'
import { checkAnswer, checkBody } from '../../src/permissions/check.ts'
import { permissionMessage, statusAnswer } from '../../src/permissions/messages.ts'
import { policyDocument } from '../../src/policy/index.ts'
import { readRecord } from '../../src/registry/index.ts'
import { agentRecord, type CapabilityKind } from '../../src/registry/messages.ts'
import { frame, isFrame } from '../../src/rpc/messages.ts'
import { FrameDecoder, MAX_MESSAGE_BYTES, parseJson } from '../../src/wire/index.ts'
import { contextOf } from '../callers.ts'

interface Vector {
  readonly name: string
  readonly def: string
  readonly value?: unknown
  /** In place of `value`, what JSON can't say. */
  readonly text?: string
  readonly code?: string
  /** Only code can refuse it. */
  readonly schema?: 'valid'
}

interface Parser {
  readonly folder: string
  readonly def: string
  /** @returns the code it is refused with, or undefined */
  readonly parse: (value: unknown) => string | undefined
}

function read<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../../protocols/${path}`, import.meta.url), 'utf8')) as T
}

interface Schema {
  safeParse(value: unknown): { readonly success: boolean }
}

const bySchema =
  (schema: Schema, code: string) =>
  (value: unknown): string | undefined =>
    schema.safeParse(value).success ? undefined : code

const byThrowing =
  (read: (value: unknown) => unknown) =>
  (value: unknown): string | undefined => {
    try {
      read(value)
      return undefined
    } catch (err) {
      return err instanceof MeshError ? err.code : String(err)
    }
  }

const recordsEndpoint = createRecordsEndpoint({
  local: {
    get: () => undefined,
    all: () => [],
    refresh: () => undefined,
    remove: () => undefined,
    named: () => undefined,
    onChange: () => () => {}
  },
  hints: () => [],
  onChanged: () => {}
})

function askForRecords(body: unknown): unknown {
  const caller = { peer: 'peer', credentials: [], trust: 'unknown', binding: 'noise' } as const
  return recordsEndpoint.handle(body, contextOf(caller, AbortSignal.abort()))
}

const TOPIC = '/pryx-mesh/catalogue/1'
const AUTHOR = '12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV'

/** What becomes of a gossip message: read, or dropped in one of two ways. */
function verdict(topic: string, author: string, data: string): 'read' | 'ignore' | 'reject' {
  const message = readMessage(topic, author, Buffer.from(data))
  if (typeof message === 'object') return 'read'
  return message === 'later' ? 'ignore' : 'reject'
}

const PARSERS: readonly Parser[] = [
  { folder: 'channel/1.0.0', def: 'frame', parse: bySchema(frame, 'INVALID_MESSAGE') },
  {
    folder: 'channel/1.0.0',
    def: 'frame',
    parse: (value) => (isFrame(value) ? undefined : 'INVALID_MESSAGE')
  },
  { folder: 'hello/1.0.0', def: 'hello', parse: byThrowing(readHello) },
  { folder: 'hello/1.0.0', def: 'request', parse: bySchema(helloRequest, 'INVALID_MESSAGE') },
  { folder: 'hello/1.0.0', def: 'answer', parse: bySchema(helloAnswer, 'INVALID_MESSAGE') },
  { folder: 'message/1.0.0', def: 'request', parse: bySchema(messageRequest, 'INVALID_MESSAGE') },
  { folder: 'message/1.0.0', def: 'deliverAnswer', parse: bySchema(deliverAnswer, 'INVALID_MESSAGE') },
  { folder: 'message/1.0.0', def: 'envelope', parse: bySchema(envelope, 'INVALID_MESSAGE') },
  { folder: 'message/1.0.0', def: 'receipts', parse: bySchema(messageReceipts, 'INVALID_MESSAGE') },
  { folder: 'mailbox/1.0.0', def: 'request', parse: bySchema(mailboxRequest, 'INVALID_MESSAGE') },
  { folder: 'mailbox/1.0.0', def: 'statementAnswer', parse: bySchema(statementAnswer, 'INVALID_MESSAGE') },
  { folder: 'mailbox/1.0.0', def: 'registerAnswer', parse: bySchema(registerAnswer, 'INVALID_MESSAGE') },
  { folder: 'mailbox/1.0.0', def: 'collectAnswer', parse: bySchema(collectAnswer, 'INVALID_MESSAGE') },
  { folder: 'mailbox/1.0.0', def: 'mailboxes', parse: bySchema(mailboxStatement, 'INVALID_MESSAGE') },
  { folder: 'call/1.0.0', def: 'request', parse: bySchema(callRequest, 'INVALID_MESSAGE') },
  { folder: 'blob/1.0.0', def: 'request', parse: bySchema(blobRequest, 'INVALID_MESSAGE') },
  { folder: 'blob/1.0.0', def: 'header', parse: bySchema(blobHeader, 'INVALID_MESSAGE') },
  { folder: 'permission/1.0.0', def: 'request', parse: bySchema(permissionMessage, 'INVALID_MESSAGE') },
  { folder: 'permission/1.0.0', def: 'status', parse: bySchema(statusAnswer, 'INVALID_MESSAGE') },
  { folder: 'permission/1.0.0', def: 'check', parse: bySchema(checkBody, 'INVALID_MESSAGE') },
  { folder: 'permission/1.0.0', def: 'checkAnswer', parse: bySchema(checkAnswer, 'INVALID_MESSAGE') },
  { folder: 'status/1.0.0', def: 'request', parse: bySchema(statusRequest, 'INVALID_MESSAGE') },
  { folder: 'status/1.0.0', def: 'pingAnswer', parse: bySchema(pingAnswer, 'INVALID_MESSAGE') },
  { folder: 'status/1.0.0', def: 'infoAnswer', parse: bySchema(infoAnswer, 'INVALID_MESSAGE') },
  { folder: 'records/1.0.0', def: 'request', parse: byThrowing(askForRecords) },
  { folder: 'records/1.0.0', def: 'queryAnswer', parse: bySchema(queryAnswer, 'INVALID_RECORD') },
  { folder: 'records/1.0.0', def: 'watchItem', parse: bySchema(watchItem, 'INVALID_RECORD') },
  { folder: 'records/1.0.0', def: 'hintsAnswer', parse: bySchema(hintsAnswer, 'INVALID_RECORD') },
  { folder: 'records/1.0.0', def: 'record', parse: bySchema(agentRecord, 'INVALID_RECORD') },
  { folder: 'hints/1.0.0', def: 'request', parse: bySchema(hintsRequest, 'INVALID_MESSAGE') },
  { folder: 'hints/1.0.0', def: 'putAnswer', parse: bySchema(hintsPutAnswer, 'INVALID_MESSAGE') },
  { folder: 'hints/1.0.0', def: 'getAnswer', parse: bySchema(hintsGetAnswer, 'INVALID_MESSAGE') },
  { folder: 'hints/1.0.0', def: 'withdrawAnswer', parse: bySchema(hintsWithdrawAnswer, 'INVALID_MESSAGE') },
  { folder: 'pair/1.0.0', def: 'request', parse: bySchema(redeemRequest, 'INVALID_MESSAGE') },
  { folder: 'pair/1.0.0', def: 'answer', parse: bySchema(redeemAnswer, 'INVALID_MESSAGE') },
  { folder: 'pair/1.0.0', def: 'invite', parse: bySchema(inviteBody, 'INVALID_ARGUMENT') },
  { folder: 'pair/1.0.0', def: 'secretProof', parse: bySchema(secretProof, 'UNAUTHENTICATED') },
  { folder: 'pair/1.0.0', def: 'ownerProof', parse: bySchema(ownerProof, 'UNAUTHENTICATED') },
  { folder: 'pair/1.0.0', def: 'ownerStatement', parse: bySchema(ownerStatement, 'UNAUTHENTICATED') },
  {
    folder: 'topics/1',
    def: 'message',
    parse(value) {
      const outcome = verdict(TOPIC, AUTHOR, JSON.stringify(value))
      return outcome === 'read' ? undefined : outcome
    }
  },
  { folder: 'ws/1.0.0', def: 'auth', parse: bySchema(authFrame, 'INVALID_MESSAGE') },
  { folder: 'ws/1.0.0', def: 'client', parse: bySchema(clientFrame, 'INVALID_MESSAGE') },
  { folder: 'ws/1.0.0', def: 'agent', parse: bySchema(agentFrame, 'INVALID_MESSAGE') },
  { folder: 'ws/1.0.0', def: 'edge', parse: bySchema(edgeFrame, 'INVALID_MESSAGE') },
  { folder: 'ws/1.0.0', def: 'node', parse: bySchema(nodeFrame, 'INVALID_MESSAGE') },
  { folder: 'policy', def: 'document', parse: bySchema(policyDocument, 'INVALID_CONFIG') }
]

const FOLDERS = [...new Set(PARSERS.map(({ folder }) => folder))]

// By the words of protocols/README.md: formats are not checked, their patterns are.
const ajv = new Ajv2020({ validateFormats: false, strictTypes: false })
for (const folder of FOLDERS) ajv.addSchema(read<object>(`${folder}/schema.json`), folder)

const fitsSchema = (folder: string, def: string, value: unknown): boolean =>
  ajv.validate(`${folder}#/$defs/${def}`, value)

describe.each(FOLDERS)('vectors of %s', (folder) => {
  const valid = read<Vector[]>(`${folder}/vectors/valid.json`)
  const invalid = read<Vector[]>(`${folder}/vectors/invalid.json`)
  const parsersOf = (def: string) => PARSERS.filter((each) => each.folder === folder && each.def === def)

  it('have names of their own and definitions that the schema has', () => {
    const { $defs } = read<{ $defs: Record<string, unknown> }>(`${folder}/schema.json`)
    const keys = [...valid, ...invalid].map(({ def, name }) => `${def}: ${name}`)
    expect(keys).toHaveLength(new Set(keys).size)
    for (const { def } of [...valid, ...invalid]) {
      expect(Object.keys($defs)).toContain(def)
      expect(parsersOf(def)).not.toHaveLength(0)
    }
    expect(new Set(valid.map(({ def }) => def))).toEqual(new Set(parsersOfFolder(folder)))
  })

  it.each(valid)('$def: $name is accepted by code and schema', ({ def, value }) => {
    for (const { parse } of parsersOf(def)) expect(parse(value)).toBeUndefined()
    expect(parseJson(JSON.stringify(value))).toEqual(value)
    expect(fitsSchema(folder, def, value)).toBe(true)
  })

  it.each(invalid.filter(({ text }) => text === undefined))('$def: $name is refused with $code', (vector) => {
    const { def, value, code, schema } = vector
    for (const { parse } of parsersOf(def)) expect(parse(value)).toBe(code)
    expect(fitsSchema(folder, def, value)).toBe(schema === 'valid')
  })
})

const TEXTS = FOLDERS.flatMap((folder) => read<Vector[]>(`${folder}/vectors/invalid.json`)).filter(
  (vector): vector is Vector & { text: string } => vector.text !== undefined
)

it.each(TEXTS)('$def: $name is refused by the parser of JSON with $code', ({ text, code }) => {
  expect(byThrowing(() => parseJson(Buffer.from(text)))(undefined)).toBe(code)
})

function parsersOfFolder(folder: string): string[] {
  return PARSERS.filter((each) => each.folder === folder).map(({ def }) => def)
}

interface BytesVector {
  readonly name: string
  readonly chunks: readonly string[]
  /** The texts of the frames read before the error, if any. */
  readonly frames?: readonly string[]
  readonly code?: string
  /** Bytes are left that make no frame yet. */
  readonly rest?: boolean
  /** The one frame is read, its payload is refused. */
  readonly payload?: string
}

describe('bytes of frames', () => {
  const vectors = read<BytesVector[]>('channel/1.0.0/vectors/bytes.json')

  it.each(vectors.filter(({ payload }) => payload === undefined))('$name', ({ chunks, frames, code, rest }) => {
    const decoder = new FrameDecoder({ maxFrameBytes: MAX_MESSAGE_BYTES })
    const texts: string[] = []
    const outcome = byThrowing(() => {
      for (const chunk of chunks) {
        decoder.push(Buffer.from(chunk, 'hex'))
        for (let next = decoder.next(); next !== undefined; next = decoder.next()) texts.push(next.toString())
      }
    })(undefined)
    expect(texts).toEqual(frames)
    expect(outcome).toBe(code)
    expect(code === undefined && decoder.hasRest).toBe(rest === true)
  })

  it.each(vectors.filter(({ payload }) => payload !== undefined))('$name is no message', ({ chunks, payload }) => {
    const decoder = new FrameDecoder({ maxFrameBytes: MAX_MESSAGE_BYTES })
    for (const chunk of chunks) decoder.push(Buffer.from(chunk, 'hex'))
    const frame = decoder.next()
    expect(frame).toBeInstanceOf(Buffer)
    expect(byThrowing(() => parseJson(frame ?? ''))(undefined)).toBe(payload)
    expect(decoder.hasRest).toBe(false)
  })
})

interface SignedVector {
  readonly name: string
  readonly now: string
  readonly jws: string
  readonly record?: Readonly<Record<string, unknown>>
  readonly code?: string
  readonly reason?: string
}

describe('signed records', () => {
  const vectors = read<SignedVector[]>('records/1.0.0/vectors/signed.json')

  it('are those that the script makes', () => {
    expect(JSON.parse(signedVectors())).toEqual(vectors)
  })

  it.each(vectors.filter(({ code }) => code === undefined))('$name: is read', async ({ now, jws, record }) => {
    const signed = await readRecord(jws, { now: Date.parse(now) })
    expect(signed.jws).toBe(jws)
    expect(record).toMatchObject(signed.record)
    expect(fitsSchema('records/1.0.0', 'record', record)).toBe(true)
  })

  it.each(vectors.filter(({ code }) => code !== undefined))('$name: $reason', async ({ now, jws, code, reason }) => {
    const reading = readRecord(jws, { now: Date.parse(now) })
    await expect(reading).rejects.toMatchObject({ code, message: expect.stringContaining(reason ?? 'a reason') })
  })
})

interface HintVector {
  readonly name: string
  readonly now: string
  readonly key: string
  readonly hint: string
  readonly says?: Readonly<Record<string, unknown>> & { readonly expiresAt: string }
  readonly refusal?: string
}

describe('signed hints', () => {
  const vectors = read<HintVector[]>('hints/1.0.0/vectors/signed.json')
  const verify = ({ hint, key, now }: HintVector) =>
    verifyHint(Buffer.from(hint, 'base64url'), { key, now: Date.parse(now) })

  it('are those that the script makes', () => {
    expect(JSON.parse(hintVectors())).toEqual(vectors)
  })

  it.each(vectors.filter(({ refusal }) => refusal === undefined))('$name: is read', (vector) => {
    const { says, key } = vector
    expect(verify(vector)).toEqual({ ...says, key, expiresAt: Date.parse(says?.expiresAt ?? '') })
  })

  it.each(vectors.filter(({ refusal }) => refusal !== undefined))('$name: $refusal', (vector) => {
    expect(verify(vector)).toBe(vector.refusal)
  })
})

interface MessageVector {
  readonly name: string
  readonly topic: string
  readonly author: string
  readonly text: string
  readonly verdict: string
}

describe('messages of topics', () => {
  it.each(read<MessageVector[]>('topics/1/vectors/messages.json'))('$name: $verdict', (vector) => {
    expect(verdict(vector.topic, vector.author, vector.text)).toBe(vector.verdict)
  })
})

interface KeyVector {
  readonly name: string
  readonly kind: CapabilityKind
  /** A name, or a name space as `<segment>.*`. */
  readonly capability: string
  readonly dhtKey: string
  readonly cid: string
}

describe('provider keys', () => {
  it.each(read<KeyVector[]>('topics/1/vectors/keys.json'))('of $name', ({ kind, capability, dhtKey, cid }) => {
    const segment = capability.endsWith('.*') ? capability.slice(0, -2) : undefined
    const key = segment === undefined ? nameKey(kind, capability) : segmentKey(kind, segment)
    expect(key.toString()).toBe(cid)
    expect(Buffer.from(key.multihash.bytes).toString('hex')).toBe(dhtKey)
  })
})
