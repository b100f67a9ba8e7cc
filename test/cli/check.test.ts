import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { startPair } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

it('check says that a capability can be called, or all that is missing, and what to do', async () => {
  const [near, far] = await startPair()
  const home = temporaryFolder()
  const control = await openControl({ node: near, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  const check = (...args: string[]) => run(['check', ...args, '--home', home])
  const { id } = await far.agents.add({ name: 'files', capabilities: [{ name: 'read', handler: () => 'text' }] })

  const [denied, json, unknown] = await Promise.all([
    check('@files', 'read', '--version', '^7'),
    check(id, 'read', '--json'),
    check('@nobody', 'read')
  ])
  expect(denied.code).toBe(4)
  expect(denied.stdout.split('\n').map((row) => row.split('\t')[0])).toEqual(['version', 'permission', ''])
  expect(denied.stdout).toContain(`permission request ${id} read`)
  expect(denied.stderr).toContain('UNSUPPORTED_VERSION')
  expect(json).toMatchObject({ code: 3, stderr: expect.stringContaining('FORBIDDEN') })
  expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, agent: id, missing: [{ what: 'permission' }] })
  expect(unknown).toMatchObject({ code: 4, stdout: '', stderr: expect.stringContaining('NOT_FOUND') })

  await far.agents.update('files', { allow: [near.id] })
  const [allowed, wrong] = await Promise.all([check(id, 'read', '--kind', 'tool'), check(id, 'read', '--kind', 'verb')])
  expect(allowed).toMatchObject({ code: 0, stdout: `read of ${id} can be called\n`, stderr: '' })
  expect(wrong.code).toBe(2)
})
