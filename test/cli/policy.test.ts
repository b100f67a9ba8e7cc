import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { createNode } from '../../src/index.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const ALLOW = { id: 'a', effect: 'allow', who: 'scope:files', act: 'tool.call', res: 'tool:fs/*' }

async function daemon(): Promise<string> {
  const home = temporaryFolder()
  const node = await createNode({ home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
  await node.start()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(async () => {
    control.close()
    await node.stop()
  })
  await node.policy.put([ALLOW as never])
  return home
}

it('policy show and explain ask the node', async () => {
  const home = await daemon()
  const shown = await run(['policy', 'show', '--home', home])
  expect(shown).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('a\tallow\tscope:files\ttool.call\ttool:fs/*\t')
  })
  const question = ['policy', 'explain', 'level:known', 'tool.call', 'tool:fs/read', '--home', home]
  const asked = await run(question)
  expect(asked.stdout).toMatch(/decision +ask/)
  expect(asked.stdout).toMatch(/scopes that would help +files/)
  expect(asked.stdout).toContain('a\tallow\tno: who\t')
  const allowed = await run([...question, '--scope', 'files', '--json'])
  expect(JSON.parse(allowed.stdout)).toMatchObject({ decision: { effect: 'allow', rules: ['a'] } })
  const nobody = await run(['policy', 'explain', 'nobody', 'tool.call', 'tool:fs/read', '--home', home])
  expect(nobody).toMatchObject({ code: 2, stderr: expect.stringContaining('no PeerId, alias') })
})

it('policy check tells everything that is wrong', async () => {
  const path = join(temporaryFolder(), 'p.json')
  await writeFile(path, JSON.stringify({ v: 1, rules: [ALLOW] }))
  expect(await run(['policy', 'check', path])).toMatchObject({ code: 0, stderr: '' })
  const broken = {
    v: 1,
    rules: [
      { ...ALLOW, effect: 'permit', wen: {} },
      { ...ALLOW, limit: { calls: '1' } }
    ]
  }
  await writeFile(path, JSON.stringify(broken))
  const { code, stderr } = await run(['policy', 'check', path])
  expect(code).toBe(1)
  for (const place of ['rules[0].effect', 'rules[0].wen', 'rules[1].limit.calls']) expect(stderr).toContain(place)
  expect(await run(['policy', 'check', `${path}.none`])).toMatchObject({ code: 4 })
})

it('policy test compares what is decided with what is expected', async () => {
  const path = join(temporaryFolder(), 't.json')
  const given = { action: 'tool.call', resource: 'tool:fs/read' }
  const cases = [
    { given: { ...given, caller: { scopes: ['files'] } }, expect: { effect: 'allow', rules: ['a'] } },
    { given: { ...given, caller: { level: 'trusted' } }, expect: 'deny' }
  ]
  await writeFile(path, JSON.stringify({ policy: { v: 1, rules: [ALLOW] }, cases }))
  expect(await run(['policy', 'test', path])).toMatchObject({ code: 0, stdout: '2 of 2 as expected\n' })
  await writeFile(join(path, '..', 'p.json'), JSON.stringify({ v: 1, rules: [{ ...ALLOW, effect: 'ask' }] }))
  await writeFile(path, JSON.stringify({ policy: 'p.json', cases }))
  const { code, stdout } = await run(['policy', 'test', path])
  expect(code).toBe(1)
  expect(stdout).toContain('case 1: tool.call on tool:fs/read for unknown\n  - allow by a\n  + ask by a')
  await writeFile(path, JSON.stringify({ cases: [{ given, expect: 'maybe' }] }))
  expect(await run(['policy', 'test', path])).toMatchObject({ code: 2, stderr: expect.stringContaining('cases[0]') })
})

it('audit list filters the decisions, and audit verify finds a change', async () => {
  const home = temporaryFolder()
  const { openAuditLog } = await import('../../src/policy/index.ts')
  const path = join(home, 'audit.log')
  const log = await openAuditLog({ path })
  const row = (n: number, effect: string) =>
    JSON.stringify({ peer: `p${n % 2}`, action: 'tool.call', resource: `tool:fs/${n}`, effect, rules: ['r'] })
  for (let n = 0; n < 100; n++) log.append(row(n, n % 10 === 0 ? 'deny' : 'allow'))
  await log.close()
  const list = async (...options: string[]) =>
    JSON.parse((await run(['audit', 'list', '--home', home, '--json', ...options])).stdout) as { resource: string }[]
  expect(await list()).toHaveLength(50)
  const denied = await list('--effect', 'deny', '--peer', 'p0', '--limit', '2')
  expect(denied.map(({ resource }) => resource)).toEqual(['tool:fs/80', 'tool:fs/90'])
  expect(await list('--since', '2100-01-01')).toEqual([])
  expect(await run(['audit', 'verify', '--home', home])).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/decisions +100/)
  })
  await writeFile(path, (await readFile(path, 'utf8')).replace('tool:fs/7"', 'tool:fs/8"'))
  expect(await run(['audit', 'verify', '--home', home])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('the log was changed')
  })
})
