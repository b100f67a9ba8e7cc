import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import type { HealthReport } from '../../src/health/index.ts'
import { failureOf, startPair } from '../nodes.ts'
import { begin, run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

/** Two connected nodes; the program asks the near one, which has `well`, `ill` and `asleep`. */
async function start() {
  const [near, far] = await startPair()
  const home = temporaryFolder()
  const control = await openControl({ node: near, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  const offer = (name: string, handler: () => unknown) => ({ name, capabilities: [{ name: 'work', handler }] })
  const fail = (): never => {
    throw new Error('broken')
  }
  await near.agents.add(offer('well', () => 1))
  await near.agents.add(offer('ill', fail))
  for (let n = 0; n < 12; n += 1) await failureOf(near.call(`${near.id}/ill`, 'work'))
  const at = new Date(Date.now() + 12 * 3_600_000).toISOString().slice(11, 14)
  await near.agents.add({ ...offer('asleep', () => 1), availability: [{ from: `${at}00`, to: `${at}01` }] })
  await expect.poll(() => near.health.of('ill')?.state, { timeout: 10_000 }).toBe('degraded')
  const health = (...args: string[]) => run(['health', ...args, '--home', home])
  return { near, far, home, health }
}

it('lists agents and peers, for people and for programs', async () => {
  const { near, far, health } = await start()
  const [people, programs] = await Promise.all([health(), health('--json')])
  expect(people).toMatchObject({ code: 0, stderr: '' })
  const rows = people.stdout
    .trim()
    .split('\n')
    .map((row) => row.split('\t'))
  expect(rows.map(([state, id]) => [state, id])).toEqual([
    ['sleeping', `${near.id}/asleep`],
    ['degraded', `${near.id}/ill`],
    ['up', `${near.id}/well`],
    ['up', far.id]
  ])
  expect(rows[1]?.slice(3, 5)).toEqual(['12', '100 %'])
  expect(rows[1]?.at(-1)).toBe('100 % of the last 12 calls failed')
  const reports = JSON.parse(programs.stdout) as HealthReport[]
  expect(reports.map(({ state }) => state)).toEqual(['sleeping', 'degraded', 'up', 'up'])
  expect(reports[1]).toMatchObject({
    kind: 'agent',
    errorRate: 1,
    calls: 12,
    p50: expect.any(Number),
    p95: expect.any(Number)
  })
})

it('shows one by name, id or PeerId, and says when nothing is known', async () => {
  const { near, far, health } = await start()
  const [ill, asleep, peer, json, unknown] = await Promise.all([
    health('@ill'),
    health(`${near.id}/asleep`),
    health(far.id),
    health('ill', '--json'),
    health('nobody')
  ])
  expect(ill.stdout).toMatch(/^ {2}agent +12D3KooW\w+\/ill\n {2}state +degraded\n +100 % of the last 12 calls failed\n/)
  expect(asleep.stdout).toMatch(/\n {2}hours +mon-sun \d\d:00-\d\d:01 UTC\n {2}wakes +20\S+T\d\d:00:00\.000Z\n/)
  expect(peer.stdout).toMatch(/^ {2}peer +12D3KooW\w+\n {2}state +up\n/)
  expect(JSON.parse(json.stdout)).toMatchObject({ id: `${near.id}/ill`, state: 'degraded' })
  expect(unknown).toMatchObject({ code: 4, stdout: '', stderr: expect.stringContaining('NOT_FOUND') })
})

it('--watch goes on with each change', async () => {
  const { near, home } = await start()
  const watching = begin(['health', '--watch', '--json', 'asleep', '--home', home])
  expect((await watching.lines(1)).map((line) => (JSON.parse(line) as HealthReport).state)).toEqual(['sleeping'])
  await near.agents.update('asleep', { availability: [] })
  const lines = await watching.lines(2)
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({ id: `${near.id}/asleep`, state: 'up' })
  watching.kill('SIGINT')
  expect(await watching.finished).toMatchObject({ code: 0 })
})

it('explains itself', async () => {
  const { code, stdout } = await run(['health', '--help'])
  expect(code).toBe(0)
  expect(stdout).toMatch(/Examples:\n.* health\n/)
})

it.each([
  ['mon-fri 08:00-18:00 Europe/Berlin', [{ days: 'mon-fri', from: '08:00', to: '18:00', zone: 'Europe/Berlin' }]],
  ['22:00-06:00', [{ from: '22:00', to: '06:00' }]],
  ['sat,sun', [{ days: 'sat,sun' }]],
  ['mon 12:00-24:00', [{ days: 'mon', from: '12:00' }]],
  ['always', []]
])('agents update --available %j sets its hours', async (hours, windows) => {
  const { near, home } = await start()
  const { code, stderr } = await run(['agents', 'update', 'well', '--available', hours, '--home', home])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(near.agents.get('well')?.definition.availability).toEqual(windows)
})

it.each([
  ['noon', 'must be days'],
  ['08:00', 'are no hours'],
  ['mon 08:00-18:00 Mars/Olympus', 'must be a time zone'],
  ['mon 08:00-08:00', 'it would never fit'],
  ['foo 08:00-09:00', 'must be days']
])('--available %j is refused', async (hours, text) => {
  const { home } = await start()
  const { code, stderr } = await run(['agents', 'update', 'well', '--available', hours, '--home', home])
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(text) })
})

it('is beside the state of each agent in their list', async () => {
  const { home } = await start()
  const [people, programs] = await Promise.all([
    run(['agents', 'list', '--home', home]),
    run(['agents', 'list', '--json', '--home', home])
  ])
  const rows = people.stdout.split('\n').map((row) => row.split('\t'))
  expect(rows.map(([name, state, health]) => [name, state, health]).slice(0, 3)).toEqual([
    ['asleep', 'up', 'sleeping'],
    ['ill', 'up', 'degraded'],
    ['well', 'up', 'up']
  ])
  expect(rows[1]?.at(-1)).toBe('100 % of the last 12 calls failed')
  const agents = JSON.parse(programs.stdout) as { name: string; health: string }[]
  expect(agents.map(({ name, health }) => [name, health])).toEqual([
    ['asleep', 'sleeping'],
    ['ill', 'degraded'],
    ['well', 'up']
  ])
})
