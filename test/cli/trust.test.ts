import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { startNode } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Each run is a process of its own: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const PEER = createIdentity().id

describe('trust', () => {
  it('set names a peer and says how far it is trusted, which list and why show', async () => {
    const { home, node } = await startDaemon()
    const set = await run(['trust', 'set', PEER, 'trusted', '--alias', 'carol', '--reason', 'met her', '--home', home])
    expect(set).toMatchObject({ code: 0, stderr: '' })
    expect(set.stdout).toMatch(new RegExp(`peer +${PEER}\n +alias +carol\n +level +trusted\n`))
    expect(node.trust.of(PEER)).toEqual({ level: 'trusted', alias: 'carol' })
    const [list, why, text] = await Promise.all([
      run(['trust', 'list', '--home', home]),
      run(['trust', 'why', 'carol', '--json', '--home', home]),
      run(['trust', 'why', 'carol', '--home', home])
    ])
    expect(list.stdout).toMatch(new RegExp(`^${PEER}\tcarol\ttrusted\towner\t\\d{4}-.*Z\t0\\.\\d\\d\t0\\.0\n$`))
    expect(JSON.parse(why.stdout)).toMatchObject({ peer: PEER, changes: [{ to: 'trusted', reason: 'met her' }] })
    expect(text.stdout).toMatch(
      /why +The owner set it to trusted: met her; .*\n[^]*unknown\ttrusted\towner\tmet her\n$/
    )
  })

  it('set takes an alias alone, and lets a blocked peer in again', async () => {
    const { home, node } = await startDaemon()
    await run(['trust', 'set', PEER, '--alias', 'carol', '--home', home])
    expect(node.trust.of(PEER)).toEqual({ level: 'unknown', alias: 'carol' })
    const blocked = await run(['block', 'carol', '--reason', 'rubbish', '--home', home])
    expect(blocked.stderr).toBe('let it in again with pryx-mesh trust set carol unknown\n')
    expect(node.trust.of(PEER).level).toBe('blocked')
    const freed = await run(['trust', 'set', 'carol', 'unknown', '--json', '--home', home])
    expect(JSON.parse(freed.stdout)).toMatchObject({ level: 'unknown', setBy: 'owner' })
  })

  it.each([
    { id: 'no level', args: ['trust', 'set', PEER], says: 'a level' },
    { id: 'a level that is none', args: ['trust', 'set', PEER, 'friend'], says: 'level' },
    { id: 'a peer that is none', args: ['block', 'nobody'], says: 'neither a PeerId nor an alias: nobody' },
    { id: 'a peer that is none', args: ['trust', 'why', '../x'], says: 'neither a PeerId nor an alias: ../x' }
  ])('refuses $id as wrong usage', async ({ args, says }) => {
    const { home } = await startDaemon()
    const { code, stdout, stderr } = await run([...args, '--home', home])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: INVALID_ARGUMENT: /)
    expect(stderr).toContain(says)
  })

  it('says that a name is taken', async () => {
    const { home, node } = await startDaemon()
    await node.trust.set(createIdentity().id, { alias: 'carol' })
    const { code, stderr } = await run(['trust', 'set', PEER, 'known', '--alias', 'carol', '--home', home])
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('ALREADY_EXISTS') })
  })

  it.each([['trust', 'list'], ['trust', 'set'], ['trust', 'why'], ['block']])('explains %s %s', async (...words) => {
    const names = words.filter((word) => typeof word === 'string')
    const { code, stdout } = await run([...names, '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`Examples?:\n.*pryx-mesh ${names.join(' ')}`))
  })
})

async function startDaemon() {
  const home = temporaryFolder()
  const node = await startNode()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { home, node }
}
