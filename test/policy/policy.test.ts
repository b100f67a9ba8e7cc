import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import type { AuditLog, Rule } from '../../src/policy/index.ts'
import { openPolicy, policyDocument } from '../../src/policy/index.ts'
import { ALICE, BOB, callerOf } from './callers.ts'

async function newHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'policy-'))
  onTestFinished(() => rm(home, { recursive: true, force: true }))
  return home
}

const newPath = async () => join(await newHome(), 'policy.json')

async function pathWith(content: unknown): Promise<string> {
  const path = await newPath()
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

const allow = (id: string, rest: Partial<Rule> = {}): Rule => ({
  id,
  effect: 'allow',
  who: ALICE,
  act: '*.call',
  res: 'tool:fs/*',
  ...rest
})
const READ = { action: 'tool.call', resource: 'tool:fs/read' }

function memoryLog(): AuditLog & { rows: string[] } {
  const rows: string[] = []
  return { rows, append: (row) => rows.push(row), close: async () => {} }
}

it('a new home lets the owner do everything and trusted peers read, asks about other calls of known ones, and keeps the file private', async () => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual(policy.document)
  expect(policy.decide({ caller: callerOf(BOB, 'owner'), ...READ }).effect).toBe('allow')
  expect(policy.decide({ caller: callerOf(BOB), action: 'record.read', resource: 'agent:fs' }).effect).toBe('allow')
  const trusted = callerOf(BOB, 'trusted')
  expect(policy.decide({ caller: trusted, ...READ }).effect).toBe('ask')
  expect(policy.decide({ caller: trusted, ...READ, facts: { effects: 'read' } }).effect).toBe('allow')
  expect(policy.decide({ caller: trusted, ...READ, facts: { effects: 'write' } }).effect).toBe('ask')
  expect(policy.decide({ caller: callerOf(BOB), ...READ, facts: { effects: 'read' } }).effect).toBe('deny')
  const known = callerOf(BOB, 'known')
  expect(policy.decide({ caller: known, ...READ, facts: { effects: 'read' } }).effect).toBe('ask')
  expect(policy.decide({ caller: known, action: 'permission.request', resource: 'tool:fs/read' }).effect).toBe('allow')
  expect(policy.decide({ caller: known, action: 'message.send', resource: 'agent:owner' }).effect).toBe('allow')
  expect(policy.decide({ caller: known, action: 'message.send', resource: 'agent:fs' }).effect).toBe('deny')
  await policy.put([{ id: 'by-hand', effect: 'allow', who: BOB, act: 'tool.call', res: '*' }])
  expect(policy.decide({ caller: known, ...READ })).toMatchObject({ effect: 'allow', rules: ['by-hand'] })
})

it('a node without a home has the same rules, in memory', async () => {
  const policy = await openPolicy({})
  const caller = callerOf(ALICE)
  expect(policy.decide({ caller, ...READ }).effect).toBe('deny')
  await policy.put([allow('a')])
  expect(policy.decide({ caller, ...READ })).toMatchObject({ effect: 'allow', rules: ['a'] })
})

it('rules that are put and removed apply at once and outlive the process', async () => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  const caller = callerOf(ALICE)
  expect(policy.decide({ caller, ...READ }).effect).toBe('deny')
  await policy.put([allow('a'), allow('b')])
  expect(policy.decide({ caller, ...READ })).toMatchObject({ effect: 'allow', rules: ['a', 'b'] })
  await policy.put([allow('a', { effect: 'deny' })])
  expect(policy.decide({ caller, ...READ })).toMatchObject({ effect: 'deny', rules: ['a'] })
  expect((await openPolicy({ path })).decide({ caller, ...READ })).toMatchObject({ effect: 'deny', rules: ['a'] })
  await policy.remove(['a', 'no-such-rule'])
  expect(policy.decide({ caller, ...READ })).toMatchObject({ effect: 'allow', rules: ['b'] })
})

it('the same question of the same caller is answered by the same decision until the rules change', async () => {
  const policy = await openPolicy({})
  const caller = callerOf(ALICE)
  const decision = policy.decide({ caller, ...READ })
  expect(policy.decide({ caller, ...READ })).toBe(decision)
  await policy.remove([])
  expect(policy.decide({ caller, ...READ })).not.toBe(decision)
})

