import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { beforeAll, describe, expect, it, onTestFailed, onTestFinished } from 'vitest'

const CHILD = join(import.meta.dirname, 'lan-node.ts')

interface Line {
  readonly event: string
  readonly [key: string]: unknown
}

describe('a LAN of network namespaces', () => {
  const isSkipped = whySkipped() !== undefined
  beforeAll(() => {
    if (isSkipped) process.stderr.write(`LAN tests are skipped: ${whySkipped()}\n`)
  })

  it.skipIf(isSkipped)(
    'finds its nodes by mDNS, heals after a cut, and takes a restarted node back',
    async () => {
      const lan = createLan(3)
      const [a, b, c] = await Promise.all([lan.start(0), lan.start(1), lan.start(2)])
      if (a === undefined || b === undefined || c === undefined) throw new Error('three nodes were asked for')
      const all = [a, b, c]
      await Promise.all(
        all.flatMap((node) => all.filter((other) => other !== node).map((other) => node.saw('peer:join', other.id)))
      )
      expect((await a.ask('status')).lan).toBe('on')

      // Of two connections that a pair got by dialling at once, one is closed
      for (const node of all)
        await expect.poll(() => node.ask('status'), { timeout: 10_000 }).toMatchObject({ connections: 2 })
      expect(await Promise.all(all.map((node) => node.ask('hold')))).toMatchObject([
        { held: 2 },
        { held: 2 },
        { held: 2 }
      ])
      lan.cut(2)
      await Promise.all([a.ask('break'), b.ask('break'), c.ask('break')])
      await Promise.all([a.saw('peer:leave', c.id), b.saw('peer:leave', c.id), c.saw('peer:leave', a.id)])
      const healedAt = Date.now()
      lan.heal(2)
      await Promise.all([a.saw('peer:join', c.id, 2), b.saw('peer:join', c.id, 2), c.saw('peer:join', a.id, 2)])
      expect(Date.now() - healedAt).toBeLessThan(15_000) // one mDNS interval and some

      await a.saw('peer:join', b.id, 2) // that broke as well
      b.process.kill('SIGKILL')
      await Promise.all([a.saw('peer:leave', b.id, 2), c.saw('peer:leave', b.id, 2)])
      const again = await lan.start(1)
      expect(again.id).toBe(b.id)
      await Promise.all([a.saw('peer:join', b.id, 3), c.saw('peer:join', b.id, 3), again.saw('peer:join', a.id)])
    },
    60_000
  )

  it.skipIf(isSkipped)(
    'says that there is no multicast route, and finds others once there is one',
    async () => {
      const lan = createLan(2)
      lan.removeMulticastRoute(1)
      const [a, late] = await Promise.all([lan.start(0), lan.start(1)])
      expect(late.ready.lan).toBe('no multicast route')
      lan.addMulticastRoute(1)
      await Promise.all([a.saw('peer:join', late.id), late.saw('peer:join', a.id)])
      await expect.poll(() => late.ask('status'), { timeout: 5_000 }).toMatchObject({ lan: 'on' })
    },
    30_000
  )

  it.skipIf(isSkipped)(
    'takes a node in that was started before its link was up',
    async () => {
      const lan = createLan(2)
      lan.setLink(1, 'down')
      const [a, late] = await Promise.all([lan.start(0), lan.start(1)])
      lan.setLink(1, 'up')
      lan.addMulticastRoute(1) // it went with the link
      await Promise.all([a.saw('peer:join', late.id), late.saw('peer:join', a.id)])
      expect(await late.ask('status')).toMatchObject({ lan: 'on' })
    },
    30_000
  )

  it.skipIf(isSkipped)(
    'finds nodes of its own mesh only',
    async () => {
      const lan = createLan(4)
      const [a, c] = await Promise.all([lan.start(0, 'lab'), lan.start(2)])
      // Whoever comes later asks at once, and everybody hears it
      const [b, d] = await Promise.all([lan.start(1, 'lab'), lan.start(3)])
      await Promise.all([a.saw('peer:join', b.id), b.saw('peer:join', a.id)])
      await Promise.all([c.saw('peer:join', d.id), d.saw('peer:join', c.id)])
      for (const [node, other] of [
        [a, b],
        [b, a],
        [c, d],
        [d, c]
      ] as const) {
        expect(await node.ask('peers')).toMatchObject({ peers: [other.id] })
        // Not even dialled
        expect(await node.ask('status')).toMatchObject({ connections: 1 })
      }
    },
    30_000
  )

  it.skipIf(isSkipped)(
    'lets the process end after stop, and keeps address and port across a restart',
    async () => {
      const lan = createLan(1)
      const first = await lan.start(0)
      void first.ask('stop')
      expect(await once(first.process, 'exit')).toEqual([0, null])
      const second = await lan.start(0)
      expect(second.id).toBe(first.id)
      expect(second.ready.addresses).toEqual(first.ready.addresses)
    },
    20_000
  )
})

