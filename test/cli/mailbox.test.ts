import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { startPair } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

async function start() {
  const [node, far] = await startPair()
  await node.trust.set(far.id, { level: 'known', alias: 'homeserver' })
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, far, cli: (...args: string[]) => run(['mailbox', ...args, '--home', home]) }
}

it('use, list and drop choose who keeps messages for this node', async () => {
  const { node, far, cli } = await start()
  expect(await cli('list')).toMatchObject({ code: 0, stdout: '', stderr: 'no mailboxes\n' })
  expect((await cli('use', 'homeserver')).stderr).toContain('FORBIDDEN')
  await far.mailboxes.serve(node.id, { bytes: 3 * 1024 * 1024 })
  const used = await cli('use', 'homeserver')
  expect(used).toMatchObject({ code: 0, stdout: expect.stringContaining(`peer         ${far.id}`) })
  expect(used.stdout).toMatch(/keeps up to +3 MiB/)
  expect(JSON.parse((await cli('list', '--json')).stdout)).toMatchObject({ used: [{ peer: far.id }], served: [] })
  expect((await cli('list')).stdout).toContain(`keeps for us\t${far.id}\t\t3 MiB\t`)
  expect((await cli('drop', 'homeserver')).stdout).toBe('homeserver is no mailbox of this node any more\n')
  expect((await cli('drop', 'homeserver', '--json')).stdout).toBe('{"dropped":false}\n')
})

it('serve and unserve keep messages for others, from whom the owner says', async () => {
  const { node, far, cli } = await start()
  const served = await cli('serve', 'homeserver', '--bytes', '512KiB', '--from', '*')
  expect(served.stdout).toMatch(/kept now +0 B in 0/)
  expect(node.policy.document.rules).toContainEqual({
    id: `mailbox:${far.id}`,
    effect: 'allow',
    who: '*',
    act: 'mailbox.keep',
    res: `mailbox:${far.id}`
  })
  expect((await cli('list')).stdout).toContain(`kept here for\t${far.id}\t0 B in 0\t512 KiB\t`)
  expect((await cli('serve', 'homeserver', '--bytes', 'much')).stderr).toContain('INVALID_ARGUMENT')
  expect((await cli('serve', 'homeserver', '--bytes', '1000MiB')).stderr).toContain('INVALID_ARGUMENT')
  expect((await cli('serve', 'nobody')).stderr).toContain('INVALID_ARGUMENT')
  expect((await cli('unserve', 'homeserver')).stdout).toBe('nothing is kept for homeserver any more\n')
  expect(node.policy.document.rules.map(({ id }) => id)).not.toContain(`mailbox:${far.id}`)
})

it('learn asks a mailbox where messages for a stranger may be left', async () => {
  const { node, far, cli } = await start()
  const missing = await cli('learn', far.id, '--at', 'homeserver')
  expect(missing).toMatchObject({ code: 4, stderr: expect.stringContaining('NOT_FOUND') })
  await node.mailboxes.serve(far.id)
  await far.mailboxes.use(node.id)
  expect(await cli('learn', far.id, '--at', 'homeserver')).toMatchObject({
    code: 0,
    stdout: `messages for ${far.id} can be left while it is away\n`
  })
})
