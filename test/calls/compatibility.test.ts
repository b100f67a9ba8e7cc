import { describe, expect, it } from 'vitest'
import type { Compatibility } from '../../src/calls/index.ts'
import type { GrantUse } from '../../src/grants/index.ts'
import type { AgentInit, Node } from '../../src/index.ts'
import { answerCheck, type CheckComponents } from '../../src/permissions/check.ts'
import { openPolicy, type Rule } from '../../src/policy/index.ts'
import type { Capability } from '../../src/registry/messages.ts'
import { callerOf } from '../callers.ts'
import { failureOf, nextEvent, startNode, startPair } from '../nodes.ts'

const files: AgentInit = {
  name: 'files',
  version: '1.4.0',
  tags: ['disk'],
  capabilities: [
    { name: 'read', version: '1.2.0', effects: 'read', input: { type: 'object' }, handler: () => 'text' },
    { name: 'both', handler: () => 'tool' },
    { name: 'both', kind: 'skill', handler: () => 'skill' },
    { name: 'draw', kind: 'model', handler: () => 'picture' }
  ]
}

/** Two nodes, the far one with `files`, under the rules of its owner. */
async function startMesh(
  rules: Parameters<Node['policy']['put']>[0] = []
): Promise<{ near: Node; far: Node; id: string }> {
  const [near, far] = await startPair()
  const { id } = await far.agents.add(files)
  await far.policy.put(rules)
  return { near, far, id }
}

const allowAll = { id: 'all', effect: 'allow', who: '*', act: '*.call', res: '*:files/*' } as const

const kinds = ({ missing }: Compatibility): string[] => missing.map(({ what }) => what)

/** A check leaves nothing behind: no request for the owner, no pin, no row of a call. */
async function traceless(near: Node, far: Node, check: () => Promise<Compatibility>): Promise<Compatibility> {
  const asked: unknown[] = []
  const offs = (['permission:asked', 'call:denied'] as const).map((name) =>
    far.on(name, (detail) => asked.push(detail))
  )
  const pins = near.pins.list()
  const result = await check()
  for (const off of offs) off()
  expect(asked).toEqual([])
  expect(far.permissions.list()).toEqual([])
  expect(near.pins.list()).toEqual(pins)
  return result
}

