import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { begin, run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

const KEY = /^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}\n$/

it('swarm-key prints a key that start takes, and nothing else on stdout', async () => {
  const [text, json] = await Promise.all([run(['swarm-key']), run(['swarm-key', '--json'])])
  expect(text).toMatchObject({ code: 0, stdout: expect.stringMatching(KEY), stderr: '' })
  expect(json.code).toBe(0)
  expect(`${JSON.parse(json.stdout).swarmKey}\n`).toMatch(KEY)
  expect(JSON.parse(json.stdout).swarmKey).not.toBe(text.stdout.trim())

  const folder = temporaryFolder()
  writeFileSync(join(folder, 'swarm.key'), text.stdout, { mode: 0o600 })
  const options = ['--no-lan', '--listen', '/ip4/127.0.0.1/tcp/0', '--json', '--home', join(folder, 'home')]
  const node = begin(['start', '--swarm-key', 'swarm.key', ...options], { cwd: folder })
  expect(JSON.parse((await node.lines(1))[0] ?? '')).toMatchObject({ ready: true })
  node.kill('SIGTERM')
  expect(await node.finished).toMatchObject({ code: 0 })
})

it('start says what is wrong with a swarm key, and does not start', async () => {
  const folder = temporaryFolder()
  const started = await run(['start', '--no-lan', '--swarm-key', 'none.key', '--home', join(folder, 'home')], {
    cwd: folder
  })
  expect(started.code).toBe(1)
  expect(started.stderr).toContain('INVALID_CONFIG')
  expect(started.stderr).toContain(join(folder, 'none.key'))
})
