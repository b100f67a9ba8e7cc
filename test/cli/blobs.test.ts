import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import type { Node } from '../../src/index.ts'
import { addressOf, startNode } from '../nodes.ts'
import { type Finished, run, temporaryFolder } from './program.ts'

// Each run is a process of its own: seconds on a busy machine
vi.setConfig({ testTimeout: 120_000 })

const CONTENT = 'some content'
const SHA256 = createHash('sha256').update(CONTENT).digest('hex')

async function start(): Promise<{ node: Node; home: string; blobs: (...args: string[]) => Promise<Finished> }> {
  const node = await startNode()
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, home, blobs: (...args) => run(['blobs', ...args, '--home', home]) }
}

it('a file is put here, shared, and got there', async () => {
  const [far, near] = [await start(), await start()]
  await near.node.connect(addressOf(far.node))
  const file = join(far.home, 'file')
  await writeFile(file, CONTENT)
  expect(await far.blobs('list')).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('blobs put') })
  expect(await far.blobs('put', file)).toMatchObject({ code: 0, stdout: `${SHA256}\n` })
  const copy = join(near.home, 'copy')
  const get = ['get', SHA256, copy, '--from', far.node.id]
  expect(await near.blobs(...get)).toMatchObject({ code: 3, stderr: expect.stringContaining('FORBIDDEN') })
  expect(await far.blobs('share', SHA256, near.node.id)).toMatchObject({ stdout: `shared with ${near.node.id}\n` })
  expect(await near.blobs(...get)).toMatchObject({ code: 0, stdout: expect.stringContaining(copy) })
  expect(await readFile(copy, 'utf8')).toBe(CONTENT)
  const listed = JSON.parse((await far.blobs('list', '--json')).stdout) as unknown
  expect(listed).toMatchObject([{ sha256: SHA256, size: CONTENT.length, readers: [near.node.id] }])
  expect((await far.blobs('list')).stdout.split('\t')).toEqual([
    SHA256,
    String(CONTENT.length),
    expect.any(String),
    'no',
    `${near.node.id}\n`
  ])
  expect(await far.blobs('share', SHA256, near.node.id, '--off')).toMatchObject({ stdout: 'shared with nobody\n' })
  expect(await near.blobs('drop', SHA256)).toMatchObject({ code: 0, stdout: `dropped ${SHA256}\n` })
})

it.each([
  { id: 'content that is not here', args: ['get', SHA256, 'nowhere'], code: 4, says: 'NOT_FOUND' },
  { id: 'content that is not here, to be dropped', args: ['drop', SHA256], code: 4, says: 'NOT_FOUND' },
  { id: 'no hash', args: ['drop', 'x'], code: 2, says: '64 hex digits' },
  { id: 'a file that is not there', args: ['put', 'nowhere'], code: 1, says: 'IO' }
])('$id is told', async ({ args, code, says }) => {
  const { blobs } = await start()
  expect(await blobs(...args)).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(says) })
})
