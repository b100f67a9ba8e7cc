import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { commandApprover } from '../../src/permissions/approver.ts'
import type { Approver, PermissionRequest } from '../../src/permissions/index.ts'
import { tempFolder } from '../temp.ts'
import { ALICE, ASK, BOB, openRoom, pendingOf, questionOf } from './room.ts'

const INPUT = { path: 'a.txt' }

async function askWith(init: Parameters<typeof openRoom>[0]) {
  const log: string[] = []
  const room = await openRoom({ ...init, log: (text) => void log.push(text) })
  const id = await pendingOf(room.permissions.permit(ASK, questionOf(ALICE, INPUT)))
  return { ...room, id, log }
}

const stateOf = ({ permissions, id }: Awaited<ReturnType<typeof askWith>>) => permissions.get(id)?.state

it('an approver function allows in the place of the owner, once for each request', async () => {
  const asked: PermissionRequest[] = []
  const room = await askWith({
    approver: (request) => {
      asked.push(request)
      return { allow: { remember: 'once' } }
    }
  })
  await expect.poll(() => room.permissions.get(room.id)).toMatchObject({ state: 'allowed', answeredBy: 'approver' })
  expect(asked).toMatchObject([{ id: room.id, peer: ALICE, input: { json: '{"path":"a.txt"}' } }])
})

it('an approver function denies with its reason', async () => {
  const room = await askWith({ approver: async () => ({ deny: { reason: 'not today' } }) })
  await expect.poll(() => room.permissions.get(room.id)).toMatchObject({ state: 'denied', reason: 'not today' })
})

it.each([
  { id: 'answers nothing', approver: () => undefined, logs: 0 },
  { id: 'throws', approver: () => Promise.reject(new Error('boom')), logs: 1 },
  { id: 'answers nonsense', approver: () => ({ allow: 'yes' }) as never, logs: 1 }
] satisfies { id: string; approver: Approver; logs: number }[])(
  'an approver that $id leaves it to the owner',
  async ({ approver, logs }) => {
    let calls = 0
    const room = await askWith({ approver: (...asked) => (calls++, (approver as Approver)(...asked)) })
    await expect.poll(() => [calls, room.log.length]).toEqual([1, logs])
    expect(stateOf(room)).toBe('pending')
    await room.permissions.allow(room.id, { remember: 'once' })
    expect(stateOf(room)).toBe('allowed')
  }
)

it('a late answer after that of the owner is none', async () => {
  const late = Promise.withResolvers<void>()
  const room = await askWith({
    approver: async () => {
      await late.promise
      return { allow: { remember: 'always' } }
    }
  })
  await room.permissions.deny(room.id)
  late.resolve()
  // Another request shows that the late answer has been dealt with
  const next = await pendingOf(room.permissions.permit(ASK, questionOf(BOB, INPUT)))
  await expect.poll(() => room.permissions.get(next)?.state).toBe('allowed')
  expect(stateOf(room)).toBe('denied')
  expect(room.grants.issued.map(({ holder }) => holder)).toEqual([BOB])
})

const command = (script: string): string[] => [process.execPath, '-e', script]
const READ = 'let s = ""; process.stdin.on("data", (d) => (s += d)).on("end", () => done(JSON.parse(s)));'

it('an approver command reads the request and prints the answer', async () => {
  const script = `${READ} function done(r) { console.log(JSON.stringify({ deny: { reason: r.resource + ' of ' + r.peer } })) }`
  const room = await askWith({ approverCommand: command(script) })
  await expect
    .poll(() => room.permissions.get(room.id), { timeout: 10_000 })
    .toMatchObject({ state: 'denied', answeredBy: 'command', reason: `tool:fs/write of ${ALICE}` })
})

it.each([
  { id: 'ends with another code', run: command('process.exit(3)'), says: 'code 3' },
  { id: 'prints no JSON', run: command('console.log("yes")'), says: 'command failed' },
  { id: 'prints nonsense', run: command('console.log("{\\"allow\\":true}")'), says: 'neither' },
  { id: 'prints without end', run: command('setInterval(() => console.log("x".repeat(60000)), 1)'), says: '65536' },
  { id: 'does not exist', run: ['/no/such/command'], says: 'ENOENT' }
])('an approver command that $id leaves it to the owner, and that is logged', async ({ run, says }) => {
  const room = await askWith({ approverCommand: run })
  await expect.poll(() => room.log, { timeout: 10_000 }).toEqual([expect.stringContaining(says)])
  expect(stateOf(room)).toBe('pending')
})

it.each([
  { id: 'nothing', script: '' },
  { id: 'null', script: 'console.log("null")' }
])('an approver command that prints $id leaves it to the owner', async ({ script }) => {
  const room = await askWith({})
  const request = room.permissions.get(room.id)
  if (request === undefined) throw new Error('there is no request')
  const { signal } = new AbortController()
  await expect(commandApprover(command(script))(request, { signal })).resolves.toBeUndefined()
})

it('an approver command is killed when its time is over', async () => {
  const room = await askWith({})
  const request = room.permissions.get(room.id)
  if (request === undefined) throw new Error('there is no request')
  const over = new AbortController()
  const running = commandApprover(command('setInterval(() => {}, 1000)'))(request, { signal: over.signal })
  over.abort()
  await expect(running).rejects.toMatchObject({ code: 'CANCELLED' })
})

it('what an approver command has started ends with it', async () => {
  const room = await askWith({})
  const request = room.permissions.get(room.id)
  if (request === undefined) throw new Error('there is no request')
  const file = join(await tempFolder(), 'pid')
  const grandchild = 'setInterval(() => {}, 1000)'
  const script = `const { pid } = require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(grandchild)}]);
    require('node:fs').writeFileSync(${JSON.stringify(file)}, String(pid)); setInterval(() => {}, 1000)`
  const over = new AbortController()
  const running = commandApprover(command(script))(request, { signal: over.signal })
  const pid = await vi.waitUntil(() => existsSync(file) && Number(readFileSync(file, 'utf8')), { timeout: 10_000 })
  over.abort()
  await expect(running).rejects.toMatchObject({ code: 'CANCELLED' })
  await expect.poll(() => isRunning(pid)).toBe(false)
})

function isRunning(pid: number): boolean {
  try {
    // A zombie has ended: it waits for somebody to look at its exit code
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
