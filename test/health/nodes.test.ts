import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished, vi } from 'vitest'
import type { MeshError } from '../../src/errors.ts'
import type { MeshEvents, Node } from '../../src/index.ts'
import { ODD_SERVER } from '../drivers/support.ts'
import { addressOf, failureOf, nextEvent, startNode, startPair } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

// Probes come seconds after each other, and are given five to be answered
vi.setConfig({ testTimeout: 90_000 })

const within = { timeout: 45_000, interval: 100 }

const found = async (node: Node, name: string): Promise<string[]> =>
  (await Array.fromAsync(node.find({ name }))).map(({ agent }) => agent)

it('an MCP server that is killed is withdrawn, and found again when it runs', async () => {
  const [near, far] = await startPair()
  const config = { command: process.execPath, args: [ODD_SERVER] }
  const { id } = await far.agents.add({ name: 'odd', driver: 'mcp-stdio', config, allow: 'any' })
  await expect.poll(() => found(near, 'echo'), within).toEqual([id])
  const [down, up] = [nextEvent(far, 'agent:down'), nextEvent(far, 'agent:up')]
  const answer = (await near.call(id, 'pid')) as { content: { text: string }[] }
  process.kill(Number(answer.content[0]?.text), 'SIGKILL')
  expect(await down).toMatchObject({ agent: id, reason: expect.stringContaining('SIGKILL') })
  await up
  expect(far.health.of('odd')).toMatchObject({ state: 'up' })
  await expect.poll(() => found(near, 'echo'), within).toEqual([id])
  await near.call(id, 'echo', {})
})