it('keeps a bounded number of verdicts for a caller', async () => {
  const policy = await openPolicy({})
  const caller = callerOf(ALICE)
  const first = policy.decide({ caller, ...READ })
  for (let n = 0; n < 1_100; n++) policy.decide({ caller, action: 'tool.call', resource: `tool:fs/${n}` })
  expect(policy.decide({ caller, ...READ })).not.toBe(first)
  const long = { caller, action: 'tool.call', resource: 'x'.repeat(1_000) }
  expect(policy.decide(long)).not.toBe(policy.decide(long))
})

it('every decision leaves an audit row', async () => {
  const audit = memoryLog()
  const policy = await openPolicy({ audit })
  const caller = callerOf(ALICE)
  await policy.put([allow('a')])
  policy.decide({ caller, ...READ })
  policy.decide({ caller, ...READ })
  policy.decide({ caller, action: 'tool.call', resource: `tool:x/"\n${'y'.repeat(1_000)}` })
  expect(audit.rows).toHaveLength(3)
  expect(audit.rows[1]).toBe(audit.rows[0])
  expect(JSON.parse(audit.rows[0] ?? '')).toEqual({ peer: ALICE, ...READ, effect: 'allow', rules: ['a'] })
  expect(audit.rows[2]).not.toContain('\n')
  expect(audit.rows[2]?.length).toBeLessThan(500)
})

it('concurrent changes are all kept', async () => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  const first = policy.document.rules.map(({ id }) => id)
  const ids = Array.from({ length: 20 }, (_, n) => `r${n}`)
  await Promise.all(ids.map((id) => policy.put([allow(id)])))
  const stored = policyDocument.parse(JSON.parse(await readFile(path, 'utf8')))
  expect(stored.rules.map(({ id }) => id)).toEqual([...first, ...ids])
})

it('a change keeps what the owner edited meanwhile, and the mode of the file, and leaves nothing else behind', async () => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  await writeFile(path, JSON.stringify({ v: 1, rules: [allow('by-hand')] }))
  await chmod(path, 0o640)
  await policy.put([allow('b')])
  expect(policy.document.rules.map(({ id }) => id)).toEqual(['by-hand', 'b'])
  expect((await stat(path)).mode & 0o777).toBe(0o640)
  expect(await readdir(join(path, '..'))).toEqual(['policy.json'])
})

it.each([
  { id: 'broken', breakIt: (path: string) => writeFile(path, '{') },
  { id: 'removed', breakIt: (path: string) => rm(path) }
])('a change of a file that was $id meanwhile is refused and changes nothing', async ({ breakIt }) => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  const first = policy.document.rules.length
  await policy.put([allow('a')])
  const before = policy.document
  await breakIt(path)
  await expect(policy.put([allow('b')])).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  await expect(policy.remove(['a'])).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  expect(policy.document).toBe(before)
  expect(policy.decide({ caller: callerOf(ALICE), ...READ }).effect).toBe('allow')
  await writeFile(path, JSON.stringify(before))
  await policy.put([allow('b')])
  expect(policy.document.rules).toHaveLength(first + 2)
})

it('a rule that is none is refused before the file is touched', async () => {
  const path = await newPath()
  const policy = await openPolicy({ path })
  const before = await readFile(path, 'utf8')
  await expect(policy.put([allow('a', { who: 'alice' })])).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('rules[0].who: must be *, a PeerId')
  })
  await expect(policy.put(Array.from({ length: 998 }, (_, n) => allow(`r${n}`)))).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('at most 1000 rules')
  })
  expect(await readFile(path, 'utf8')).toBe(before)
})

