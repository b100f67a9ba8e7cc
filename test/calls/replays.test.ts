import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { multiaddr } from '@multiformats/multiaddr'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { CALL } from '../../src/calls/index.ts'
import { createClient } from '../../src/cli/client.ts'
import { openControl } from '../../src/gateway/index.ts'
import type { AgentInit, Node } from '../../src/index.ts'
import { temporaryFolder } from '../cli/program.ts'
import { cuttable } from '../cutting.ts'
import { addressOf, failureOf, startNode } from '../nodes.ts'
import { startNode as startBare, type TestNode } from '../rpc/nodes.ts'
import { tempFolder } from '../temp.ts'

// A hundred connections take a while on a busy machine
vi.setConfig({ testTimeout: 180_000 })

/** 32 bits that follow from a seed and a number. */
function drawn(seed: number, n: number): number {
  let bits = Math.imul(seed ^ (n * 0x9e3779b1), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/** Numbered texts of very different sizes. */
function textOf(seed: number, n: number): string {
  const bits = drawn(seed, n)
  return `${n} ${bits.toString(36).repeat(n % 50 === 0 ? 4_000 + (bits % 9_000) : bits % 300)} ü`
}

interface Log {
  starts: number
  ends: unknown[]
  made?: number
  /** The agent may end. */
  isEnough?: boolean
}

function texts(seed: number, log: Log): AgentInit {
  return {
    name: 'texts',
    allow: 'any',
    capabilities: [
      {
        name: 'read',
        async *handler(input, context) {
          const { signal } = context
          log.starts += 1
          signal.addEventListener('abort', () => log.ends.push((signal.reason as { code?: string }).code))
          const { to } = input as { to: number }
          for (let n = 1; n <= to && log.isEnough !== true; n += 1) {
            log.made = n
            yield textOf(seed, n)
          }
          log.ends.push('end')
        }
      },
      { name: 'one', handler: () => 'the only one' },
      { name: 'nothing', handler: () => undefined },
      {
        name: 'fail',
        handler: () => {
          throw new Error('secret text')
        }
      }
    ]
  }
}

async function startCuttable(seed = 1): Promise<{ near: Node; far: Node; log: Log; cut: () => boolean }> {
  const cutter = cuttable()
  // Both, as either may dial the other again
  const far = await startNode({ name: 'far', transports: cutter.transports })
  const near = await startNode({ name: 'near', transports: cutter.transports })
  await near.connect(addressOf(far))
  const log: Log = { starts: 0, ends: [] }
  await far.agents.add(texts(seed, log))
  return { near, far, log, cut: () => cutter.cut() }
}

it('a stream that is cut a hundred times is read whole, in order, from one run of the agent', async () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e9))
  const { near, log, cut } = await startCuttable(seed)
  let cuts = 0
  let read = 0
  let wrong: number | undefined
  for await (const item of near.stream('@texts', 'read', { to: 1e9 }, { timeoutMs: 170_000 })) {
    read += 1
    if (item !== textOf(seed, read)) wrong ??= read
    const isDrawn = drawn(seed + 1, read) % 8 === 0
    if (isDrawn && cuts < 100 && cut()) cuts += 1
    log.isEnough = cuts === 100
  }
  expect({ cuts, read, wrong, starts: log.starts, ends: log.ends }, `seed ${seed}`).toEqual({
    cuts: 100,
    read: log.made,
    wrong: undefined,
    starts: 1,
    ends: ['end']
  })
})

it('leaving the loop ends the agent’s work, also of a stream that was resumed', async () => {
  const { near, log, cut } = await startCuttable()
  for await (const item of near.stream('@texts', 'read', { to: 1e9 })) {
    if (Number(String(item).split(' ')[0]) === 50) cut()
    if (Number(String(item).split(' ')[0]) === 900) break
  }
  await expect.poll(() => log.ends).toEqual(['CANCELLED'])
  expect(log.starts).toBe(1)
})

it('the deadline of a stream ends it, however often it was resumed', async () => {
  const { near, log, cut } = await startCuttable()
  const read = async (): Promise<void> => {
    for await (const item of near.stream('@texts', 'read', { to: 1e9 }, { timeoutMs: 1_500 })) {
      if (String(item).startsWith('70 ')) cut()
    }
  }
  expect(await failureOf(read())).toMatchObject({ code: 'TIMEOUT' })
  await expect.poll(() => log.ends).toHaveLength(1)
})

