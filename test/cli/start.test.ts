import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { begin, type Program, run, temporaryFolder } from './program.ts'

const EVERYTHING = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url)
)

// Real nodes in child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

interface Ready {
  readonly ready: true
  readonly peerId: string
  readonly name: string
  readonly addresses: readonly string[]
  readonly home: string
}

describe('start', () => {
  it('prints one line when it listens, and stops cleanly when told by SIGTERM', async () => {
    const home = join(temporaryFolder(), 'new')
    const { program, ready } = await startNode(home, ['--name', 'alice'])
    expect(ready).toEqual({
      ready: true,
      peerId: expect.stringMatching(/^12D3KooW/),
      name: 'alice',
      addresses: expect.arrayContaining([
        expect.stringMatching(new RegExp(`^/ip4/127.0.0.1/tcp/\\d+/p2p/${ready.peerId}$`))
      ]),
      home
    })
    expect(statSync(join(home, 'control.sock')).mode & 0o777).toBe(0o600)
    program.kill('SIGTERM')
    const { code, stdout, stderr } = await program.finished
    expect({ code, stderr, lines: stdout.split('\n').length }).toEqual({ code: 0, stderr: '', lines: 2 })
    expect(existsSync(join(home, 'control.sock'))).toBe(false)
  })

  it('tells people who it is, how to join it and what to do next', async () => {
    const home = temporaryFolder()
    const program = begin(['start', '--no-lan', '--home', home])
    const lines = await program.lines(16)
    const text = lines.join('\n')
    expect(text).toMatch(/^ {2}id +12D3KooW\w{44}$/m)
    expect(text).toMatch(/^ {2}did +did:key:z6Mk/m)
    expect(text).toMatch(/^ {2}LAN +off$/m)
    expect(text).toMatch(/start --home OTHER --bootstrap \/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3KooW/)
    expect(text).toContain(`pryx-mesh find --home ${home}`)
    program.kill('SIGINT')
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
  })

  it('goes on when nobody reads what it prints', async () => {
    const home = temporaryFolder()
    const { program } = await startNode(home)
    program.closeStdout()
    expect(await run(['status', '--home', home])).toMatchObject({ code: 0 })
    expect(await run(['stop', '--home', home])).toMatchObject({ code: 0 })
    expect(await program.finished).toMatchObject({ code: 0 })
  })

  it('has the same id again after a kill, whose socket is in nobody’s way', async () => {
    const home = temporaryFolder()
    const first = await startNode(home)
    first.program.kill('SIGKILL')
    await first.program.finished
    expect(existsSync(join(home, 'control.sock'))).toBe(true)
    const second = await startNode(home)
    expect(second.ready.peerId).toBe(first.ready.peerId)
    expect(await run(['status', '--home', home])).toMatchObject({ code: 0 })
  })

  it('stops when `stop` asks it to, and the home is free then', async () => {
    const home = temporaryFolder()
    const { program } = await startNode(home)
    expect(await run(['stop', '--home', home])).toMatchObject({ code: 0 })
    await startNode(home)
    expect(await program.finished).toMatchObject({ code: 0 })
  })

  it('refuses a home that another process runs on', async () => {
    const home = temporaryFolder()
    await startNode(home)
    const { code, stdout, stderr } = await run(['start', '--no-lan', '--json', '--home', home])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^error: HOME_IN_USE: .+\nnext: .+\n$/)
    expect(await run(['status', '--home', home])).toMatchObject({ code: 0 })
  })

  it('refuses an address that is taken', async () => {
    const server = createServer()
    const port = await new Promise<number>((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
    )
    onTestFinished(() => void server.close())
    const listen = `/ip4/127.0.0.1/tcp/${port}`
    const { code, stderr } = await run(['start', '--no-lan', '--listen', listen, '--home', temporaryFolder()])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: ADDRESS_IN_USE: .+\nnext: .+\n$/)
    expect(stderr).toContain(String(port))
  })

  it.each([
    { id: 'a bad address to listen on', args: ['--listen', 'nonsense'] },
    { id: 'a bad address to join by', args: ['--bootstrap', '/ip4/999.1.1.1/tcp/x'] }
  ])('refuses $id as wrong usage', async ({ args }) => {
    const { code, stdout, stderr } = await run(['start', '--no-lan', ...args, '--home', temporaryFolder()])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: INVALID_ARGUMENT: .+\nnext: .+\n$/)
  })

  it.each([
    { id: 'a corrupt key', file: 'identity.key' },
    { id: 'a corrupt policy', file: 'policy.json' },
    { id: 'a corrupt configuration', file: 'config.json' }
  ])('refuses $id, names it, and leaves it as it is', async ({ file }) => {
    const home = temporaryFolder()
    writeFileSync(join(home, file), '{"broken', { mode: 0o600 })
    const { code, stderr } = await run(['start', '--no-lan', '--home', home])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: INVALID_CONFIG: .+\nnext: .+\n$/)
    expect(stderr).toContain(file)
    expect(statSync(join(home, file)).size).toBe(8)
  })

  it('refuses a home that is no folder', async () => {
    const home = join(temporaryFolder(), 'file')
    writeFileSync(home, '')
    const { code, stderr } = await run(['start', '--no-lan', '--home', home])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: IO: .+\nnext: .+\n$/)
    expect(stderr).toContain(home)
  })
})

