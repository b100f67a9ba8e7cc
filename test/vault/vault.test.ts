import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openVault } from '../../src/vault/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

it('opens after a restart what it has sealed, and derives the same keys', async () => {
  const path = join(await tempFolder(), 'secrets.key')
  const before = await openVault({ path })
  const sealed = await before.seal('refresh token')
  const after = await openVault({ path })
  expect(await after.open(sealed)).toBe('refresh token')
  expect(after.derive('api-keys')).toEqual(before.derive('api-keys'))
  expect(sealed).not.toContain('refresh')
  expect(sealed).toMatch(/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/)
})

it('makes a key of 32 bytes that only its owner may read', async () => {
  const path = join(await tempFolder(), 'home', 'secrets.key')
  await openVault({ path })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(Buffer.from(await readFile(path, 'utf8'), 'base64url')).toHaveLength(32)
})

it('gives all who open it at once the same key', async () => {
  const path = join(await tempFolder(), 'secrets.key')
  const vaults = await Promise.all(Array.from({ length: 5 }, () => openVault({ path })))
  expect(new Set(vaults.map((vault) => vault.derive('x').toString('hex'))).size).toBe(1)
})

it('derives 32 bytes, different ones for each purpose and none of them the key in the file', async () => {
  const path = join(await tempFolder(), 'secrets.key')
  const vault = await openVault({ path })
  const [one, other] = [vault.derive('one'), vault.derive('other')]
  expect([one.length, other.length]).toEqual([32, 32])
  expect(one).not.toEqual(other)
  expect(one.toString('base64url')).not.toBe(await readFile(path, 'utf8'))
})

it('seals the same text differently each time', async () => {
  const vault = await openVault()
  expect(await vault.seal('x')).not.toBe(await vault.seal('x'))
})

it('does not open what another key has sealed, or what was changed', async () => {
  const [vault, other] = [await openVault(), await openVault()]
  const sealed = await vault.seal('secret')
  const tag = sealed.split('.').at(-1) ?? ''
  const changed = sealed.replace(tag, (tag.startsWith('A') ? 'B' : 'A') + tag.slice(1))
  for (const bad of [await other.seal('secret'), changed, 'nonsense', '']) {
    expect(await failureOf(vault.open(bad))).toMatchObject({ code: 'INVALID_CONFIG' })
  }
})

it.each([
  { id: 'empty', text: '' },
  { id: 'too short', text: 'c2hvcnQ' },
  { id: 'not base64url', text: `${'A'.repeat(42)}!` },
  { id: 'too large', text: 'A'.repeat(1000) }
])('refuses a file that is $id', async ({ text }) => {
  const path = join(await tempFolder(), 'secrets.key')
  await writeFile(path, text, { mode: 0o600 })
  expect(await failureOf(openVault({ path }))).toMatchObject({ code: 'INVALID_CONFIG' })
})

it('refuses a file that others may read', async () => {
  const path = join(await tempFolder(), 'secrets.key')
  await openVault({ path })
  await chmod(path, 0o644)
  expect(await failureOf(openVault({ path }))).toMatchObject({ code: 'INVALID_CONFIG', hint: expect.any(String) })
})

it('says IO when there can be no file', async () => {
  const folder = await tempFolder()
  await writeFile(join(folder, 'file'), '')
  expect(await failureOf(openVault({ path: join(folder, 'file', 'secrets.key') }))).toMatchObject({ code: 'IO' })
})