describe('a check of a capability at a peer', () => {
  it('finds nothing missing when a call would work', async () => {
    const { near, far, id } = await startMesh([allowAll])
    for (const options of [{}, { version: '^1.1', kind: 'tool' }] as const) {
      const result = await traceless(near, far, () => near.check('@files', 'read', options))
      expect(result).toEqual({ ok: true, agent: id, capability: 'read', missing: [] })
    }
    expect(await near.call(id, 'read')).toBe('text')
  })

  it('tells everything that is missing at once', async () => {
    const { near, far, id } = await startMesh([
      { id: 'build', effect: 'allow', who: 'scope:files.read', act: 'tool.call', res: 'tool:files/*' }
    ])
    const result = await traceless(near, far, () => near.check(id, 'read', { version: '^2' }))
    expect(result).toMatchObject({ ok: false, agent: id, capability: 'read' })
    expect(kinds(result)).toEqual(['version', 'credential', 'scope', 'permission'])
    const [version, credential, scope, permission] = result.missing
    expect(version).toMatchObject({ text: expect.stringMatching(/1\.2\.0.*\^2/), hint: expect.any(String) })
    expect(credential?.text).toMatch(/noise.*api-key/)
    expect(scope?.text).toContain('files.read')
    expect(permission).toMatchObject({
      text: expect.stringContaining('no rule allows tool.call on tool:files/read'),
      hint: expect.stringContaining(`permission request ${id} read`)
    })
  })

  it('counts the scopes of a credential that this node holds for the peer', async () => {
    const { near, far, id } = await startMesh([
      { id: 'build', effect: 'allow', who: 'scope:files.read', act: 'tool.call', res: 'tool:files/*' }
    ])
    const wrong = await far.keys.create({ name: 'wrong', scopes: ['files.write'] })
    await near.keys.hold(far.id, wrong.key)
    expect(kinds(await near.check(id, 'read'))).toEqual(['scope', 'permission'])
    const right = await far.keys.create({ name: 'right', scopes: ['files.read'] })
    await near.keys.hold(far.id, right.key)
    expect(await near.check(id, 'read')).toMatchObject({ ok: true })
  })

  it.each([
    { id: 'asks', rule: { ...allowAll, effect: 'ask' as const }, text: /would be asked/ },
    { id: 'denies', rule: { ...allowAll, effect: 'deny' as const }, text: /rule all denies/ }
  ])('says so when the owner $id, and asks nobody', async ({ rule, text }) => {
    const { near, far, id } = await startMesh([rule])
    const result = await traceless(near, far, () => near.check(id, 'read'))
    expect(kinds(result)).toEqual(['permission'])
    expect(result.missing[0]?.text).toMatch(text)
    expect(far.status().pendingApprovals).toBe(0)
  })

  it('counts a grant of the owner, and uses none of it up', async () => {
    const { near, far, id } = await startMesh([{ ...allowAll, effect: 'ask' }])
    const { id: grant } = await far.grants.issue({ holder: near.id, act: 'tool.call', res: 'tool:files/read', uses: 1 })
    for (let n = 0; n < 3; n += 1) expect(await near.check(id, 'read')).toMatchObject({ ok: true })
    expect(kinds(await near.check(id, 'both', { kind: 'tool' }))).toEqual(['permission'])
    expect(far.grants.get(grant)).toMatchObject({ state: 'valid', used: 0 })
    expect(await near.call(id, 'read')).toBe('text')
    expect(kinds(await near.check(id, 'read'))).toEqual(['permission'])
  })

  it('says that a name is ambiguous, and which kinds there are not', async () => {
    const { near, id } = await startMesh([allowAll])
    expect(await near.check(id, 'both')).toMatchObject({
      missing: [{ what: 'capability', text: expect.stringContaining('several kinds') }]
    })
    expect(await near.check(id, 'both', { kind: 'skill' })).toMatchObject({ ok: true })
    expect(await near.check(id, 'both', { kind: 'model' })).toMatchObject({
      missing: [{ what: 'capability', text: expect.stringContaining('no model both') }]
    })
    expect(kinds(await near.check(id, 'nothing'))).toEqual(['capability'])
  })

  it('knows the conditions of rules: what the capability does, and the size of the smallest input', async () => {
    const { near, id } = await startMesh([{ ...allowAll, when: { effects: ['read'], maxBytes: 2 } }])
    expect(await near.check(id, 'read')).toMatchObject({ ok: true })
    expect(kinds(await near.check(id, 'draw'))).toEqual(['permission'])
  })

  it('says that a pinned definition has changed', async () => {
    const { near, far, id } = await startMesh([allowAll])
    await near.call(id, 'read')
    const changed = nextEvent(near, 'capability:changed', ({ agent }) => agent === id)
    await far.agents.update('files', { capabilities: [{ name: 'read', version: '1.2.0', handler: () => 'other' }] })
    await changed
    for (let n = 0; n < 2; n += 1) {
      const result = await traceless(near, far, () => near.check(id, 'read'))
      expect(kinds(result)).toEqual(['pin'])
      expect(result.missing[0]?.hint).toContain('pins approve')
      expect(await failureOf(near.call(id, 'read'))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    }
  })

  it('tells of an agent that is hidden from it no more than that it may not call it', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({ ...files, audience: 'paired' })
    const hidden = await near.check(id, 'read')
    expect(kinds(hidden)).toEqual(['permission'])
    const nobody = await near.check(`${far.id}/nobody`, 'read')
    expect(JSON.stringify(nobody).replaceAll('nobody', 'files')).toBe(JSON.stringify(hidden))
  })

  it('works for an agent that is hidden, but may be called', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({ ...files, audience: 'paired' })
    await far.policy.put([allowAll])
    expect(await near.check(id, 'read', { version: '^1' })).toMatchObject({ ok: true })
    expect(kinds(await near.check(id, 'read', { version: '^2' }))).toEqual(['version'])
    expect(kinds(await near.check(id, 'nothing'))).toEqual(['capability'])
  })

  it('fails when the peer is blocked or away, or the question makes no sense', async () => {
    const { near, far, id } = await startMesh([allowAll])
    expect(await failureOf(near.check(id, 'read', { version: 'newest' }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await failureOf(near.check('@nobody', 'read'))).toMatchObject({ code: 'NOT_FOUND' })
    const left = nextEvent(near, 'peer:leave')
    await far.stop()
    await left
    expect(await failureOf(near.check(id, 'read', { timeoutMs: 2_000 }))).toMatchObject({
      code: expect.stringMatching(/^(UNREACHABLE|TIMEOUT)$/)
    })
  })
})

describe('a check of a capability of this node', () => {
  it('looks at what is here', async () => {
    const node = await startNode()
    const { id } = await node.agents.add(files)
    expect(await node.check(id, 'read', { version: '^1' })).toEqual({
      ok: true,
      agent: id,
      capability: 'read',
      missing: []
    })
    expect(kinds(await node.check('@files', 'read', { version: '^3' }))).toEqual(['version'])
    expect(kinds(await node.check(id, 'nothing'))).toEqual(['capability'])
    await node.policy.put([{ id: 'off', effect: 'deny', who: '*', act: '*', res: 'tool:files/*' }])
    expect(await node.check(id, 'read')).toMatchObject({
      missing: [{ what: 'permission', text: expect.stringContaining('rule off denies') }]
    })
    expect(await failureOf(node.check(`${node.id}/nobody`, 'read'))).toMatchObject({ code: 'NOT_FOUND' })
  })
})

describe('the answer to a check', () => {
  const peer = '12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV'
  const caller = callerOf(peer)
  const define = (kind: Capability['kind'], name: string): Capability => ({
    kind,
    name,
    version: '1.0.0',
    streaming: false,
    effects: 'read',
    tags: [],
    digest: `${kind}-${name}`
  })
  const offered = [define('tool', 'read'), define('skill', 'write'), define('tool', 'both'), define('skill', 'both')]

  /** @param granted resources for which the caller has a grant */
  async function answerer(rules: readonly Rule[], granted: readonly string[] = []) {
    const policy = await openPolicy({})
    await policy.put(rules)
    const asked: string[] = []
    const grants: Pick<CheckComponents['grants'], 'find'> = {
      find({ resource, digest, input }) {
        asked.push(`${resource} ${digest} ${input?.()}`)
        return granted.includes(resource) ? ({} as Partial<GrantUse> as GrantUse) : undefined
      }
    }
    const components: CheckComponents = {
      policy,
      grants: grants as Partial<CheckComponents['grants']> as CheckComponents['grants'],
      capabilityOf: (_agent, name, kind) => offered.find((each) => each.name === name && each.kind === kind),
      tagsOf: () => ['shared']
    }
    const answer = (capability: string, kind?: Capability['kind'], who = caller) =>
      answerCheck(
        { op: 'check', agent: 'files', capability, ...(kind === undefined ? {} : { kind }) },
        { caller: who, session: { caller: who } },
        components
      )
    return { answer, asked }
  }

  const rule = (effect: Rule['effect'], res = '*:files/*'): Rule => ({ id: 'r', effect, who: '*', act: '*.call', res })

  it('looks at the tags of the agent, as a call does', async () => {
    const tagged = (tags: string[]): Rule => ({ ...rule('allow'), when: { tags } })
    expect((await answerer([tagged(['shared'])])).answer('read')).toMatchObject({ effect: 'allow' })
    expect((await answerer([tagged(['other'])])).answer('read')).toMatchObject({ effect: 'deny' })
  })

  it('is a grant where the rules ask or are silent, and never where they deny', async () => {
    const granted = ['tool:files/read']
    for (const rules of [[], [rule('ask')]]) {
      const { answer, asked } = await answerer(rules, granted)
      expect(answer('read')).toEqual({
        effect: 'allow',
        reason: 'a grant allows tool.call on tool:files/read',
        proven: ['noise'],
        capability: { kind: 'tool', version: '1.0.0', digest: 'tool-read' }
      })
      // Without an input that a grant could be for
      expect(asked).toEqual(['tool:files/read tool-read '])
      expect(answer('write', 'skill')).toMatchObject({ effect: rules.length === 0 ? 'deny' : 'ask' })
    }
    const denied = await answerer([rule('deny')], granted)
    expect(denied.answer('read')).toMatchObject({ effect: 'deny' })
    const blocked = await answerer([], granted)
    expect(blocked.answer('read', undefined, callerOf(peer, 'blocked'))).toMatchObject({ effect: 'deny' })
    expect([...denied.asked, ...blocked.asked]).toEqual([])
  })

  it("doesn't tell who may not call whether there is such a capability", async () => {
    const { answer } = await answerer([])
    const of = (name: string) => JSON.stringify(answer(name)).replaceAll(name, 'NAME')
    expect(of('read')).toBe(of('nothing'))
    expect(of('write')).toBe(of('nothing'))
    expect(of('both')).toBe(of('nothing'))
    expect(answer('read')).not.toHaveProperty('capability')
  })

  it("doesn't tell who may call tools of an agent of its skills", async () => {
    const { answer } = await answerer([rule('allow', 'tool:files/*')])
    expect(answer('read')).toMatchObject({ effect: 'allow' })
    for (const name of ['write', 'nothing'])
      expect(() => answer(name)).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }))
    expect(() => answer('both')).toThrow(expect.objectContaining({ code: 'AMBIGUOUS' }))
    expect(answer('write', 'skill')).toMatchObject({ effect: 'deny' })
  })
})