describe('two nodes', () => {
  it('find and call a real MCP server of each other, as its owner allows', async () => {
    const [a, b] = [temporaryFolder(), temporaryFolder()]
    const alice = await startNode(a, ['--name', 'alice'])
    await startNode(b, ['--name', 'bob'])
    const [address = ''] = alice.ready.addresses
    const connected = await run(['connect', address, '--json', '--home', b])
    expect(JSON.parse(connected.stdout)).toEqual({ peer: alice.ready.peerId })

    const command = `'${process.execPath}' '${EVERYTHING}' stdio`
    const added = await run([
      'agents',
      'add',
      'everything',
      '--mcp-stdio',
      command,
      '--tag',
      'demo',
      '--json',
      '--home',
      a
    ])
    const record = JSON.parse(added.stdout) as { id: string; seq: number }
    expect(record).toMatchObject({ id: `${alice.ready.peerId}/everything`, tags: ['demo'], driver: 'mcp-stdio' })

    const found = await run(['find', '--kind', 'tool', '--name', 'get-sum', '--limit', '1', '--json', '--home', b])
    expect(found).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(found.stdout)).toMatchObject({
      agent: record.id,
      peer: alice.ready.peerId,
      capability: { kind: 'tool', name: 'get-sum' },
      source: expect.stringMatching(/^(cache|peer|dht|topic)$/),
      record: { seq: record.seq }
    })

    const sum = ['call', '@everything', 'get-sum', '{"a":2,"b":3}', '--json', '--home', b]
    const denied = await run(sum)
    expect(denied).toMatchObject({ code: 3, stderr: expect.stringContaining('error: FORBIDDEN: ') })
    expect(JSON.parse(denied.stdout)).toMatchObject({ ok: false, error: { code: 'FORBIDDEN' } })

    expect(await run(['agents', 'update', 'everything', '--allow', 'any', '--home', a])).toMatchObject({ code: 0 })
    const allowed = await run(sum)
    expect(allowed).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(allowed.stdout)).toMatchObject({
      ok: true,
      result: { content: [{ type: 'text', text: 'The sum of 2 and 3 is 5.' }] }
    })

    const wrong = await run(['call', record.id, 'get-sum', '{"a":"two"}', '--json', '--home', b])
    expect(wrong.code).toBe(2)
    expect(JSON.parse(wrong.stdout)).toMatchObject({ ok: false, error: { code: 'INVALID_INPUT' } })
    expect(await run(['call', '@everything@alice', 'nothing', '--home', b])).toMatchObject({ code: 4 })
    expect(await run(['call', '@nobody', 'nothing', '--timeout', '3s', '--home', b])).toMatchObject({ code: 4 })
  })

  it('stream items to each other, and cancel what a caller gave up', async () => {
    const [a, b] = [temporaryFolder(), temporaryFolder()]
    const marks = join(temporaryFolder(), 'ended')
    mkdirSync(marks)
    const file = join(marks, 'ticker.mjs')
    writeFileSync(
      file,
      `import { writeFileSync } from 'node:fs'
       export const agent = { capabilities: [{ name: 'tick', handler: async function* (input, { signal }) {
         yield { n: 1 }
         yield { n: 2 }
         if (input.forever !== true) return
         await new Promise((resolve) => signal.addEventListener('abort', resolve))
         writeFileSync(${JSON.stringify(join(marks, 'cancelled'))}, '')
       } }] }`
    )
    const alice = await startNode(a)
    const [address = ''] = alice.ready.addresses
    await startNode(b, ['--bootstrap', address])
    const added = await run(['agents', 'add', 'ticker', '--module', file, '--allow', 'any', '--home', a])
    expect(added).toMatchObject({ code: 0, stderr: '' })

    const call = ['call', `${alice.ready.peerId}/ticker`, 'tick']
    const all = await run([...call, '--json', '--home', b])
    expect(all).toEqual({ code: 0, stdout: '{"n":1}\n{"n":2}\n', stderr: '' })

    const endless = begin([...call, '{"forever":true}', '--home', b])
    await endless.lines(2)
    endless.kill('SIGINT')
    expect(await endless.finished).toMatchObject({ code: 1, stderr: expect.stringContaining('CANCELLED') })
    await expect.poll(() => existsSync(join(marks, 'cancelled')), { timeout: 10_000 }).toBe(true)
  })
})

/** Starts a node without LAN and waits until it listens. */
async function startNode(home: string, args: readonly string[] = []): Promise<{ program: Program; ready: Ready }> {
  const program = begin(['start', '--no-lan', '--json', '--home', home, ...args])
  const [line = ''] = await program.lines(1)
  return { program, ready: JSON.parse(line) as Ready }
}
