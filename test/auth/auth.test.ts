import { generateKeyPair } from '@libp2p/crypto/keys'
import type { Connection } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createHello, HELLO, type Hello, ownerCaller, printableName, readHello } from '../../src/auth/index.ts'
import { strangersAuth } from '../callers.ts'
import { startPair } from '../rpc/nodes.ts'

const hello: Hello = {
  name: 'Ännchens Rechner 😀',
  version: '0.1.0',
  time: '2026-11-23T16:43:39.000Z',
  protocols: { call: ['1.0.0'], records: ['1.0.0', '1.1.0'] },
  auth: ['noise']
}

/** As much of a connection as says who is at the other end. */
async function connectionOf(type: 'Ed25519' | 'secp256k1', encryption?: string): Promise<Connection> {
  const key = type === 'Ed25519' ? await generateKeyPair('Ed25519') : await generateKeyPair('secp256k1')
  return { remotePeer: peerIdFromPrivateKey(key), encryption } as Partial<Connection> as Connection
}

describe('a session', () => {
  it('names the key of the connection, and is made once for it', async () => {
    const { sessionOf } = strangersAuth()
    const [connection, other] = await Promise.all([
      connectionOf('Ed25519', '/noise'),
      connectionOf('Ed25519', '/noise')
    ])
    const { caller } = sessionOf(connection)
    expect(caller).toEqual({
      peer: connection.remotePeer.toString(),
      credentials: [{ method: 'noise', binding: 'noise', subject: connection.remotePeer.toString(), scopes: [] }],
      trust: 'unknown',
      binding: 'noise'
    })
    expect(sessionOf(connection).caller).toBe(caller)
    expect(sessionOf(other).caller).not.toBe(caller)
  })

  it.each([
    { id: 'another kind of key', connection: () => connectionOf('secp256k1', '/noise') },
    { id: 'no encryption', connection: () => connectionOf('Ed25519') }
  ])('refuses a connection with $id as FORBIDDEN', async ({ connection }) => {
    const refused = await connection()
    expect(() => strangersAuth().sessionOf(refused)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }))
  })

  it('has the owner as its own peer, bound to this machine', () => {
    expect(ownerCaller('12D3KooW')).toEqual({
      peer: '12D3KooW',
      credentials: [{ method: 'local', binding: 'local', subject: '12D3KooW', scopes: [] }],
      trust: 'owner',
      binding: 'local'
    })
  })
})

describe('hello', () => {
  it('tells both sides about the other', async () => {
    const { asker, answerer } = await startPair()
    const heard: { peer: string; hello: Hello }[] = []
    const answer = { ...hello, name: 'answerer' }
    await answerer.rpc.handle(
      createHello({
        auth: strangersAuth(),
        describe: () => answer,
        onHello: (peer, said) => heard.push({ peer, hello: said })
      })
    )
    expect(readHello(await asker.rpc.request(answerer.id, HELLO, hello))).toEqual(answer)
    expect(heard).toEqual([{ peer: asker.id, hello }])
  })

  it('is refused over the wire when it is none', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle(createHello({ auth: strangersAuth(), describe: () => hello }))
    const request = asker.rpc.request(answerer.id, HELLO, { ...hello, name: 'a\u202eb' })
    await expect(request).rejects.toMatchObject({ code: 'INVALID_MESSAGE', message: expect.stringContaining('name') })
  })

  it.each([
    { id: 'nothing', change: undefined },
    { id: 'an empty name', change: { name: '' } },
    { id: 'a name too long', change: { name: 'x'.repeat(65) } },
    { id: 'a name with a line break', change: { name: 'a\nb' } },
    { id: 'a name with an escape sequence', change: { name: '\u001b[31mred' } },
    { id: 'a name that runs backwards', change: { name: '\u202egnp' } },
    { id: 'a name with an invisible space', change: { name: 'a\u200bb' } },
    { id: 'a name with a line separator', change: { name: 'a\u2028b' } },
    { id: 'half a letter in its name', change: { name: 'a\ud83d' } },
    { id: 'a version with spaces', change: { version: '1 0' } },
    { id: 'a time without milliseconds', change: { time: '2026-11-23T16:43:39Z' } },
    { id: 'a time in another zone', change: { time: '2026-11-23T16:43:39.000+01:00' } },
    {
      id: 'too many protocols',
      change: { protocols: Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`p${n}`, []])) }
    },
    { id: 'too many versions', change: { protocols: { call: Array.from({ length: 17 }, () => '1.0.0') } } },
    { id: 'too many methods', change: { auth: Array.from({ length: 17 }, () => 'noise') } },
    { id: 'no methods', change: { auth: undefined } }
  ])('with $id is INVALID_MESSAGE', ({ change }) => {
    const body = change === undefined ? null : { ...hello, ...change }
    expect(() => readHello(body)).toThrow(expect.objectContaining({ code: 'INVALID_MESSAGE' }))
  })

  it('ignores what a later version adds', () => {
    expect(readHello({ ...hello, colour: 'green' })).toEqual(hello)
  })
})

describe('printableName', () => {
  it('makes a valid name of any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(readHello({ ...hello, name: printableName(text, 'node') }).name.length).toBeGreaterThan(0)
      })
    )
  })

  it.each([
    { text: 'laptop', name: 'laptop' },
    { text: ' lap\u0000top\n', name: 'laptop' },
    { text: '\u202e', name: 'fallback' },
    { text: '😀'.repeat(70), name: '😀'.repeat(64) }
  ])('turns $text into $name', ({ text, name }) => {
    expect(printableName(text, 'fallback')).toBe(name)
  })
})