/** An agent at a URL, as well as `how` says. */
async function startEndpoint() {
  const how = { status: 200, delayMs: 0, isWell: true }
  const answer = (response: ServerResponse, status: number): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end('{"ok":true}')
  }
  const server = createServer((request, response) => {
    request.resume()
    if (request.url === '/health') answer(response, how.isWell ? 200 : 503)
    else setTimeout(() => answer(response, how.status), how.delayMs)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const config = {
    url: `http://127.0.0.1:${port}`,
    health: 'health',
    capabilities: [{ kind: 'tool', name: 'web.do', version: '1.0.0' }],
    allowPrivate: true
  }
  return { how, config }
}

it('an endpoint whose calls fail is degraded, and well again once they do not', async () => {
  const node = await startNode()
  const { how, config } = await startEndpoint()
  const { id } = await node.agents.add({ name: 'web', driver: 'http', config })
  const calls = (times: number) =>
    Promise.all(Array.from({ length: times }, () => node.call(id, 'web.do').catch(() => {})))
  await calls(20)
  how.status = 500
  const degraded = nextEvent(node, 'agent:degraded')
  for (let n = 0; n < 5; n += 1) await calls(1)
  expect(await degraded).toEqual({ agent: id, reason: expect.stringMatching(/^\d\d % of the last \d+ calls failed$/) })
  expect(node.health.of(id)).toMatchObject({ state: 'degraded' })
  how.status = 200
  // The driver's own breaker may keep calls back for a while, which fail then too
  await expect
    .poll(async () => {
      await calls(20)
      return node.health.of(id)?.state
    }, within)
    .toBe('up')
})

it('an endpoint that turns slow is degraded', async () => {
  const node = await startNode()
  const { how, config } = await startEndpoint()
  const { id } = await node.agents.add({ name: 'web', driver: 'http', config })
  for (let n = 0; n < 30; n += 1) await node.call(id, 'web.do')
  const usual = (): number => node.health.of(id)?.p95 ?? Number.POSITIVE_INFINITY
  // What is usual is learnt when it is looked at
  await expect.poll(() => node.health.of(id)?.calls, within).toBe(30)
  await expect.poll(() => node.health.of(id)?.lastProbe !== undefined || usual() < 1_000, within).toBe(true)
  const degraded = nextEvent(node, 'agent:degraded')
  how.delayMs = Math.max(400, usual() * 5)
  let isOver = false
  void degraded.then(() => (isOver = true))
  while (!isOver) await Promise.all(Array.from({ length: 4 }, () => node.call(id, 'web.do')))
  expect(await degraded).toEqual({ agent: id, reason: expect.stringMatching(/^a call in twenty takes longer than /) })
})

it('an endpoint that is not well any more is down and withdrawn, until it is', async () => {
  const [near, far] = await startPair()
  const { how, config } = await startEndpoint()
  const { id } = await far.agents.add({ name: 'web', driver: 'http', config, allow: 'any' })
  await expect.poll(() => found(near, 'web.do'), within).toEqual([id])
  const down = nextEvent(far, 'agent:down')
  how.isWell = false
  expect(await down).toMatchObject({ agent: id })
  expect(far.health.of(id)).toMatchObject({ state: 'down', lastProbe: { ok: false } })
  await expect.poll(() => found(near, 'web.do'), within).toEqual([])
  const up = nextEvent(far, 'agent:up')
  how.isWell = true
  await up
  expect(far.health.of(id)).toMatchObject({ state: 'up', lastProbe: { ok: true } })
  await expect.poll(() => found(near, 'web.do'), within).toEqual([id])
})

it('a peer that goes silent is down, its agents come last, and up when it goes on', async () => {
  const near = await startNode({ name: 'near' })
  const home = await tempFolder()
  const file = join(home, 'worker.mjs')
  await writeFile(file, "export const agent = { capabilities: [{ name: 'work', handler: () => 1 }] }")
  const main = fileURLToPath(new URL('../node-child.ts', import.meta.url))
  const child = spawn(process.execPath, [main, join(home, 'home'), file], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const { id: peer, address } = JSON.parse(line.toString()) as { id: string; address: string }
  const other = await startNode({ name: 'other' })
  const { id: well } = await other.agents.add({
    name: 'worker',
    capabilities: [{ name: 'work', handler: () => 2 }],
    allow: 'any'
  })
  await near.connect(address)
  await near.connect(addressOf(other))
  const worker = `${peer}/worker`
  expect(await near.call(worker, 'work')).toBe(1)
  await expect.poll(() => found(near, 'work').then((all) => all.toSorted()), within).toEqual([worker, well].toSorted())
  const isOurs = (detail: MeshEvents['peer:down'] | MeshEvents['peer:up']) => detail.peer === peer
  const down = nextEvent(near, 'peer:down', isOurs)
  child.kill('SIGSTOP')
  expect((await down).reason).not.toBe('')
  expect(near.health.of(peer)?.state).toBe('down')
  expect(near.health.of(worker)).toMatchObject({ state: 'down', reason: 'its node does not answer' })
  const [first] = await Array.fromAsync(near.find({ name: 'work', limit: 1 }))
  expect(first?.agent).toBe(well)
  const up = nextEvent(near, 'peer:up', isOurs)
  child.kill('SIGCONT')
  await up
  expect(await near.call(worker, 'work')).toBe(1)
})

it('an agent of a peer whose calls fail is found after one whose calls do not', async () => {
  const [near, far] = await startPair()
  const other = await startNode({ name: 'other' })
  await near.connect(addressOf(other))
  const offer = (handler: () => unknown) =>
    ({ name: 'w', capabilities: [{ name: 'work', handler }], allow: 'any' }) as const
  const { id: good } = await far.agents.add(offer(() => 1))
  const { id: bad } = await other.agents.add(
    offer(() => {
      throw new Error('broken')
    })
  )
  await expect.poll(() => found(near, 'work').then((all) => all.toSorted()), within).toEqual([good, bad].toSorted())
  for (let n = 0; n < 12; n += 1) await failureOf(near.call(bad, 'work'))
  await near.call(good, 'work')
  expect(near.health.of(bad)).toMatchObject({ state: 'degraded', errorRate: 1 })
  expect(await found(near, 'work')).toEqual([good, bad])
})

it('a stream counts by its first item, at both ends', async () => {
  const [near, far] = await startPair()
  await far.trust.set(near.id, { level: 'known' })
  const { id } = await far.agents.add({
    name: 's',
    allow: 'any',
    capabilities: [
      {
        name: 'good',
        async *handler() {
          yield* [1, 2, 3]
        }
      },
      {
        name: 'bad',
        streaming: true,
        handler: () => {
          throw new Error('broken')
        }
      },
      {
        name: 'late',
        streaming: true,
        handler: async () => {
          throw new Error('broken')
        }
      }
    ]
  })
  expect(await Array.fromAsync(near.stream(id, 'good'))).toEqual([1, 2, 3])
  for (const name of ['bad', 'late']) {
    expect(await failureOf(Array.fromAsync(near.stream(id, name)))).toMatchObject({ code: 'AGENT_ERROR' })
  }
  for await (const item of near.stream(id, 'good')) if (item === 1) break
  for (const node of [near, far]) {
    expect(node.health.of(id)).toMatchObject({ calls: 4, errorRate: 0.5, p95: expect.any(Number) })
  }
  await expect.poll(() => near.health.info(far.id), within).toMatchObject({ running: 0 })
})

/** Hours that are over: a minute, half a day from now. */
function otherHours() {
  const at = new Date(Date.now() + 12 * 3_600_000)
  const clock = (minutes: number) => new Date(at.getTime() + minutes * 60_000).toISOString().slice(11, 16)
  return [{ from: clock(0), to: clock(1) }]
}

it('a sleeping agent is found, says when it wakes, and gets its messages then', async () => {
  const [near, far] = await startPair()
  await far.policy.put([{ id: 'm', effect: 'allow', who: near.id, act: 'message.send', res: 'agent:night' }])
  const taken: unknown[] = []
  const { id } = await far.agents.add({
    name: 'night',
    allow: 'any',
    availability: otherHours(),
    capabilities: [{ name: 'watch', handler: () => 1 }],
    onMessage: (message: unknown) => void taken.push(message)
  })
  await expect.poll(() => found(near, 'watch'), within).toEqual([id])
  await far.agents.add({
    name: 'closed',
    availability: otherHours(),
    capabilities: [{ name: 'watch', handler: () => 1 }]
  })
  expect(await failureOf(near.call(`${far.id}/closed`, 'watch'))).toMatchObject({ code: 'FORBIDDEN' })
  for (const node of [near, far]) {
    const failure = (await failureOf(node.call(id, 'watch'))) as MeshError
    expect(failure).toMatchObject({ code: 'AGENT_UNAVAILABLE', message: expect.stringContaining('asleep until') })
    expect(failure.data).toEqual({ opensAt: expect.stringMatching(/T\d\d:\d\d:00\.000Z$/) })
  }
  expect(far.health.of('night')).toMatchObject({ state: 'sleeping', availability: { isOpen: false } })
  const { record } = await near.resolve(id)
  expect(record.availability).toEqual(far.agents.get('night')?.definition.availability)
  const { id: message } = await near.send(id, 'wake up')
  const stored = () => far.messages.inbox({ state: 'all', agent: 'night' }).map((each) => each.state)
  await expect.poll(stored, within).toEqual(['accepted'])
  expect(taken).toEqual([])
  const up = nextEvent(far, 'agent:up')
  await far.agents.update('night', { availability: [] })
  await up
  await expect.poll(() => taken, within).toMatchObject([{ id: message, body: 'wake up' }])
  expect(await near.call(id, 'watch')).toBe(1)
  expect(far.agents.get('night')?.record?.record).not.toHaveProperty('availability')
})

it('tells peers from level known on how it is, and others only that it is', async () => {
  const [near, far] = await startPair()
  expect(await failureOf(near.health.info(far.id))).toMatchObject({ code: 'FORBIDDEN' })
  await far.trust.set(near.id, { level: 'known' })
  expect(await near.health.info(far.id)).toEqual({
    version: far.status().version,
    uptimeMs: expect.any(Number),
    running: 0
  })
})
