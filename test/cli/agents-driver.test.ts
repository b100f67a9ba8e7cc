import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { json, startEndpoint } from '../drivers/endpoints.ts'
import { startNode } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

async function start() {
  const node = await startNode()
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  const add = (...args: readonly string[]) => run(['agents', 'add', 'shop', ...args, '--home', home])
  return { node, home, add }
}

it('adds an agent of any driver, configured by JSON or by a file of it', async () => {
  const { node, home, add } = await start()
  const { url } = await startEndpoint((request, response) => json(response, JSON.parse(request.body)))
  const config = JSON.stringify({ url, capabilities: [{ name: 'echo' }] })
  const file = join(home, 'shop.json')
  writeFileSync(file, config)
  expect(await add('--driver', 'http', '--config', config)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/driver +http\n/)
  })
  expect(await node.call('@shop', 'echo', { a: 1 })).toEqual({ a: 1 })
  await node.agents.remove('shop')
  expect(await add('--driver', 'http', '--config', file)).toMatchObject({ code: 0 })
  expect(await node.call('@shop', 'echo', { a: 2 })).toEqual({ a: 2 })
})

it.each([
  { id: 'a driver without a configuration', args: ['--driver', 'http'], text: '--driver and --config go together' },
  {
    id: 'a file that is not there',
    args: ['--driver', 'http', '--config', '/none.json'],
    text: "--config can't be read"
  },
  {
    id: 'two kinds at once',
    args: ['--driver', 'http', '--config', '{}', '--mcp', 'https://example.org'],
    text: 'give one of'
  },
  {
    id: 'a configuration that makes no sense',
    args: ['--driver', 'http', '--config', '{"url":"x"}'],
    text: 'url: must be a URL'
  }
])('refuses $id', async ({ args, text }) => {
  const { node, add } = await start()
  expect(await add(...args)).toMatchObject({ code: 2, stderr: expect.stringContaining(text) })
  expect(node.agents.list()).toEqual([])
})
