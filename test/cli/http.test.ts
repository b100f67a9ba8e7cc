import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { begin, run, temporaryFolder } from './program.ts'

const START = ['start', '--no-lan', '--listen', '/ip4/127.0.0.1/tcp/0', '--json']

it('start --http serves the owner with the token in the home, and ends with the node', {
  timeout: 60_000
}, async () => {
  const home = temporaryFolder()
  const node = begin([...START, '--home', home, '--http', '127.0.0.1:0'])
  const [line = ''] = await node.lines(1)
  const { http, peerId } = JSON.parse(line) as { http: string; peerId: string }
  const token = readFileSync(join(home, 'http.token'), 'utf8').trim()
  const response = await fetch(`${http}/v1/self`, { headers: { authorization: `Bearer ${token}` } })
  expect(await response.json()).toMatchObject({ peer: peerId, trust: 'owner' })
  expect(line).not.toContain(token)
  node.kill('SIGTERM')
  expect((await node.finished).code).toBe(0)
  await expect(fetch(`${http}/healthz`)).rejects.toThrow('fetch failed')
})

it('edge in config.json serves too, and is refused off this machine without TLS', { timeout: 60_000 }, async () => {
  const home = temporaryFolder()
  writeFileSync(join(home, 'config.json'), JSON.stringify({ edge: { listen: '0.0.0.0:0' } }))
  const refused = await run([...START, '--home', home])
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toContain('INVALID_CONFIG')
  writeFileSync(
    join(home, 'config.json'),
    JSON.stringify({ edge: { listen: '127.0.0.1:0', origins: ['https://a.example'] } })
  )
  const node = begin([...START, '--home', home])
  const [line = ''] = await node.lines(1)
  const { http } = JSON.parse(line) as { http: string }
  const response = await fetch(`${http}/readyz`, { headers: { origin: 'https://a.example' } })
  expect(response.headers.get('access-control-allow-origin')).toBe('https://a.example')
  node.kill('SIGTERM')
  await node.finished
})
