import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import type { AgentInit, Node } from '../../src/index.ts'
import { failureOf, nextEvent, startPair } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

interface Mesh {
  readonly near: Node
  readonly far: Node
  readonly id: string
  readonly pins: (...args: string[]) => ReturnType<typeof run>
}

/** Two nodes, the far one with `files`; the program asks the near one. */
async function startMesh(): Promise<Mesh> {
  const [near, far] = await startPair()
  const home = temporaryFolder()
  const control = await openControl({ node: near, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  const { id } = await far.agents.add({ name: 'files', allow: 'any', capabilities: version('Reads a file') })
  return { near, far, id, pins: (...args) => run(['pins', ...args, '--home', home]) }
}

function version(description: string): NonNullable<AgentInit['capabilities']> {
  return [
    { name: 'read', description, handler: () => description },
    { name: 'list', handler: () => [] }
  ]
}

async function change({ near, far, id }: Mesh, description: string): Promise<void> {
  const changed = nextEvent(near, 'capability:changed', ({ agent }) => agent === id)
  await far.agents.update('files', { capabilities: version(description) })
  await changed
}

describe('pins', () => {
  it('says what is missing when nothing is pinned', async () => {
    const { pins } = await startMesh()
    const [list, programs, show, approve] = await Promise.all([
      pins('list'),
      pins('list', '--json'),
      pins('show', '@files'),
      pins('approve', '@files')
    ])
    expect(list).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('first called') })
    expect(programs).toMatchObject({ code: 0, stdout: '[]\n' })
    for (const { code, stderr } of [show, approve]) {
      expect(code).not.toBe(0)
      expect(stderr).toContain('NOT_FOUND')
    }
  })

  it('lists a change, shows it, and approves it', async () => {
    const mesh = await startMesh()
    const { near, id, pins } = mesh
    const changes: unknown[] = []
    near.on('definition:changed', (detail) => changes.push(detail))
    expect(await near.call(id, 'read')).toBe('Reads a file')
    expect(await near.call(id, 'list')).toEqual([])
    await change(mesh, 'Mails\u00a0it')
    for (let n = 0; n < 2; n += 1)
      expect(await failureOf(near.call(id, 'read'))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    expect(await near.call(id, 'list')).toEqual([])
    expect(changes).toEqual([{ agent: id, kind: 'tool', name: 'read' }])

    const [list, show, one, other] = await Promise.all([
      pins('list', '@files'),
      pins('show', `@files@${near.peers()[0]?.name}`, 'read'),
      pins('show', id, 'read', '--json'),
      pins('show', id, 'write')
    ])
    expect(list.stdout.split('\n').map((row) => row.split('\t').slice(0, 4))).toEqual([
      ['tool', 'read', '1.0.0', 'suspended'],
      ['tool', 'list', '1.0.0', 'pinned'],
      ['']
    ])
    expect(show.stdout).toContain('\n  - description: "Reads a file"\n  + description: "Mails\\u00a0it"\n')
    expect(show.stderr).toContain('pins approve')
    expect(JSON.parse(one.stdout)).toEqual(near.pins.list(id).filter(({ name }) => name === 'read'))
    expect(other.stderr).toContain('NOT_FOUND')

    const approved = await pins('approve', '@files', 'read')
    expect(approved).toMatchObject({ code: 0, stdout: expect.stringContaining(`approved tool read 1.0.0 of ${id}`) })
    expect(await near.call(id, 'read')).toBe('Mails\u00a0it')
    expect((await pins('approve', '@files', '--json')).stderr).toContain('NOT_FOUND')
  })

  it('forgets a pin, after which the change may be called', async () => {
    const mesh = await startMesh()
    const { near, id, pins } = mesh
    await near.call(id, 'read')
    await change(mesh, 'Mails it')
    expect(await failureOf(near.call(id, 'read'))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    expect(await pins('forget', '@files', '--json')).toMatchObject({ code: 0, stdout: '{"forgotten":1}\n' })
    expect(near.pins.list()).toEqual([])
    expect(await near.call(id, 'read')).toBe('Mails it')
    expect(near.pins.list()).toMatchObject([{ agent: id, name: 'read' }])
  })

  it('refuses a short name that two pinned agents have, and names them', async () => {
    const { near, id, pins } = await startMesh()
    await near.call(id, 'read')
    const third = await startPair()
    await near.connect(third[1].addresses[0] ?? '')
    const { id: twin } = await third[1].agents.add({ name: 'files', allow: 'any', capabilities: version('Another') })
    await near.call(twin, 'read')
    const { code, stderr } = await pins('forget', '@files')
    expect(code).not.toBe(0)
    expect(stderr).toContain('AMBIGUOUS')
    for (const each of [id, twin]) expect(stderr).toContain(each)
    expect(near.pins.list()).toHaveLength(2)
  })
})
