import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, it, onTestFailed, onTestFinished } from 'vitest'

const CHILD = fileURLToPath(new URL('./partition-node.ts', import.meta.url))
/** Longer than what the nodes take to notice. */
const CUT_MS = Number(process.env['MESH_PARTITION_MS'] ?? 15_000)
const HEALED_MS = 30_000
const LOSS_PERCENT = 10

describe('two nodes whose network loses a tenth of all packets', () => {
  const why = whySkipped()
  beforeAll(() => {
    if (why !== undefined) process.stderr.write(`partitions are not tested: ${why}\n`)
  })

  it.skipIf(why !== undefined)(
    `have delivered everything ${HEALED_MS / 1_000} s after a partition of ${CUT_MS / 1_000} s has healed, once and in order`,
    async () => {
      const wire = createWire()
      const [a, b] = await Promise.all([wire.start(0), wire.start(1)])
      wire.filter(LOSS_PERCENT)
      a.tell({ connect: `/ip4/${ADDRESSES[1]}/tcp/4001/p2p/${b.id}` })
      await a.saw((line) => line.connected === b.id)
      const send = async (first: number, count: number): Promise<void> => {
        for (const [from, to] of [
          [a, b],
          [b, a]
        ] as const) {
          from.tell({ to: to.id, first, count })
          await from.saw((line) => line.sent === first + count - 1)
        }
      }
      await send(1, 300)
      // Some of it is under way
      await b.saw((line) => Number(line.handled) > 0)
      wire.filter(100)
      const before = [a.last.handled, b.last.handled]
      await send(301, 500)
      await sleep(CUT_MS)
      expect(
        [a.last.handled, b.last.handled].map((count, n) => Number(count) < 800 && Number(count) >= Number(before[n]))
      ).toEqual([true, true])
      const healedAt = Date.now()
      wire.filter(LOSS_PERCENT)
      const done = (line: Line): boolean => line.handled === 800 && line.queued === 0
      await Promise.all([a.saw(done), b.saw(done)])
      expect(Date.now() - healedAt).toBeLessThan(HEALED_MS)
      expect([a.last.wrong, b.last.wrong]).toEqual([[], []])
    },
    CUT_MS + HEALED_MS + 60_000
  )
})

interface Line {
  readonly [what: string]: unknown
}

const ADDRESSES = ['10.78.0.1', '10.78.0.2'] as const

function whySkipped(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  try {
    run('ip', 'netns', 'list')
    run('nft', '--version')
    return undefined
  } catch {
    return 'there is no ip netns or no nft here'
  }
}

/** Two namespaces, joined by one cable. Gone with the test. */
function createWire() {
  const name = `pm${randomBytes(3).toString('hex')}`
  const spaces = ADDRESSES.map((_, i) => `${name}w${i}`)
  const homes = spaces.map((space) => mkdtempSync(join(tmpdir(), `${space}-`)))
  const children: ChildProcess[] = []
  onTestFinished(() => {
    for (const child of children) child.kill('SIGKILL')
    for (const space of spaces) run('ip', 'netns', 'delete', space)
    for (const home of homes) rmSync(home, { recursive: true, force: true })
  })
  const [left = '', right = ''] = spaces
  for (const space of spaces) run('ip', 'netns', 'add', space)
  run('ip', '-n', left, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', right)
  for (const [i, space] of spaces.entries()) {
    run('ip', '-n', space, 'address', 'add', `${ADDRESSES[i]}/24`, 'dev', 'eth0')
    for (const link of ['lo', 'eth0']) run('ip', '-n', space, 'link', 'set', link, 'up')
    inSpace(space, 'nft', 'add', 'table', 'inet', 'wire')
    inSpace(space, 'nft', 'add', 'chain', 'inet', 'wire', 'in', '{ type filter hook input priority 0; }')
  }
  return {
    /** Drops this share of what comes, on both sides. */
    filter(percent: number) {
      for (const space of spaces) {
        inSpace(space, 'nft', 'flush', 'chain', 'inet', 'wire', 'in')
        const random = percent === 100 ? [] : ['numgen', 'random', 'mod', '1000', '<', String(percent * 10)]
        inSpace(space, 'nft', 'add', 'rule', 'inet', 'wire', 'in', 'iifname', 'eth0', ...random, 'drop')
      }
    },
    start: (i: 0 | 1) => startNode(spaces[i] ?? '', { home: homes[i] ?? '', address: ADDRESSES[i], children })
  }
}

async function startNode(
  space: string,
  { home, address, children }: { readonly home: string; readonly address: string; readonly children: ChildProcess[] }
) {
  const args = ['netns', 'exec', space, process.execPath, CHILD, home, `/ip4/${address}/tcp/4001`]
  const child = spawn('ip', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  let last: Line = {}
  const told: Line[] = []
  const waiting = new Set<(line: Line) => void>()
  onTestFailed(() => void process.stderr.write(`${space}: ${JSON.stringify([...told, last])}\n`))
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line: Line = JSON.parse(text)
    if ('handled' in line) last = line
    else told.push(line)
    for (const look of waiting) look(line)
  })
  const saw = (fits: (line: Line) => boolean): Promise<Line> => {
    const found = told.find(fits)
    if (found !== undefined) return Promise.resolve(found)
    return new Promise((resolve) => {
      const look = (line: Line): void => {
        if (!fits(line)) return
        waiting.delete(look)
        resolve(line)
      }
      waiting.add(look)
    })
  }
  const { id } = await saw((line) => 'id' in line)
  return {
    id: String(id),
    saw,
    tell: (command: object) => void child.stdin.write(`${JSON.stringify(command)}\n`),
    get last() {
      return last
    }
  }
}

function inSpace(space: string, ...command: string[]): void {
  run('ip', 'netns', 'exec', space, ...command)
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
