import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { createNode, type Node, type PermissionRequest } from '../../src/index.ts'
import { addressOf, nextEvent } from '../nodes.ts'
import { begin, run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

async function daemon(name: string): Promise<{ home: string; node: Node }> {
  const home = temporaryFolder()
  const node = await createNode({ home, name, listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
  onTestFinished(() => node.stop())
  await node.start()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { home, node }
}

async function ownerAndAsker() {
  const [owner, asker] = await Promise.all([daemon('owner'), daemon('asker')])
  const handler = (input: unknown): unknown => input
  await owner.node.agents.add({ name: 'fs', capabilities: [{ name: 'write', effects: 'write', handler }] })
  await owner.node.trust.set(asker.node.id, { level: 'known', alias: 'asker' })
  await asker.node.connect(addressOf(owner.node))
  return { owner, asker, target: `${owner.node.id}/fs` }
}

const parse = <T>(text: string): T => JSON.parse(text) as T

it('the owner lists, shows and allows what a call asked, and the call then runs', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  const call = ['call', target, 'write', '{"path":"a.txt"}', '--home', asker.home]
  const refused = await run([...call, '--json'])
  const { error } = parse<{ error: { code: string; data: { id: string } } }>(refused.stdout)
  expect([error.code, refused.code === 0]).toEqual(['PERMISSION_PENDING', false])
  const { id } = error.data
  const [status, list, shown] = await Promise.all([
    run(['status', '--home', owner.home]),
    run(['approvals', 'list', '--home', owner.home]),
    run(['approvals', 'show', id.slice(0, 8), '--home', owner.home])
  ])
  expect(status.stdout).toMatch(/^ {2}approvals +1 wait/m)
  expect(status.stderr).toContain('approvals list')
  expect(list.stdout.split('\t').slice(0, 2)).toEqual([id, 'pending'])
  expect(shown.stdout).toContain(asker.node.id)
  expect(shown.stdout).toMatch(/^ {2}alias +asker$/m)
  expect(shown.stdout).toMatch(/^ {2}fingerprint +(\d{5} ){4}\d{5}$/m)
  expect(shown.stdout).toMatch(/^ +"path": "a.txt"$/m)
  const allowed = await run(['approvals', 'allow', id.slice(0, 8), '--json', '--home', owner.home])
  expect(parse<PermissionRequest>(allowed.stdout)).toMatchObject({ id, state: 'allowed', answeredBy: 'owner' })
  expect(await run(call)).toMatchObject({ code: 0, stdout: '{"path":"a.txt"}\n' })
})

it('an input that hides something is shown with what it hides', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  await asker.node.call(target, 'write', { path: 'a\u200b\u{e0041}.txt' }).catch(() => {})
  const [request] = owner.node.permissions.list()
  const shown = await run(['approvals', 'show', request?.id ?? '', '--home', owner.home])
  expect(shown.stdout).toContain('"a\\u200b\\udb40\\udc41.txt"')
})

it('a call with --wait runs as soon as it is allowed', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  const asked = nextEvent(owner.node, 'permission:asked')
  const calling = begin(['call', target, 'write', '{"n":1}', '--wait', '--home', asker.home])
  const { id } = await asked
  const allowed = await run(['approvals', 'allow', id, '--for', '1h', '--uses', '3', '--home', owner.home])
  expect(allowed.stderr).toContain('3 calls at most')
  expect(await calling.finished).toMatchObject({ code: 0, stdout: '{"n":1}\n' })
})

it('denied for ever, by a watcher, with a reason that the caller reads', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  const watching = begin(['approvals', 'watch', '--json', '--home', owner.home])
  const calling = begin(['call', target, 'write', '{}', '--wait', '--home', asker.home])
  const [line = ''] = await watching.lines(1)
  const { id, state } = parse<PermissionRequest>(line)
  expect(state).toBe('pending')
  const denied = await run(['approvals', 'deny', id, '--forever', '--reason', 'never that', '--home', owner.home])
  expect(denied.code).toBe(0)
  const end = await calling.finished
  expect(end.code).not.toBe(0)
  expect(end.stderr).toContain('FORBIDDEN: never that')
  expect((await watching.lines(2))[1]).toContain('"state":"denied"')
  watching.kill('SIGINT')
  expect((await watching.finished).code).toBe(0)
  expect(owner.node.policy.document.rules.at(-1)).toMatchObject({ effect: 'deny', who: asker.node.id })
})

it('asks ahead, and waits for the answer', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  const wanted = ['--for', '1h', '--calls', '5', '--reason', 'backup']
  const request = ['permission', 'request', target, 'write', ...wanted, '--home', asker.home]
  const asked = await run([...request, '--json'])
  const { id, peer, state } = parse<{ id: string; peer: string; state: string }>(asked.stdout)
  expect([peer, state]).toEqual([owner.node.id, 'pending'])
  const shown = await run(['approvals', 'show', id, '--home', owner.home])
  expect(shown.stdout).toMatch(/^ {2}wanted +for 3600 s, 5 calls$/m)
  expect(shown.stdout).toMatch(/^ {2}their reason +backup$/m)
  const waiting = begin(['permission', 'status', peer, id, '--wait', '--json', '--home', asker.home])
  await run(['approvals', 'allow', id, '--home', owner.home])
  expect(parse((await waiting.finished).stdout)).toMatchObject({ id, state: 'allowed' })
  expect(owner.node.grants.list()).toMatchObject([{ uses: 5, holder: asker.node.id }])
})

it.each([
  { id: 'two answers at once', args: ['allow', 'Zk3v', '--once', '--always'], code: 'INVALID_ARGUMENT' },
  { id: 'a request that is not there', args: ['show', 'Zk3v'], code: 'NOT_FOUND' },
  { id: 'an answer to none', args: ['deny', 'Zk3v'], code: 'NOT_FOUND' }
])('$id is $code', async ({ args, code }) => {
  const { home } = await daemon('owner')
  const end = await run(['approvals', ...args, '--home', home])
  expect(end.code).not.toBe(0)
  expect(end.stderr).toContain(code)
})

it('a prefix that several ids have is ambiguous', async () => {
  const { owner, asker, target } = await ownerAndAsker()
  const ids = new Map<string, string>()
  let prefix: string | undefined
  for (let n = 0; prefix === undefined && n < 500; n++) {
    const failure = await asker.node.call(target, 'write', { n }).catch((err: { data: { id: string } }) => err)
    const { id } = (failure as { data: { id: string } }).data
    prefix = ids.has(id.slice(0, 1)) ? id.slice(0, 1) : undefined
    ids.set(id.slice(0, 1), id)
    await owner.node.permissions.deny(id)
  }
  const end = await run(['approvals', 'show', prefix ?? '', '--home', owner.home])
  expect(end.stderr).toContain('AMBIGUOUS')
})
