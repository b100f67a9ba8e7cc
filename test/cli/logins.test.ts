import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { createIdentity, fingerprintOf } from '../../src/identity/index.ts'
import { startNode } from '../nodes.ts'
import { startAuthorizationServer } from '../oauth/authorization-server.ts'
import { begin, run, temporaryFolder } from './program.ts'

// Each run is a process of its own, and the device flow polls every five seconds
vi.setConfig({ testTimeout: 60_000 })

const PEER = createIdentity().id

describe('login', () => {
  it('with a secret from a file or stdin gets tokens, which list shows and remove forgets', async () => {
    const { home, node, issuer, secret } = await startDaemon()
    await node.trust.set(PEER, { alias: 'carol' })
    const file = join(home, 'agent.secret')
    await writeFile(file, `${secret}\n`)
    const args = ['login', issuer, '--client-id', 'agent', '--scope', 'tools.call', '--for', 'carol', '--home', home]
    const made = await run([...args, '--client-secret-file', file])
    expect(made).toMatchObject({ code: 0, stderr: '' })
    expect(made.stdout).toMatch(/^login +[\w-]{11}\n +issuer|^ *login +[\w-]{11}\n/)
    expect(made.stdout).toMatch(new RegExp(`for +${PEER}\n +state +ok\n`))
    const json = await run([...args, '--client-secret-file', '-', '--json'], { stdin: secret })
    expect(JSON.parse(json.stdout)).toMatchObject({
      step: 'done',
      login: { flow: 'client-credentials', peers: [PEER] }
    })

    const [list, listJson] = await Promise.all([
      run(['logins', 'list', '--home', home]),
      run(['logins', 'list', '--json', '--home', home])
    ])
    expect(node.logins.list()).toHaveLength(2)
    const id = node.logins.list()[0]?.id ?? ''
    expect(list.stdout).toMatch(
      new RegExp(`^${id}\tok\t${issuer}\tagent\tclient-credentials\ttools.call\t\\d{4}-.*Z\t${PEER}\t\n`, 'm')
    )
    expect(JSON.parse(listJson.stdout)).toEqual(node.logins.list())
    for (const { stdout, stderr } of [made, json, list, listJson]) expect(stdout + stderr).not.toContain(secret)

    const removed = await run(['logins', 'remove', id, '--home', home])
    expect(removed).toMatchObject({ code: 0, stdout: `login ${id} is forgotten\n` })
    expect(node.logins.list()).toHaveLength(1)
    expect(await run(['logins', 'remove', id, '--home', home])).toMatchObject({ code: 4 })
  })

  it('by device shows page, code and fingerprint, and waits for the owner', async () => {
    const { home, node, issuer, server } = await startDaemon()
    const args = ['login', issuer, '--client-id', 'desktop', '--for', PEER, '--json', '--home', home]
    const program = begin(args)
    const [line = ''] = await program.lines(1)
    const visit = JSON.parse(line) as { url: string; userCode: string; fingerprint: string }
    expect(visit).toMatchObject({ step: 'visit', fingerprint: fingerprintOf(node.id) })
    expect(visit.url).toContain(issuer)
    await server.approveDevice(visit.userCode)
    expect(await program.finished).toMatchObject({ code: 0, stdout: expect.stringContaining('"step":"done"') })
  })

  it('tells people what to do on stderr, and nothing on stdout before it is done', async () => {
    const { home, node, issuer, server } = await startDaemon()
    const program = begin(['login', issuer, '--client-id', 'desktop', '--for', PEER, '--home', home])
    await expect.poll(() => server.requestsTo('/token'), { timeout: 30_000 }).toBe(1)
    program.kill('SIGINT')
    const { stdout, stderr } = await program.finished
    expect(stdout).toBe('')
    expect(stderr).toContain(`${issuer}/device?user_code=`)
    expect(stderr).toMatch(/code +[A-Z]{4}-[A-Z]{4}\n/)
    expect(stderr).toContain(`fingerprint of this node  ${fingerprintOf(node.id)}\n`)
  })

  it('that is interrupted ends, and leaves nothing', async () => {
    const { home, node, issuer } = await startDaemon()
    const program = begin([...codeArgs(issuer, home), '--json'])
    const [line = ''] = await program.lines(1)
    const { url } = JSON.parse(line) as { url: string }
    const port = new URL(url).searchParams.get('redirect_uri') ?? ''
    expect((await fetch(port)).status).toBe(400)
    program.kill('SIGINT')
    expect(await program.finished).toMatchObject({ code: 1, stdout: `${line}\n` })
    expect(node.logins.list()).toEqual([])
    await expect.poll(() => fetch(port).catch(() => 'closed')).toBe('closed')
  })

  it.each([
    { id: 'no client id', args: ['login', 'https://login.example.org', '--for', PEER], code: 2, says: '--client-id' },
    {
      id: 'nobody to show it to',
      args: ['login', 'https://login.example.org', '--client-id', 'x'],
      code: 2,
      says: '--for'
    },
    {
      id: 'an issuer by http',
      args: ['login', 'http://login.example.org', '--client-id', 'x', '--for', PEER],
      code: 2,
      says: 'an issuer is an https URL'
    },
    {
      id: 'a peer that is none',
      args: ['login', 'https://login.example.org', '--client-id', 'x', '--for', 'nobody'],
      code: 2,
      says: 'nobody'
    }
  ])('refuses $id', async ({ args, code, says }) => {
    const { home } = await startDaemon()
    const ended = await run([...args, '--home', home])
    expect(ended).toMatchObject({ code, stdout: '' })
    expect(ended.stderr).toContain(says)
  })

  it('tells that the issuer refuses a secret, without the secret', async () => {
    const { home, issuer } = await startDaemon()
    const args = ['login', issuer, '--client-id', 'agent', '--client-secret-file', '-', '--for', PEER, '--home', home]
    const { code, stderr } = await run(args, { stdin: 'a-wrong-secret' })
    expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('invalid_client') })
    expect(stderr).not.toContain('a-wrong-secret')
  })

  it.each([['login'], ['logins', 'list'], ['logins', 'remove']])('explains %s %s', async (...words) => {
    const names = words.filter((word) => typeof word === 'string')
    const { code, stdout } = await run([...names, '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`Examples?:\n.*pryx-mesh ${names.join(' ')}`))
  })
})

const codeArgs = (issuer: string, home: string): string[] => [
  'login',
  issuer,
  '--client-id',
  'desktop',
  '--flow',
  'code',
  '--for',
  PEER,
  '--home',
  home
]

async function startDaemon() {
  const home = temporaryFolder()
  const [node, server] = [await startNode(), await startAuthorizationServer()]
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { home, node, server, issuer: server.issuer, secret: server.clients.confidential.client_secret }
}
