import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { startNode } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

async function start(name: string) {
  const node = await startNode({ name })
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, home, cli: (args: readonly string[], stdin = '') => run([...args, '--home', home], { stdin }) }
}

it('invite prints the token alone; join takes it and shows the same fingerprint; unpair ends it', async () => {
  const [ann, bob] = [await start('ann'), await start('bob')]
  expect(await ann.cli(['pairs'])).toMatchObject({ code: 0, stdout: '', stderr: expect.stringContaining('invite') })
  const made = await ann.cli(['invite', '--for', '1h', '--level', 'trusted'])
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^mesh_i_[\w-]+_[0-9A-Za-z]{6}\n$/) })
  expect(made.stderr).not.toContain(made.stdout.trim())
  const [fingerprint = 'none'] = /(\d{5} ){4}\d{5}/.exec(made.stderr) ?? []
  const [until = ''] = /\d{4}-\S+Z/.exec(made.stderr) ?? []
  expect(Math.abs(Date.parse(until) - Date.now() - 3_600_000)).toBeLessThan(60_000)

  const joined = await bob.cli(['join', '-'], made.stdout)
  expect(joined.code).toBe(0)
  expect(joined.stdout).toMatch(new RegExp(`peer +${ann.node.id}\n +name +ann\n +alias +ann\n +level +known\n`))
  expect(joined.stdout).toContain(fingerprint)
  expect(ann.node.trust.of(bob.node.id)).toEqual({ level: 'trusted', alias: 'bob' })

  const listed = await ann.cli(['pairs'])
  expect(listed.stdout).toMatch(new RegExp(`^${bob.node.id}\tbob\tbob\ttrusted\t20.+Z\t${fingerprint}\n$`))
  expect(await ann.cli(['unpair', 'bob'])).toMatchObject({ code: 0, stdout: expect.stringContaining('bob') })
  expect(JSON.parse((await ann.cli(['pairs', '--json'])).stdout)).toEqual([])
  expect(await ann.cli(['unpair', 'bob'])).toMatchObject({ code: 4, stderr: expect.stringContaining('NOT_FOUND') })
})

it('as JSON, and from a file', async () => {
  const [ann, bob] = [await start('ann'), await start('bob')]
  const { token, fingerprint, expiresAt } = JSON.parse((await ann.cli(['invite', '--json'])).stdout)
  expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now())
  const file = join(bob.home, 'ann.invite')
  writeFileSync(file, `${token}\n`)
  const pair = JSON.parse((await bob.cli(['join', file, '--json'])).stdout)
  expect(pair).toMatchObject({ peer: ann.node.id, fingerprint, level: 'known' })
  expect(JSON.parse((await ann.cli(['unpair', bob.node.id, '--json'])).stdout)).toEqual({ unpaired: bob.node.id })
})

it.each([
  { id: 'an invite in the arguments', args: ['join', 'mesh_i_abcdefgh_012345'], stdin: '', says: 'every user' },
  { id: 'nothing', args: ['join'], stdin: '', says: 'nothing was given' },
  { id: 'a mistyped invite', args: ['join'], stdin: 'mesh_i_abcdefgh_012345', says: 'not copied right' },
  { id: 'a level that is none', args: ['invite', '--level', 'blocked'], stdin: '', says: 'level' },
  { id: 'too long a time', args: ['invite', '--for', '30d'], stdin: '', says: '7 days' }
])('refuses $id as wrong usage, and does not repeat it', async ({ args, stdin, says }) => {
  const { cli } = await start('ann')
  const { code, stdout, stderr } = await cli(args, stdin)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(says)
  expect(stderr).not.toContain('abcdefgh')
})

it('a used invite is told as such', async () => {
  const [ann, bob, eve] = [await start('ann'), await start('bob'), await start('eve')]
  const { token } = await ann.node.pairing.invite()
  await bob.node.pairing.join(token)
  const { code, stderr } = await eve.cli(['join'], token)
  expect(code).not.toBe(0)
  expect(stderr).toContain('UNAUTHENTICATED')
  expect(stderr).toContain('used by another peer')
})

it.each(['invite', 'join', 'pairs', 'unpair'])('explains %s', async (name) => {
  const { code, stdout } = await run([name, '--help'])
  expect(code).toBe(0)
  expect(stdout).toMatch(new RegExp(`Examples?:\n.*pryx-mesh ${name}`))
})