it('a plain result is the only item, and a failure the end', async () => {
  const { near } = await startCuttable()
  expect(await Array.fromAsync(near.stream('@texts', 'one'))).toEqual(['the only one'])
  expect(await Array.fromAsync(near.stream('@texts', 'nothing'))).toEqual([])
  expect(await failureOf(Array.fromAsync(near.stream('@texts', 'fail')))).toMatchObject({ code: 'AGENT_ERROR' })
})

it('is read over the control socket as if nothing had happened', async () => {
  const { near, log, cut } = await startCuttable()
  const home = temporaryFolder()
  const control = await openControl({ node: near, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  const client = createClient({ home, signal: AbortSignal.timeout(30_000) })
  const body = { target: '@texts', capability: 'read', input: { to: 3_000 } }
  let read = 0
  for await (const item of client.items('POST', '/v1/call', body)) {
    read += 1
    if (item !== textOf(1, read)) break
    if (read % 700 === 0) cut()
  }
  expect({ read, starts: log.starts, ends: log.ends }).toEqual({ read: 3_000, starts: 1, ends: ['end'] })
})

it('an agent’s node that was killed and started again says so too: nothing is left out in silence', async () => {
  const home = await tempFolder()
  const file = join(home, 'texts.mjs')
  await writeFile(file, COUNTING_MODULE)
  const first = await startChild(home, file)
  const near = await startNode({ name: 'near' })
  await near.connect(first.address)
  const read = async (): Promise<void> => {
    let isFirst = true
    for await (const _item of near.stream(`${first.id}/worker`, 'count', {}, { timeoutMs: 40_000 })) {
      if (!isFirst) continue
      isFirst = false
      await first.kill()
      await startChild(home)
    }
  }
  expect(await failureOf(read())).toMatchObject({ code: 'STREAM_LOST' })
})

/** Counts for ever, slowly enough to be killed in the middle. */
const COUNTING_MODULE = `export const agent = { capabilities: [{
  name: 'count',
  async *handler() {
    for (let n = 1; ; n += 1) {
      yield n
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}] }`

async function startChild(home: string, file?: string) {
  const script = fileURLToPath(new URL('../node-child.ts', import.meta.url))
  const child = spawn(process.execPath, [script, home, ...(file === undefined ? [] : [file])], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = await once(createInterface(child.stdout), 'line')
  const { id, address } = JSON.parse(String(line)) as { id: string; address: string }
  const kill = async (): Promise<void> => {
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  return { id, address, kill }
}

/** A peer that says what it likes. */
async function startAsker(far: Node): Promise<TestNode> {
  const asker = await startBare()
  await asker.libp2p.dial(multiaddr(addressOf(far)))
  return asker
}

describe('a stream asked for by its id', () => {
  const ID = 'AAAAAAAAAAAAAAAAAAAAAA'
  const body = (after: number, change: object = {}) => ({
    agent: 'texts',
    capability: 'read',
    input: { to: 1e9 },
    stream: { id: ID, after },
    ...change
  })

  async function start() {
    const far = await startNode({ name: 'far' })
    const log: Log = { starts: 0, ends: [] }
    const { id } = await far.agents.add(texts(1, log))
    const asker = await startAsker(far)
    const ask = (asked: unknown, by = asker) => by.rpc.stream(far.id, CALL, asked)
    return { far, log, asker, ask, id }
  }

  const cutOff = ({ libp2p }: TestNode): void => {
    for (const connection of libp2p.getConnections()) connection.abort(new Error('cut by the test'))
  }

  it('goes on where it is asked to, on another connection too, and is not begun twice', async () => {
    const { far, log, asker, ask } = await start()
    const first = ask(body(0))
    for (let n = 1; n <= 20; n += 1) expect(await first.next()).toEqual({ done: false, value: textOf(1, n) })
    cutOff(asker)
    await asker.libp2p.dial(multiaddr(addressOf(far)))
    for (const after of [15, 18]) {
      const again = ask(body(after))
      expect(await again.next()).toEqual({ done: false, value: textOf(1, after + 1) })
    }
    expect(log).toMatchObject({ starts: 1, ends: [] })
  })

  it('whoever reads it already loses it', async () => {
    const { log, ask } = await start()
    const first = ask(body(0))
    await first.next()
    const second = ask(body(1))
    expect(await second.next()).toEqual({ done: false, value: textOf(1, 2) })
    const rest = (async () => {
      for await (const _item of first);
    })()
    expect(await failureOf(rest)).toMatchObject({ code: 'CONNECTION_LOST' })
    expect(log.starts).toBe(1)
  })

  it('of the same id but of another caller is another stream', async () => {
    const { far, log, ask } = await start()
    const other = await startAsker(far)
    await ask(body(0)).next()
    expect(await failureOf(ask(body(1), other).next())).toMatchObject({ code: 'STREAM_LOST' })
    expect(await ask(body(0), other).next(), 'begun anew').toEqual({ done: false, value: textOf(1, 1) })
    expect(log.starts).toBe(2)
  })

  it.each([
    { id: 'more came than was sent', after: 1_000_000, change: {}, code: 'STREAM_LOST' },
    { id: 'another capability', after: 1, change: { capability: 'one' }, code: 'INVALID_ARGUMENT' },
    { id: 'an id that is none', after: 0, change: { stream: { id: 'short', after: 0 } }, code: 'INVALID_MESSAGE' },
    { id: 'no number', after: 0, change: { stream: { id: ID, after: -1 } }, code: 'INVALID_MESSAGE' },
    {
      id: 'a stream that nobody knows',
      after: 0,
      change: { stream: { id: `B${ID.slice(1)}`, after: 3 } },
      code: 'STREAM_LOST'
    }
  ])('$id: $code', async ({ after, change, code }) => {
    const { ask } = await start()
    await ask(body(0)).next()
    expect(await failureOf(ask(body(after, change)).next())).toMatchObject({ code })
  })

  it('items that were read long ago are not kept', async () => {
    const { log, ask } = await start()
    const first = ask(body(0))
    for (let n = 1; n <= 2_000; n += 1) await first.next()
    expect(await failureOf(ask(body(10)).next())).toMatchObject({ code: 'STREAM_LOST' })
    expect(await ask(body(1_990)).next()).toEqual({ done: false, value: textOf(1, 1_991) })
    expect(log.starts).toBe(1)
  })

  it('its end can be read again, and what it failed with', async () => {
    const { ask } = await start()
    const whole = body(0, { input: { to: 3 } })
    expect(await Array.fromAsync(ask(whole))).toHaveLength(3)
    expect(await Array.fromAsync(ask(body(2)))).toEqual([textOf(1, 3)])
    expect(await Array.fromAsync(ask(body(3)))).toEqual([])
  })

  it('who may not call any more can’t go on', async () => {
    const { far, asker, ask } = await start()
    await ask(body(0)).next()
    await far.agents.update('texts', { allow: [] })
    expect(await failureOf(ask(body(1)).next())).toMatchObject({ code: 'FORBIDDEN' })
    await far.trust.set(asker.id, { level: 'blocked' })
  })

  it('ends when its caller is blocked', async () => {
    const { far, log, asker, ask } = await start()
    await ask(body(0)).next()
    await far.trust.set(asker.id, { level: 'blocked' })
    await expect.poll(() => log.ends).toEqual(['FORBIDDEN'])
  })

  it('takes its limits once', async () => {
    const { far, asker, ask } = await start()
    await far.policy.put([
      {
        id: 'once',
        effect: 'allow',
        who: '*',
        act: 'tool.call',
        res: 'tool:texts/read',
        limit: { calls: '1/1h' }
      }
    ])
    await far.agents.update('texts', { allow: [] })
    await ask(body(0)).next()
    cutOff(asker)
    await asker.libp2p.dial(multiaddr(addressOf(far)))
    expect(await ask(body(1)).next()).toEqual({ done: false, value: textOf(1, 2) })
    const other = { stream: { id: `C${ID.slice(1)}`, after: 0 } }
    expect(await failureOf(ask(body(0, other)).next())).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  })
})