function whySkipped(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    execFileSync('ip', ['netns', 'list'], { stdio: 'ignore' })
    return undefined
  } catch {
    return 'there is no ip netns here'
  }
}

/** Namespaces on a bridge, which has one of its own: nothing of it shows on the host. Gone with the test. */
function createLan(size: number) {
  const name = `pm${randomBytes(3).toString('hex')}`
  const bridge = `${name}br`
  const spaces = Array.from({ length: size }, (_, i) => `${name}n${i}`)
  const homes = spaces.map((space) => mkdtempSync(join(tmpdir(), `${space}-`)))
  const children: ChildProcess[] = []
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL')
    for (const space of [...spaces, bridge]) ip('netns', 'delete', space)
    for (const home of homes) rmSync(home, { recursive: true })
  })

  ip('netns', 'add', bridge)
  ip('-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0')
  ip('-n', bridge, 'link', 'set', 'br0', 'up')
  for (const [i, space] of spaces.entries()) {
    ip('netns', 'add', space)
    ip('-n', bridge, 'link', 'add', `v${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
    ip('-n', bridge, 'link', 'set', `v${i}`, 'master', 'br0', 'up')
    ip('-n', space, 'address', 'add', `10.77.0.${i + 1}/24`, 'dev', 'eth0')
    ip('-n', space, 'link', 'set', 'lo', 'up')
    ip('-n', space, 'link', 'set', 'eth0', 'up')
  }
  const route = (what: 'add' | 'del', i: number): void =>
    ip('-n', spaces[i] ?? '', 'route', what, '224.0.0.0/4', 'dev', 'eth0')
  for (const i of spaces.keys()) route('add', i)

  return {
    cut: (i: number) => ip('-n', bridge, 'link', 'set', `v${i}`, 'nomaster'), // no sign of it in the node's own namespace
    heal: (i: number) => ip('-n', bridge, 'link', 'set', `v${i}`, 'master', 'br0'),
    setLink: (i: number, to: 'up' | 'down') => ip('-n', spaces[i] ?? '', 'link', 'set', 'eth0', to),
    addMulticastRoute: (i: number) => route('add', i),
    removeMulticastRoute: (i: number) => route('del', i),
    start: (i: number, ...mesh: string[]) => startChild(spaces[i] ?? '', [homes[i] ?? '', ...mesh], children)
  }
}

async function startChild(space: string, args: readonly string[], children: ChildProcess[]) {
  const child = spawn('ip', ['netns', 'exec', space, process.execPath, CHILD, ...args], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  children.push(child)
  const lines: Line[] = []
  const waiting = new Set<() => void>()
  onTestFailed(() => void process.stderr.write(`${space}: ${JSON.stringify(lines, undefined, 1)}\n`))
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(JSON.parse(text))
    for (const check of waiting) check()
  })
  const find = (fits: (line: Line) => boolean, times: number): Promise<Line> =>
    new Promise((resolve) => {
      const check = (): void => {
        const found = lines.filter(fits)[times - 1]
        if (found === undefined) return
        waiting.delete(check)
        resolve(found)
      }
      waiting.add(check)
      check()
    })
  let asked = 0
  const ready = await find(({ event }) => event === 'ready', 1)
  return {
    process: child,
    ready,
    id: String(ready.id),
    /** Resolves when the event was seen for the `times`th time. */
    saw: (event: string, peer: string, times = 1) => find((line) => line.event === event && line.peer === peer, times),
    ask(command: string): Promise<Line> {
      child.stdin.write(`${command}\n`)
      return find(({ event }) => event === 'answer', ++asked)
    }
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args)
}
