import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import type { Node } from '../../src/index.ts'
import { startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { type Finished, run, temporaryFolder } from './program.ts'

// Each run is a process of its own: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const PEER = createIdentity().id

async function start(): Promise<{
  node: Node
  grants: (args: readonly string[], stdin?: string) => Promise<Finished>
}> {
  const node = await startNode()
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, grants: (args, stdin = '') => run(['grants', ...args, '--home', home], { stdin }) }
}

it('issue prints the chain alone on stdout, and what it allows on stderr', async () => {
  const { node, grants } = await start()
  await node.trust.set(PEER, { alias: 'carol' })
  const made = await grants([
    'issue',
    'carol',
    'tool.call',
    'tool:fs/*',
    '--for',
    '30d',
    '--calls',
    '100',
    '--depth',
    '1'
  ])
  const [grant] = node.grants.list()
  expect(grant).toMatchObject({ holder: PEER, act: 'tool.call', res: 'tool:fs/*', uses: 100, depth: 1, state: 'valid' })
  expect((grant?.expiresAt ?? 0) - (grant?.issuedAt ?? 0)).toBeGreaterThanOrEqual(30 * 86_400_000 - 1_000)
  expect(made).toMatchObject({ code: 0, stdout: `${JSON.stringify(grant?.chain)}\n` })
  expect(made.stderr).toContain(`for ${PEER}: tool.call on tool:fs/*`)
})

it('a grant goes from its owner over its holder to a third node', async () => {
  const [owner, holder, third] = [await start(), await start(), await start()]
  const { stdout: root } = await owner.grants(['issue', holder.node.id, '*', 'tool:fs/*', '--depth', '1'])
  expect(await holder.grants(['keep', '-'], root)).toMatchObject({ code: 0, stdout: expect.stringContaining('held') })
  const id = holder.node.grants.list()[0]?.id ?? ''
  const passed = await holder.grants(['delegate', id, third.node.id, '--res', 'tool:fs/read', '--calls', '3', '--json'])
  const file = join(await tempFolder(), 'grant.json')
  await writeFile(file, passed.stdout)
  expect(await third.grants(['keep', file])).toMatchObject({ code: 0 })
  expect(third.node.grants.list()).toMatchObject([{ role: 'held', res: 'tool:fs/read', uses: 3, owner: owner.node.id }])
  const shown = await third.grants(['show', third.node.grants.list()[0]?.id ?? ''])
  expect(shown.stdout).toMatch(new RegExp(`owner +${owner.node.id}\n +issuer +${holder.node.id}\n`))
  expect(shown.stdout.trimEnd().split('\n').at(-1)).toMatch(/^2\t.*\ttool:fs\/read$/)
  expect(await holder.grants(['delegate', id, PEER, '--act', 'x', '--depth', '1'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('more than the grant')
  })
})

it('grants are listed, shown by the beginning of their id, and revoked', async () => {
  const { node, grants } = await start()
  expect(await grants(['list'])).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('grants issue') })
  const { id } = await node.grants.issue({ holder: PEER, act: 'tool.call', res: 'tool:fs/read' })
  const calls = '0 of any number of calls'
  expect((await grants(['list'])).stdout).toBe(
    `${[id, 'issued', 'valid', 'tool.call', 'tool:fs/read', calls, '-', PEER, node.id].join('\t')}\n`
  )
  expect(JSON.parse((await grants(['show', id.slice(0, 8), '--json'])).stdout)).toMatchObject({ id, state: 'valid' })
  expect((await grants(['revoke', id.slice(0, 8)])).stdout).toBe(`revoked ${id}, held by ${PEER}\n`)
  expect((await grants(['list', '--json'])).stdout).toBe('[]\n')
  const all = await grants(['list', '--role', 'issued', '--all', '--json'])
  expect(JSON.parse(all.stdout)).toMatchObject([{ id, state: 'revoked' }])
  expect((await grants(['list', '--role', 'held', '--all', '--json'])).stdout).toBe('[]\n')
})

it('what begins with the same characters is ambiguous', async () => {
  const { node, grants } = await start()
  // Ids begin with one of 16 characters
  for (let n = 0; n < 17; n += 1) await node.grants.issue({ holder: PEER, act: '*', res: '*' })
  const ids = node.grants.list().map(({ id }) => id[0] ?? '')
  const twice = ids.find((one, n) => ids.indexOf(one) !== n) ?? ''
  expect(await grants(['show', twice])).toMatchObject({ code: 2, stderr: expect.stringContaining('AMBIGUOUS') })
})

it.each([
  { id: 'a grant that is none', args: ['show', 'nothing'], stdin: '', code: 4, says: 'NOT_FOUND' },
  { id: 'a peer that is none', args: ['issue', 'nobody', '*', '*'], stdin: '', code: 2, says: 'not a PeerId' },
  { id: 'a depth that is none', args: ['issue', PEER, '*', '*', '--depth', '5'], stdin: '', code: 2, says: '0 to 4' },
  { id: 'no JSON', args: ['keep', '-'], stdin: 'x', code: 2, says: 'that is no grant' },
  { id: 'a chain that is none', args: ['keep', '-'], stdin: '["x"]', code: 3, says: 'UNAUTHENTICATED' }
])('$id is told', async ({ args, stdin, code, says }) => {
  const { grants } = await start()
  expect(await grants(args, stdin)).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(says) })
})
