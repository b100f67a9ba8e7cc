import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, it, onTestFinished } from 'vitest'
import type { Node } from '../../src/index.ts'
import { nextEvent } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { type EdgeKit, startEdge } from './ws-kit.ts'

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** A program of the README, by the comment that it begins with. */
function program(name: string): string {
  const [, text] = new RegExp(`\`\`\`\\w+\\n((?://|#) ${name}: [\\s\\S]*?)\`\`\``).exec(README) ?? []
  if (text === undefined) throw new Error(`the README has no ${name}`)
  return text
}

interface Running {
  readonly child: ChildProcess
  /** The next line that it prints. */
  readonly line: () => Promise<string>
}

/** Runs a program of the README as a reader of it would. */
async function run(name: string, command: string, { url, ownerToken }: EdgeKit): Promise<Running> {
  const folder = await tempFolder()
  await writeFile(join(folder, name), program(name))
  await writeFile(join(folder, 'http.token'), `${ownerToken}\n`)
  const address = name.endsWith('.py') ? new URL(url).host : url
  const child = spawn(command, [name, address, 'http.token'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return {
    child,
    async line() {
      const { done, value } = await lines.next()
      if (done === true) throw new Error(`${name} has ended`)
      return value
    }
  }
}

const callers = (node: Node, agent: string) => (capability: string, input: unknown) =>
  node.call(`${node.id}/${agent}`, capability, input)

it("the README's agents in JavaScript and Python are called, stream, are written to, and call each other", async () => {
  const kit = await startEdge()
  const { node } = kit
  const weather = await run('weather.mjs', process.execPath, kit)
  expect(await weather.line()).toBe(`${node.id}/weather`)
  const words = await run('words.py', 'python3', kit)
  expect([await words.line(), await words.line()]).toEqual([`${node.id}/words`, 'sunny in Riga'])

  const ask = callers(node, 'weather')
  expect(await ask('weather.today', { city: 'Lviv' })).toBe('sunny in Lviv')
  expect(await ask('weather.hours', { city: 'Lviv' })).toHaveLength(24)
  await expect(ask('weather.today', {})).rejects.toMatchObject({ code: 'INVALID_INPUT', message: 'which city?' })
  expect(await callers(node, 'words')('words.count', { text: 'how many are these' })).toBe(4)
  // As long as the frames of each of the three kinds of lengths
  for (const length of [10, 1_000, 100_000])
    expect(await callers(node, 'words')('words.count', { text: 'a '.repeat(length / 2) })).toBe(length / 2)

  const { id } = await node.send(`${node.id}/weather`, 'thank you')
  expect(await weather.line()).toBe(`${node.id}/owner wrote "thank you"`)
  await node.messages.waitFor(id, { signal: AbortSignal.timeout(5_000) })
}, 20_000)

it.each([
  { name: 'weather.mjs', command: process.execPath },
  { name: 'words.py', command: 'python3' }
])('$name of the README answers pings, and is missed when it is killed', async ({ name, command }) => {
  const kit = await startEdge({ limits: { pingMs: 20, sweepMs: 10, deadMs: 400, resumeMs: 50 } })
  const { child, line } = await run(name, command, kit)
  const id = await line()
  const down = nextEvent(kit.node, 'agent:down')
  // Longer than it would be taken for dead without its pongs
  const deadline = once(AbortSignal.timeout(1_000), 'abort').then(() => 'still there')
  expect(await Promise.race([down, deadline])).toBe('still there')
  child.kill('SIGKILL')
  expect(await down).toMatchObject({ agent: id, reason: 'it has not come back' })
})
