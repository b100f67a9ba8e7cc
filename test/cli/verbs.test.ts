import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { PEER, REMOTE, SELF } from '../gateway/fake-node.ts'
import { begin, fakeDaemon, run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

describe('status, peers, connect', () => {
  it('print the status as one JSON document', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['status', '--json', '--home', home])
    expect({ code, stderr, lines: stdout.split('\n').length }).toEqual({ code: 0, stderr: '', lines: 2 })
    expect(JSON.parse(stdout)).toMatchObject({ peerId: SELF, lan: 'off', agents: 0, refused: { expired: 2 } })
  })

  it('take --home before the verb too, and PRYX_MESH_HOME for a default', async () => {
    const { home } = await fakeDaemon()
    const before = await run(['--home', home, '--json', 'status'])
    const variable = await run(['status', '--json'], { env: { PRYX_MESH_HOME: home } })
    expect([before.code, variable.code]).toEqual([0, 0])
    expect(before.stdout).toBe(variable.stdout)
  })

  it('print the status for people without colours on a pipe', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout } = await run(['status', '--home', home])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^ {2}id +${SELF}$`, 'm'))
    expect(stdout).toMatch(/^ {2}refused +2 expired$/m)
    expect(stdout).not.toContain('\u001b')
  })

  it('list peers, with tabs on a pipe', async () => {
    const { home } = await fakeDaemon()
    const [people, programs] = await Promise.all([
      run(['peers', '--home', home]),
      run(['peers', '--home', home, '--json'])
    ])
    expect(people.stdout).toBe(`${PEER}\tbob\t/ip4/10.0.0.2/tcp/4001\toutbound\t2026-11-23T10:00:01.000Z\n`)
    expect(JSON.parse(programs.stdout)).toEqual([expect.objectContaining({ peer: PEER, direction: 'outbound' })])
  })

  it('connect prints whom it reached', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout } = await run(['connect', '/ip4/10.0.0.2/tcp/4001', '--home', home, '--json'])
    expect({ code, stdout }).toEqual({ code: 0, stdout: `{"peer":"${PEER}"}\n` })
  })
})

describe('stop', () => {
  it('stops the node and says so', async () => {
    const { home, stopped } = await fakeDaemon()
    const { code, stdout } = await run(['stop', '--home', home, '--json'])
    await stopped
    expect({ code, stdout }).toEqual({ code: 0, stdout: `{"stopped":true,"home":"${home}"}\n` })
    expect(await run(['stop', '--home', home])).toMatchObject({
      code: 5,
      stderr: expect.stringContaining('UNREACHABLE')
    })
  })
})

describe('agents', () => {
  it('are added, listed, shown, updated and removed', async () => {
    const { home, node } = await fakeDaemon()
    const cwd = temporaryFolder()
    const at = ['--home', home, '--json']
    const command = `'/opt/my server' --root "a b" $HOME`
    const add = [
      'agents',
      'add',
      'fs',
      '--mcp-stdio',
      command,
      '--tag',
      'files',
      '--tag',
      'docs',
      '--audience',
      'paired'
    ]
    const added = await run([...add, '--allow', 'any', '--description', 'Files', ...at], { cwd })
    expect(added).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(added.stdout)).toMatchObject({ id: `${SELF}/fs`, seq: 7, capabilities: expect.any(Array) })
    expect(node.agents.get('fs')?.definition).toMatchObject({
      driver: 'mcp-stdio',
      config: { command: '/opt/my server', args: ['--root', 'a b', '$HOME'], cwd },
      tags: ['files', 'docs'],
      audience: 'paired',
      description: 'Files'
    })

    const listed = await run(['agents', 'list', ...at])
    expect(JSON.parse(listed.stdout)).toMatchObject([
      { id: `${SELF}/fs`, name: 'fs', state: 'up', driver: 'mcp-stdio', record: { seq: 7 } }
    ])
    const shown = await run(['agents', 'show', `${SELF}/fs`, ...at])
    expect(JSON.parse(shown.stdout)).toEqual(JSON.parse(added.stdout))

    const updated = await run(['agents', 'update', 'fs', '--tag', 'only', ...at])
    expect(JSON.parse(updated.stdout)).toMatchObject({ tags: ['only'], audience: 'paired' })
    expect(node.agents.get('fs')?.definition.driver).toBe('mcp-stdio')

    const removed = await run(['agents', 'remove', '@fs', ...at])
    expect(removed.stdout).toBe(`{"removed":"${SELF}/fs"}\n`)
    expect(node.agents.list()).toEqual([])
  })

  it('may be modules, whose path is made absolute, and servers at a URL', async () => {
    const { home, node } = await fakeDaemon()
    const cwd = temporaryFolder()
    await run(['agents', 'add', 'maths', '--module', './maths.ts', '--home', home], { cwd })
    await run(['agents', 'add', 'web', '--mcp', 'http://127.0.0.1:1/mcp', '--home', home])
    expect(node.agents.get('maths')?.definition).toMatchObject({
      driver: 'module',
      config: { file: join(cwd, 'maths.ts') }
    })
    expect(node.agents.get('web')?.definition).toMatchObject({
      driver: 'mcp-http',
      config: { url: 'http://127.0.0.1:1/mcp' }
    })
  })

  it('of other nodes are shown to people with what they offer', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout } = await run(['agents', 'show', '@maths', '--home', home])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`^ {2}id +${PEER}/maths$`, 'm'))
    expect(stdout).toContain('tool\tcount\t1.0.0\tyes\t\n')
  })

  it.each([
    { id: 'no source', args: ['add', 'x'], message: 'say what the agent is' },
    { id: 'two sources', args: ['add', 'x', '--mcp', 'http://a', '--module', 'b.ts'], message: 'not more' },
    { id: 'an empty command', args: ['add', 'x', '--mcp-stdio', ''], message: 'needs a command' },
    { id: 'nothing to update', args: ['update', 'x'], message: 'say what to change' },
    {
      id: 'an unknown audience',
      args: ['update', 'x', '--audience', 'friends'],
      message: 'Allowed choices are public, paired'
    }
  ])('with $id are wrong usage', async ({ args, message }) => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['agents', ...args, '--home', home])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: INVALID_ARGUMENT: /)
    expect(stderr).toContain(message)
    expect(stderr).toMatch(/^next: pryx-mesh agents \w+ --help$/m)
  })
})

describe('find', () => {
  it('prints a line for each result, with the documented fields', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run([
      'find',
      '--kind',
      'tool',
      '--version',
      '^1',
      '--limit',
      '2',
      '--json',
      '--home',
      home
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      agent: `${PEER}/maths`,
      peer: PEER,
      capability: expect.objectContaining({ kind: 'tool', name: 'add', version: '1.0.0' }),
      source: 'peer',
      record: { seq: 7, expiresAt: REMOTE.record.expiresAt },
      verifiedAt: REMOTE.record.issuedAt
    })
  })

  it.each([
    { name: 'all', summary: '3 found; complete\n' },
    { name: 'partly', summary: '3 found; not complete: there may be more\n' }
  ])('tells people on stderr how complete it is: $name', async ({ name, summary }) => {
    const { home } = await fakeDaemon()
    const { stdout, stderr } = await run(['find', '--name', name, '--timeout', '2s', '--home', home])
    expect(stdout.split('\n')[0]).toBe(`tool\tadd@1.0.0\t${PEER}/maths\tpeer\t`)
    expect(stderr).toBe(summary)
  })

  it('tells people how many there probably are', async () => {
    const { home } = await fakeDaemon()
    const { stderr } = await run(['find', '--name', 'many', '--home', home])
    expect(stderr).toBe('3 found; complete, about 40 agents offer it\n')
  })

  it('tells what was called before and is not to be found, or only under another key', async () => {
    const { home } = await fakeDaemon()
    const people = await run(['find', '--name', 'lost', '--home', home])
    expect(people.stderr.split('\n')).toEqual([
      `missing: add of ${SELF}/maths, which was called before, is offered under another key only: ${PEER}/maths`,
      `missing: add of ${SELF}/old, which was called before, is not offered any more`,
      '3 found; complete',
      ''
    ])
    const programs = await run(['find', '--name', 'lost', '--json', '--home', home])
    expect(
      programs.stderr
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
    ).toMatchObject([
      { missing: { agent: `${SELF}/maths`, reason: 'another-key', others: [`${PEER}/maths`] } },
      { missing: { agent: `${SELF}/old`, reason: 'gone' } }
    ])
  })

  it('--explain tells the way of a find, a line for each step', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout } = await run(['find', '--limit', '1', '--explain', '--home', home])
    expect(code).toBe(0)
    const [result, ...steps] = stdout.trimEnd().split('\n')
    expect(result).toContain('add@1.0.0')
    expect(steps.map((line) => line.replace(/^ *\d+ ms {2}/, ''))).toEqual([
      'began: mesh of about 5000 nodes, catalogue off; 4 peers, 90 in the routing table, 3 records and 0 hints known',
      'dht: looking beside the key too',
      `dht: ${PEER} names 3 of 12, 20 closer (path 2, 80 ms)`,
      `dht: ${SELF} invalid (path 0, 9 ms): no`,
      `refused: what ${SELF} said: forged`,
      `dht: asked ${PEER}: gives 1 records (8 ms)`,
      `found: add of ${PEER}/maths, by dht`,
      'ended: limit, not complete; 3 messages, 1 candidates'
    ])
  })

  it('--explain --json gives each step as it is', async () => {
    const { home } = await fakeDaemon()
    const { stdout } = await run(['find', '--limit', '1', '--explain', '--json', '--home', home])
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toHaveLength(9)
    expect(lines[1]).toMatchObject({ step: 'began', nodes: 5000, catalogue: 'off' })
    expect(lines.at(-1)).toMatchObject({ step: 'ended', why: 'limit', messages: 3 })
  })

  it('exits with 4 when there is nothing', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['find', '--name', 'nothing', '--json', '--home', home])
    expect({ code, stdout }).toEqual({ code: 4, stdout: '' })
    expect(stderr).toMatch(/^error: NOT_FOUND: nothing found\nnext: .+\n$/)
  })

  it('--watch tells changes until Ctrl-C, which is no failure', async () => {
    const { home, node } = await fakeDaemon()
    const program = begin(['find', '--watch', '--json', '--home', home])
    const [line = ''] = await program.lines(1)
    expect(JSON.parse(line)).toMatchObject({ change: 'added', agent: `${PEER}/maths`, record: { seq: 7 } })
    program.kill('SIGINT')
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
    await node.whenEnded('watch')
  })

  it('--watch ends with its --timeout or --limit', async () => {
    const { home } = await fakeDaemon()
    const [timed, limited] = await Promise.all([
      run(['find', '--watch', '--timeout', '1s', '--json', '--home', home]),
      run(['find', '--watch', '--limit', '1', '--json', '--home', home])
    ])
    expect([timed.code, limited.code]).toEqual([0, 0])
    expect(timed.stdout).toBe(limited.stdout)
  })
})

describe('call', () => {
  it('prints the result as JSON on a pipe', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['call', '@maths', 'echo', '{"a":[1,"\u2028\u202e"]}', '--home', home])
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '{"a":[1,"\\u2028\\u202e"]}\n', stderr: '' })
  })

  it.each([
    { id: 'from the argument', args: ['{"n":1}'], stdin: '', result: { n: 1 } },
    { id: 'from stdin', args: ['-'], stdin: '{"n":\n2}\n', result: { n: 2 } },
    { id: 'by default', args: [], stdin: '', result: {} }
  ])('takes its input $id', async ({ args, stdin, result }) => {
    const { home } = await fakeDaemon()
    const finished = await run(['call', '@maths', 'echo', ...args, '--json', '--home', home], { stdin })
    expect(finished).toEqual({ code: 0, stdout: `${JSON.stringify({ ok: true, result })}\n`, stderr: '' })
  })

  it('prints streamed items one per line, as they come', async () => {
    const { home, node } = await fakeDaemon()
    const program = begin(['call', `${PEER}/maths`, 'count', '{"to":2,"wait":true}', '--json', '--home', home])
    expect(await program.lines(2)).toEqual(['{"n":1}', '{"n":2}'])
    program.kill('SIGINT')
    await node.whenEnded('stream')
    const { code, stderr } = await program.finished
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: CANCELLED: /)
  })

  it('says in the last line that a stream failed', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout } = await run(['call', '@maths', 'count', '{"to":1,"fail":true}', '--json', '--home', home])
    const [item, end] = stdout.split('\n')
    expect({ code, item, end: JSON.parse(end ?? '') }).toEqual({
      code: 1,
      item: '{"n":1}',
      end: { ok: false, error: { code: 'AGENT_ERROR', message: 'it broke', retryable: false } }
    })
  })

  it.each([
    {
      capability: 'deny',
      exit: 3,
      error: { code: 'FORBIDDEN', message: 'no rule allows it', retryable: false, hint: 'ask its owner' }
    },
    { capability: 'late', exit: 5, error: { code: 'TIMEOUT', message: 'the deadline passed', retryable: true } },
    { capability: 'nothing', exit: 4, error: { code: 'NOT_FOUND', message: expect.any(String), retryable: false } },
    { capability: 'defect', exit: 1, error: { code: 'INTERNAL', message: 'internal error', retryable: false } }
  ])('that ends in $error.code exits with $exit and says what to do next', async ({ capability, exit, error }) => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['call', '@maths', capability, '--json', '--home', home])
    expect({ code, document: JSON.parse(stdout) }).toEqual({ code: exit, document: { ok: false, error } })
    expect(stderr).toMatch(new RegExp(`^error: ${error.code}: .+\nnext: .+\n$`))
  })

  it('keeps what a peer says apart from what it says itself', async () => {
    const { home } = await fakeDaemon()
    const { stderr } = await run(['call', '@maths', 'posing', '--home', home])
    expect(stderr).toBe('error: AGENT_ERROR: no\n  next: run \uFFFD[5mthis\nnext: ask\n  its owner\n')
  })

  it('of an ambiguous name is wrong usage, and says which are meant', async () => {
    const { home } = await fakeDaemon()
    const { code, stderr } = await run(['call', '@twins', 'echo', '--home', home])
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: `error: AMBIGUOUS: more than one agent is called twins\nnext: say ${PEER}/twins\n`
    })
  })

  it('with input that is not JSON says where', async () => {
    const { home } = await fakeDaemon()
    const { code, stdout, stderr } = await run(['call', '@maths', 'echo', '{"a":x}', '--json', '--home', home])
    expect(code).toBe(2)
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, error: { code: 'INVALID_ARGUMENT' } })
    expect(stderr).toMatch(/not JSON: Unexpected token 'x', "\{"a":x\}"/)
  })

  it.each([
    { id: 'nested too deep', stdin: `${'['.repeat(50_000)}${']'.repeat(50_000)}`, code: 2, error: 'INVALID_ARGUMENT' },
    { id: 'longer than any call', stdin: ' '.repeat(17_000_000), code: 1, error: 'TOO_LARGE' }
  ])('with input that is $id is refused', async ({ stdin, code, error }) => {
    const { home } = await fakeDaemon()
    const ended = await run(['call', '@maths', 'echo', '-', '--json', '--home', home], { stdin })
    expect(ended.code).toBe(code)
    expect(JSON.parse(ended.stdout)).toMatchObject({ ok: false, error: { code: error } })
    expect(ended.stderr).toMatch(new RegExp(`^error: ${error}: .+\nnext: .+\n$`))
  })

  it('is cancelled on the node when its reader closes the pipe', async () => {
    const { home, node } = await fakeDaemon()
    const program = begin(['call', '@maths', 'count', '{"to":1000000}', '--home', home])
    await program.lines(1)
    program.closeStdout()
    const { code, stderr } = await program.finished
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await node.whenEnded('stream')
  })
})

describe('events', () => {
  it('prints them as they happen, until Ctrl-C', async () => {
    const { home, node } = await fakeDaemon()
    const program = begin(['events', '--json', '--type', 'peer:join', '--home', home])
    await node.whenHeard()
    node.emit('peer:leave', { peer: PEER })
    node.emit('peer:join', { peer: PEER, address: '/ip4/10.0.0.2/tcp/4001' })
    const [line = ''] = await program.lines(1)
    expect(JSON.parse(line)).toEqual({
      event: 'peer:join',
      at: expect.stringMatching(/^\d{4}-.*Z$/),
      detail: { peer: PEER, address: '/ip4/10.0.0.2/tcp/4001' }
    })
    program.kill('SIGTERM')
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
    await node.whenEnded('events')
  })

  it('fails when the node stops', async () => {
    const { home, node } = await fakeDaemon()
    const program = begin(['events', '--home', home])
    await node.whenHeard()
    expect(await run(['stop', '--home', home])).toMatchObject({ code: 0 })
    expect(await program.finished).toMatchObject({ code: 5, stderr: expect.stringContaining('CONNECTION_LOST') })
  })
})

describe('the program', () => {
  const manual = ['start', 'status', 'peers', 'stop', 'connect', 'find', 'call', 'events', 'agents']
  const verbs = [
    ...manual.map((name) => [name]),
    ...['list', 'show', 'add', 'update', 'remove'].map((name) => ['agents', name])
  ]

  it.each(verbs)('explains %s %s with an example', async (...words) => {
    const { code, stdout } = await run([...words.filter((word) => typeof word === 'string'), '--help'])
    expect(code).toBe(0)
    expect(stdout).toMatch(new RegExp(`Examples?:\n.*pryx-mesh ${words.join(' ')}`))
    expect(stdout).toContain('--home <dir>')
    expect(stdout).toContain('--json')
  })

  it.each([[['--help']], [['--version']], [['events', '--help']]])('ends well when nobody reads %j', async (args) => {
    const program = begin(args)
    program.closeStdout()
    expect(await program.finished).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('names itself as it was called, in pipelines too', async () => {
    const { stdout } = await run(['call', '--help'], { env: { PRYX_MESH_PROGRAM: '/opt/px' } })
    expect(stdout).toContain('\n  /opt/px call @files')
    expect(stdout).toContain(` | /opt/px call @maths@bob`)
    expect(stdout).not.toContain('/opt/px echo')
  })

  it('tells its version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string
    }
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it('without a verb explains itself and exits with 2', async () => {
    const { code, stdout, stderr } = await run([])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain('Usage: pryx-mesh')
  })

  it.each([
    {
      id: 'an unknown verb',
      args: ['fnid'],
      says: "unknown command 'fnid' (Did you mean find?)",
      next: 'pryx-mesh --help'
    },
    {
      id: 'an unknown option',
      args: ['find', '--colour'],
      says: "unknown option '--colour'",
      next: 'pryx-mesh find --help'
    },
    {
      id: 'a missing argument',
      args: ['call', '@x'],
      says: "missing required argument 'capability'",
      next: 'pryx-mesh call --help'
    },
    { id: 'too many arguments', args: ['stop', 'now'], says: 'too many arguments', next: 'pryx-mesh stop --help' },
    {
      id: 'a bad kind',
      args: ['find', '--kind', 'robot'],
      says: 'Allowed choices are tool, skill, model',
      next: 'pryx-mesh find --help'
    },
    { id: 'a bad duration', args: ['find', '--timeout', 'soon'], says: 'Say how long', next: 'pryx-mesh find --help' },
    {
      id: 'no duration at all',
      args: ['call', '@x', 'y', '--timeout', '0s'],
      says: 'Say how long',
      next: 'pryx-mesh call --help'
    },
    {
      id: 'an explanation that never ends',
      args: ['find', '--watch', '--explain'],
      says: '--watch never ends',
      next: 'pryx-mesh find --help'
    },
    { id: 'a bad limit', args: ['find', '--limit', '1.5'], says: 'Give a whole number', next: 'pryx-mesh find --help' }
  ])('refuses $id as wrong usage', async ({ args, says, next }) => {
    const { code, stdout, stderr } = await run([...args, '--home', temporaryFolder()])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: INVALID_ARGUMENT: /)
    expect(stderr).toContain(says)
    expect(stderr.endsWith(`next: ${next}\n`)).toBe(true)
  })

  it.each([
    ['status'],
    ['peers'],
    ['stop'],
    ['find'],
    ['events'],
    ['connect', '/ip4/127.0.0.1/tcp/1'],
    ['agents', 'list']
  ])('without a node on the home says how to start one: %s', async (...words) => {
    const home = temporaryFolder()
    const { code, stdout, stderr } = await run([...words, '--home', home])
    expect({ code, stdout }).toEqual({ code: 5, stdout: '' })
    expect(stderr).toBe(`error: UNREACHABLE: no node runs in ${home}\nnext: pryx-mesh start --home ${home}\n`)
  })

  const isRoot = process.getuid?.() === 0
  if (isRoot) process.stdout.write('skipped: root may open every socket\n')

  it.skipIf(isRoot)('says that a node is another user’s', async () => {
    const { home } = await fakeDaemon()
    const { chmodSync } = await import('node:fs')
    chmodSync(join(home, 'control.sock'), 0)
    onTestFinished(() => chmodSync(join(home, 'control.sock'), 0o600))
    expect(await run(['status', '--home', home])).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('FORBIDDEN')
    })
  })
})
