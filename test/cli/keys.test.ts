import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import type { Node } from '../../src/index.ts'
import { KEY_PATTERN } from '../../src/keys/index.ts'
import { startNode } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const PEER = '12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'

async function start(): Promise<{
  readonly node: Node
  readonly home: string
  readonly keys: (args: readonly string[], stdin?: string) => ReturnType<typeof run>
}> {
  const node = await startNode()
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, home, keys: (args, stdin = '') => run(['keys', ...args, '--home', home], { stdin }) }
}

it('create prints the key alone on stdout, and what it is on stderr', async () => {
  const { node, keys } = await start()
  const { code, stdout, stderr } = await keys(['create', 'ci', '--scope', 'a', '--scope', 'b', '--for', '30d'])
  expect(code).toBe(0)
  expect(stdout).toMatch(new RegExp(`^${KEY_PATTERN.source}\n$`))
  expect(stderr).not.toContain(stdout.trim())
  const [info] = node.keys.list()
  expect(info).toMatchObject({ name: 'ci', scopes: ['a', 'b'], pin: 'first' })
  expect(stderr).toContain(info?.id)
  expect(Date.parse(info?.expiresAt ?? '') - Date.parse(info?.createdAt ?? '')).toBe(30 * 86_400_000)
})

it('keys are listed, rotated and revoked', async () => {
  const { keys } = await start()
  expect(await keys(['list'])).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('keys create') })
  const made = JSON.parse((await keys(['create', 'ci', '--pin', 'off', '--json'])).stdout)
  const { id } = made.info
  expect(made.key).toContain(id)
  const rotated = JSON.parse((await keys(['rotate', id, '--json'])).stdout)
  expect(rotated.key).not.toBe(made.key)
  expect(rotated.info.overlapUntil).toMatch(/^20/)
  const atOnce = JSON.parse((await keys(['rotate', id, '--no-overlap', '--json'])).stdout)
  expect(atOnce.info.overlapUntil).toBeUndefined()
  expect((await keys(['list'])).stdout).toMatch(new RegExp(`^${id}\tci\tactive\t-\t.+\t-\toff\n$`))
  expect((await keys(['revoke', id])).stdout).toBe(`revoked ${id} (ci)\n`)
  expect(JSON.parse((await keys(['list', '--json'])).stdout)).toMatchObject([{ id, state: 'revoked' }])
  expect(await keys(['revoke', 'nobody'])).toMatchObject({ code: 4, stderr: expect.stringContaining('NOT_FOUND') })
})

it('use takes a key from stdin or a file, and unuse forgets it', async () => {
  const { node, home, keys } = await start()
  const { key, info } = await node.keys.create({ name: 'ci' })
  expect(await keys(['use', PEER, '-'], `${key}\n`)).toMatchObject({
    code: 0,
    stdout: `key ${info.id} is presented to ${PEER}\n`
  })
  expect((await keys(['list', '--held'])).stdout).toMatch(new RegExp(`^${PEER}\t${info.id}\t`))
  expect((await keys(['unuse', PEER])).stdout).toBe(`the key for ${PEER} is forgotten\n`)
  expect(await keys(['unuse', PEER])).toMatchObject({ stderr: expect.stringContaining('NOT_FOUND') })
  const file = join(home, 'ci.key')
  writeFileSync(file, key)
  expect(JSON.parse((await keys(['use', PEER, file, '--json'])).stdout)).toMatchObject({ peer: PEER, id: info.id })
  expect(node.keys.held()).toMatchObject([{ peer: PEER }])
})

it.each([
  { id: 'nothing', stdin: '', code: 'INVALID_ARGUMENT' },
  { id: 'a key with a typo', stdin: `mesh_k_${'a'.repeat(11)}_${'b'.repeat(49)}`, code: 'INVALID_ARGUMENT' },
  { id: 'much too much', stdin: 'x'.repeat(20_000), code: 'INVALID_ARGUMENT' }
])('use refuses $id, and does not repeat it', async ({ stdin, code }) => {
  const { keys } = await start()
  const { stdout, stderr } = await keys(['use', PEER], stdin)
  expect(stdout).toBe('')
  expect(stderr).toContain(code)
  expect(stderr).not.toContain('bbbb')
})

it('use says IO when the file cannot be read', async () => {
  const { home, keys } = await start()
  expect(await keys(['use', PEER, join(home, 'none')])).toMatchObject({ stderr: expect.stringContaining('IO') })
})