it.each([
  { id: 'no JSON', content: '{ "v": 1,\n oops }', says: 'line 2' },
  { id: 'not an object', content: 'null', says: 'expected object' },
  { id: 'another version', content: { v: 2, rules: [] }, says: 'v: ' },
  { id: 'no rules', content: { v: 1 }, says: 'rules: ' },
  { id: 'an unknown member', content: { v: 1, rules: [], rule: [] }, says: 'rule: there is no such member' },
  {
    id: 'a misspelt member of a rule',
    content: { v: 1, rules: [{ ...allow('a'), effct: 'deny' }] },
    says: 'rules[0].effct: there is no such member'
  },
  { id: 'no condition in a when', content: { v: 1, rules: [allow('a', { when: {} })] }, says: 'rules[0].when: has no' },
  {
    id: 'a misspelt condition',
    content: { v: 1, rules: [{ ...allow('a'), when: { maxbytes: 1 } }] },
    says: 'rules[0].when.maxbytes: there is no such member'
  },
  {
    id: 'a time zone that there is not',
    content: { v: 1, rules: [allow('a', { when: { time: { days: 'mon', tz: 'Europe/Atlantis' } } })] },
    says: 'rules[0].when.time.tz: must be a time zone'
  },
  {
    id: 'days that there are not',
    content: { v: 1, rules: [allow('a', { when: { time: { days: 'mon-fry' } } })] },
    says: 'rules[0].when.time.days: must be days such as'
  },
  {
    id: 'a window of no length',
    content: { v: 1, rules: [allow('a', { when: { time: { from: '08:00', to: '08:00' } } })] },
    says: 'rules[0].when.time: from and to are the same'
  },
  {
    id: 'a limit without a window',
    content: { v: 1, rules: [allow('b'), allow('a', { limit: { calls: '100' } })] },
    says: 'rules[1].limit.calls: must be an amount and a window'
  },
  {
    id: 'a limit of nothing',
    content: { v: 1, rules: [allow('a', { limit: { calls: '0/1h' } })] },
    says: 'rules[0].limit.calls: must be more than nothing'
  },
  {
    id: 'a limit that limits nothing',
    content: { v: 1, rules: [allow('a', { limit: { per: 'rule' } })] },
    says: 'rules[0].limit: limits nothing'
  },
  {
    id: 'a limit of a deny',
    content: { v: 1, rules: [allow('a', { effect: 'deny', limit: { concurrent: 1 } })] },
    says: 'rules[0].limit: a deny has no limit'
  },
  {
    id: 'how to ask in an allow',
    content: { v: 1, rules: [allow('a', { ask: { ttl: '1m' } })] },
    says: 'rules[0].ask: only a rule with effect ask'
  },
  {
    id: 'an expiry that is no time',
    content: { v: 1, rules: [allow('a', { exp: 'tomorrow' })] },
    says: 'rules[0].exp: must be a time'
  },
  {
    id: 'an unknown effect',
    content: { v: 1, rules: [{ ...allow('a'), effect: 'permit' }] },
    says: 'rules[0].effect: '
  },
  { id: 'an id used twice', content: { v: 1, rules: [allow('a'), allow('a')] }, says: 'rules[1].id: a is used twice' },
  { id: 'an id with a line break', content: { v: 1, rules: [allow('a\nb')] }, says: 'rules[0].id: ' },
  {
    id: 'an unknown level',
    content: { v: 1, rules: [allow('a', { who: 'level:friend' })] },
    says: 'rules[0].who: must be *, a PeerId, or level:'
  },
  {
    id: 'the level blocked',
    content: { v: 1, rules: [allow('a', { who: 'level:blocked' })] },
    says: 'rules[0].who: must be'
  },
  {
    id: 'half a PeerId in a list',
    content: { v: 1, rules: [allow('a', { who: [ALICE, '12D3KooWabc'] })] },
    says: 'rules[0].who[1]: must be'
  },
  { id: 'an empty list', content: { v: 1, rules: [allow('a', { who: [] })] }, says: 'rules[0].who: ' },
  {
    id: 'a number for a pattern',
    content: { v: 1, rules: [{ ...allow('a'), res: 7 }] },
    says: 'rules[0].res: must be a string or a list'
  },
  {
    id: 'an action that there is not',
    content: { v: 1, rules: [allow('a', { act: 'tol.call' })] },
    says: 'rules[0].act: fits no action there is'
  },
  {
    id: 'a rule without a resource',
    content: { v: 1, rules: [{ id: 'a', effect: 'allow', who: '*', act: '*' }] },
    says: 'rules[0].res: '
  }
])('a policy file with $id is refused, saying where', async ({ content, says }) => {
  const path = await pathWith(content)
  await expect(openPolicy({ path })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringContaining(says)
  })
  await expect(openPolicy({ path })).rejects.toThrow(path)
})

it('an unreadable or unwritable place is an error of its own', async () => {
  const home = await newHome()
  await expect(openPolicy({ path: home })).rejects.toMatchObject({ code: 'IO' })
  await expect(openPolicy({ path: join(home, 'missing', 'policy.json') })).rejects.toMatchObject({ code: 'IO' })
})

it('the file has a JSON Schema, for the documentation', () => {
  expect(z.toJSONSchema(policyDocument, { io: 'input' })).toMatchObject({
    additionalProperties: false,
    properties: { rules: { items: { additionalProperties: false, required: ['id', 'effect', 'who', 'act', 'res'] } } }
  })
})
