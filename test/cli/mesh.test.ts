import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { begin, type Program, run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const OPTIONS = ['--no-lan', '--listen', '/ip4/127.0.0.1/tcp/0', '--json']

async function start(home: string, ...more: readonly string[]): Promise<{ node: Program; address: string }> {
  const node = begin(['start', ...OPTIONS, '--home', home, ...more])
  const { addresses } = JSON.parse((await node.lines(1))[0] ?? '') as { addresses: [string] }
  return { node, address: addresses[0] }
}

it('start --mesh keeps nodes of other names out, and both commands say why', async () => {
  const [labHome, mainHome] = [join(temporaryFolder(), 'lab'), join(temporaryFolder(), 'main')]
  const main = await start(mainHome)
  const lab = await start(labHome, '--mesh', 'lab', '--bootstrap', main.address)

  const connected = await run(['connect', lab.address, '--home', mainHome])
  expect(connected.code).toBe(4)
  expect(connected.stderr).toContain('UNSUPPORTED_VERSION')
  expect(connected.stderr).toContain('of the mesh lab, and speaks no protocol of the mesh main')
  const [status, peers] = await Promise.all([
    run(['status', '--home', labHome]),
    run(['peers', '--json', '--home', mainHome])
  ])
  expect(status.stdout).toMatch(/^ +mesh +lab$/m)
  expect(JSON.parse(peers.stdout)).toEqual([])

  for (const { node } of [lab, main]) node.kill('SIGTERM')
  const { stderr } = await lab.node.finished
  expect(stderr).toContain('is no peer: it is of the mesh main')
  const again = await run(['start', ...OPTIONS, '--home', labHome, '--mesh', 'main'])
  expect(again.code).toBe(1)
  expect(again.stderr).toContain('this home is of the mesh lab, not of main')
})

it('start says what is wrong with the name of a mesh', async () => {
  const started = await run(['start', '--no-lan', '--mesh', 'My Lab', '--home', join(temporaryFolder(), 'home')])
  expect(started.code).toBe(2)
  expect(started.stderr).toContain('1 to 32 of a-z, 0-9 and -')
})
