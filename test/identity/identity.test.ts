import { generateKeyPairSync } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { publicKeyFromMultihash } from '@libp2p/crypto/keys'
import { peerIdFromString } from '@libp2p/peer-id'
import { expect, it } from 'vitest'
import { createIdentity, loadIdentity, MAX_KEY_FILE_BYTES } from '../../src/identity/index.ts'
import { keyFromDid, verifyJws } from '../../src/wire/index.ts'
import { tempFolder } from '../temp.ts'

const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
const X25519 = generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' })

it('a node keeps its id across restarts', async () => {
  const path = join(await tempFolder(), 'home', 'identity.key')
  const first = await loadIdentity({ path })
  const second = await loadIdentity({ path })
  expect(second.id).toBe(first.id)
  expect(second.did).toBe(first.did)
  expect(second.privateKey.equals(first.privateKey)).toBe(true)
})

it('the key file and its folder are for their owner only, and nothing else is left', async () => {
  const home = join(await tempFolder(), 'home')
  await loadIdentity({ path: join(home, 'identity.key') })
  expect((await stat(home)).mode & 0o777).toBe(0o700)
  expect((await stat(join(home, 'identity.key'))).mode & 0o777).toBe(0o600)
  expect(await readdir(home)).toEqual(['identity.key'])
  expect(await readFile(join(home, 'identity.key'), 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----\n/)
})

it('starts at the same time agree on one key', async () => {
  const path = join(await tempFolder(), 'identity.key')
  const identities = await Promise.all(Array.from({ length: 8 }, () => loadIdentity({ path })))
  expect(new Set(identities.map(({ id }) => id)).size).toBe(1)
})

it('PeerId, did:key and private key are the same key', () => {
  const identity = createIdentity()
  const { publicKey } = identity.privateKey
  expect(keyFromDid(identity.did)).toEqual(publicKey.raw)
  const fromText = peerIdFromString(identity.id)
  expect(fromText.equals(identity.peerId)).toBe(true)
  expect(fromText.type === 'Ed25519' && publicKeyFromMultihash(fromText.toMultihash()).equals(publicKey)).toBe(true)
})

it('each identity without a home is a new one', () => {
  expect(createIdentity().id).not.toBe(createIdentity().id)
})

it('what it signs verifies under its did:key, for that type of statement only', async () => {
  const identity = createIdentity()
  const jws = await identity.sign('mesh-test+jws', { b: 1, a: 2 })
  expect(jws).toMatch(/^eyJ/)
  const read = await verifyJws(jws, { type: 'mesh-test+jws', maxBytes: 1_000 })
  expect(read).toEqual({ did: identity.did, payload: { a: 2, b: 1 } })
  await expect(verifyJws(jws, { type: 'mesh-record+jws', maxBytes: 1_000 })).rejects.toMatchObject({
    code: 'INVALID_MESSAGE'
  })
})

it('a payload without a JSON form is refused', async () => {
  await expect(createIdentity().sign('mesh-test+jws', undefined)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it.each([
  { id: 'the group', mode: 0o640 },
  { id: 'everybody', mode: 0o604 },
  { id: 'a writer', mode: 0o620 }
])('a key that $id can get at is refused, with the command that closes it', async ({ mode }) => {
  const path = join(await tempFolder(), 'identity.key')
  const { id } = await loadIdentity({ path })
  await chmod(path, mode)
  await expect(loadIdentity({ path })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringContaining(path),
    hint: expect.stringContaining(`chmod 600 ${path}`)
  })
  await chmod(path, 0o600)
  expect((await loadIdentity({ path })).id).toBe(id)
})

it.each([
  { id: 'empty', content: '' },
  { id: 'text', content: 'hello' },
  { id: 'a cut-off key', content: '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2V\n' },
  { id: 'an RSA key', content: RSA },
  { id: 'an X25519 key', content: X25519 },
  { id: 'far too large', content: 'x'.repeat(MAX_KEY_FILE_BYTES + 1) }
])('a key file that is $id is refused by name and left alone', async ({ content }) => {
  const path = join(await tempFolder(), 'identity.key')
  await writeFile(path, content, { mode: 0o600 })
  await expect(loadIdentity({ path })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: `${path} does not hold an Ed25519 private key (PKCS#8, PEM)`,
    hint: expect.stringContaining('backup')
  })
  expect(await readFile(path, 'utf8')).toBe(content)
})

it('a folder that cannot be made is IO', async () => {
  const file = join(await tempFolder(), 'file')
  await writeFile(file, '')
  await expect(loadIdentity({ path: join(file, 'identity.key') })).rejects.toMatchObject({
    code: 'IO',
    message: expect.stringContaining(file)
  })
})

it('a folder in the place of the key is IO', async () => {
  const path = join(await tempFolder(), 'identity.key')
  await mkdir(path, { mode: 0o700 })
  await expect(loadIdentity({ path })).rejects.toMatchObject({ code: 'IO' })
})

it('a link to nowhere is IO, not a new key', async () => {
  const folder = await tempFolder()
  const path = join(folder, 'identity.key')
  await symlink(join(folder, 'unmounted', 'identity.key'), path)
  await expect(loadIdentity({ path })).rejects.toMatchObject({ code: 'IO' })
})
