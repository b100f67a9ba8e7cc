import type { Change, FindStep, Found, Missing } from '../../src/discovery/index.ts'
import { MeshError } from '../../src/errors.ts'
import type { MeshEventName, MeshEvents } from '../../src/events.ts'
import type { AgentInit, AgentPatch, LocalAgent, MeshListener, Node } from '../../src/index.ts'
import type { AgentRecord, Capability, SignedRecord } from '../../src/registry/messages.ts'

export const SELF = '12D3KooWAfPwQQxGNNxYTCCwLHyrdwdUTHtKWPrCfLQZu9Z3EFqS'
export const PEER = '12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'

/** A node of one process, for what stands in front of it. `ended` lists what was cancelled. */
type Guarded =
  | 'trust'
  | 'policy'
  | 'keys'
  | 'logins'
  | 'tokens'
  | 'pairing'
  | 'permissions'
  | 'grants'
  | 'pins'
  | 'blobs'
  | 'messages'
  | 'mailboxes'
  | 'send'
  | 'check'
  | 'edges'
  | 'exchangeToken'

export interface FakeNode extends Node {
  readonly ended: string[]
  emit<K extends MeshEventName>(event: K, detail: MeshEvents[K]): void
  /** Resolves when `what` was cancelled. */
  whenEnded(what: string): Promise<void>
  /** Resolves when somebody listens to events. */
  whenHeard(): Promise<void>
}

function capabilityOf(name: string, more: Partial<Capability> = {}): Capability {
  return {
    kind: 'tool',
    name,
    version: '1.0.0',
    streaming: false,
    effects: 'none',
    tags: [],
    digest: 'a'.repeat(43),
    ...more
  }
}

function recordOf(id: string, more: Partial<AgentRecord> = {}): SignedRecord {
  const record: AgentRecord = {
    v: 1,
    id,
    seq: 7,
    issuedAt: '2026-11-23T10:00:00.000Z',
    expiresAt: '2026-11-23T12:30:00.000Z',
    name: id.split('/')[1] ?? '',
    version: '1.0.0',
    driver: 'function',
    audience: 'public',
    tags: [],
    auth: ['noise'],
    protocols: { call: ['1.0.0'] },
    capabilities: [capabilityOf('echo'), capabilityOf('count', { streaming: true })],
    ...more
  }
  return { jws: 'e30.e30.c2ln', record }
}

export const REMOTE = recordOf(`${PEER}/maths`)

/** `maths` of another node answers: echo, count (streams), wait (until cancelled), deny, and what fails. */
export function fakeNode(): FakeNode {
  const agents = new Map<string, LocalAgent>()
  const listeners = new Set<MeshListener<MeshEventName>>()
  const ended: string[] = []
  const notify = new EventTarget()
  const end = (what: string) => {
    ended.push(what)
    notify.dispatchEvent(new Event(what))
  }
  const cancelled = (what: string, signal: AbortSignal | undefined) =>
    new Promise<never>((_resolve, reject) => {
      const stop = () => {
        end(what)
        reject(new MeshError('CANCELLED', 'cancelled'))
      }
      if (signal?.aborted === true) stop()
      else signal?.addEventListener('abort', stop, { once: true })
    })
  const signedOf = (target: string): SignedRecord => {
    if (target === '@twins') {
      throw new MeshError('AMBIGUOUS', 'more than one agent is called twins', { hint: `say ${PEER}/twins` })
    }
    if ([REMOTE.record.id, '@maths', '@maths@bob'].includes(target)) return REMOTE
    const local = agents.get(target.replace(/^@|.*\//, ''))?.record
    if (local === undefined) throw new MeshError('NOT_FOUND', `no agent ${target}`)
    return local
  }
  const found = (name: string): Found => ({
    agent: REMOTE.record.id,
    peer: PEER,
    capability: capabilityOf(name),
    source: 'peer',
    record: { seq: REMOTE.record.seq, expiresAt: REMOTE.record.expiresAt },
    verifiedAt: REMOTE.record.issuedAt
  })
  const localAgent = (init: AgentInit & AgentPatch): LocalAgent => {
    const { name, driver = 'function', config, description, tags = [], audience = 'public' } = init
    const id = `${SELF}/${name}`
    const definition = { name, driver, config, tags, audience, ...(description === undefined ? {} : { description }) }
    return { id, definition, state: 'up', record: recordOf(id, { driver, tags: [...tags], audience }) }
  }

  const guarded = {} as Pick<Node, Guarded>

  return {
    ...guarded,
    id: SELF,
    did: 'did:key:z6MkFake',
    name: 'fake',
    home: undefined,
    addresses: [`/ip4/127.0.0.1/tcp/4001/p2p/${SELF}`],
    ended,
    async start() {},
    async stop() {},
    emit: (event, detail) => {
      for (const listener of listeners) listener(detail, event)
    },
    whenEnded: (what) =>
      new Promise((resolve) => {
        if (ended.includes(what)) resolve()
        else notify.addEventListener(what, () => resolve(), { once: true })
      }),
    whenHeard: () =>
      new Promise((resolve) => {
        if (listeners.size > 0) resolve()
        else notify.addEventListener('heard', () => resolve(), { once: true })
      }),
    status: () => ({
      peerId: SELF,
      did: 'did:key:z6MkFake',
      name: 'fake',
      version: '0.1.0',
      startedAt: '2026-11-23T10:00:00.000Z',
      addresses: [`/ip4/127.0.0.1/tcp/4001/p2p/${SELF}`],
      lan: 'off',
      mesh: 'main',
      connections: 1,
      routingTable: 1,
      peers: 1,
      agents: agents.size,
      records: 1,
      discovery: {
        catalogue: 'on',
        finds: 3,
        walkedFinds: 1,
        messages: 12,
        candidates: 2,
        falseCandidates: 1,
        published: 40,
        missed: 0
      },
      dht: {
        tableSize: 1,
        size: 2,
        walks: 3,
        messages: 30,
        answered: 28,
        timeout: 1,
        unreachable: 1,
        refused: 0,
        invalid: 0,
        crowded: 0,
        pings: 4,
        deadRemoved: 1,
        turnedAway: 0,
        timeoutMs: 1500
      },
      held: {
        keys: 2,
        entries: 5,
        publishers: 1,
        puts: { kept: 5, dropped: 0, 'rolled-back': 0, 'too-many': 0, 'over-budget': 0 },
        withdrawn: 0
      },
      refused: { expired: 2 },
      pendingApprovals: 0,
      messages: { unread: 0, queued: 0, deadLetters: 0 },
      policy: { rules: 2 }
    }),
    health: {
      list: () => [],
      of: () => undefined,
      onChange: () => () => {},
      info: () => Promise.reject(new MeshError('UNREACHABLE', 'nobody is there'))
    },
    peers: () => [
      {
        peer: PEER,
        address: '/ip4/10.0.0.2/tcp/4001',
        direction: 'outbound',
        connectedAt: '2026-11-23T10:00:01.000Z',
        name: 'bob'
      }
    ],
    async connect(address) {
      if (!address.startsWith('/')) throw new MeshError('INVALID_ARGUMENT', `not a multiaddr: ${address}`)
      if (address.includes('10.9.9.9')) throw new MeshError('UNREACHABLE', `nobody answers at ${address}`)
      return PEER
    },
    agents: {
      list: (query = {}) =>
        [...agents.values()].filter(({ definition }) => query.agent === undefined || definition.name === query.agent),
      get: (name) => agents.get(name.replace(new RegExp(`^@|^${SELF}/`), '')),
      async add(init) {
        if (agents.has(init.name)) throw new MeshError('ALREADY_EXISTS', `there is an agent ${init.name} already`)
        const agent = localAgent(init)
        agents.set(init.name, agent)
        return agent
      },
      register: () => Promise.reject(new MeshError('FORBIDDEN', 'no rule allows it')),
      async update(name, patch) {
        const before = agents.get(name)
        if (before === undefined) throw new MeshError('NOT_FOUND', `no agent ${name}`)
        const agent = localAgent({ ...before.definition, ...patch, name })
        agents.set(name, agent)
        return agent
      },
      async remove(name) {
        agents.delete(name)
      }
    },
    find({ name, version, limit = 3, signal, onStep } = {}) {
      if (version === 'nonsense') throw new MeshError('INVALID_ARGUMENT', `bad version range: ${version}`)
      const names = name === 'nothing' ? [] : ['add', 'divide', 'echo'].slice(0, limit)
      const steps: FindStep[] = [
        { step: 'began', ms: 0, catalogue: 'off', nodes: 5000, peers: 4, routingTable: 90, records: 3, hints: 0 },
        { step: 'source', ms: 1, source: 'dht', says: 'looking beside the key too' },
        {
          step: 'holder',
          ms: 90,
          peer: PEER,
          tookMs: 80,
          outcome: 'answered',
          path: 2,
          closer: 20,
          named: 3,
          total: 12
        },
        {
          step: 'holder',
          ms: 90,
          peer: SELF,
          tookMs: 9,
          outcome: 'invalid',
          path: 0,
          closer: 0,
          named: 0,
          reason: 'no'
        },
        { step: 'refused', ms: 91, peer: SELF, reason: 'forged' },
        { step: 'owner', ms: 99, peer: PEER, source: 'dht', tookMs: 8, outcome: 'answered', records: 1 },
        { step: 'found', ms: 99, agent: REMOTE.record.id, name: 'add', source: 'dht' },
        { step: 'ended', ms: 100, why: 'limit', complete: false, messages: 3, candidates: 1 }
      ]
      for (const step of steps) onStep?.(step)
      const missing: Missing[] = [
        { agent: `${SELF}/maths`, kind: 'tool', name: 'add', reason: 'another-key', others: [REMOTE.record.id] },
        { agent: `${SELF}/old`, kind: 'tool', name: 'add', reason: 'gone', others: [] }
      ]
      const complete = name !== 'partly'
      const estimate = name === 'many' ? 40 : names.length
      return {
        summary: Promise.resolve({
          complete,
          count: names.length,
          estimate,
          ...(name === 'lost' && { missing })
        }),
        async *[Symbol.asyncIterator]() {
          yield* names.map(found)
          if (name === 'slow') await cancelled('find', signal)
        }
      }
    },
    async *watch({ signal }) {
      yield { ...found('add'), change: 'added' } satisfies Change
      await cancelled('watch', signal).catch(() => {})
    },
    resolve: async (target) => signedOf(target),
    async call(target, capability, input, { signal } = {}) {
      signedOf(target)
      switch (capability) {
        case 'echo':
          return input
        case 'text':
          return { content: [{ type: 'text', text: 'one\u001b[2Jtwo' }] }
        case 'deny':
          throw new MeshError('FORBIDDEN', 'no rule allows it', { hint: 'ask its owner' })
        case 'late':
          throw new MeshError('TIMEOUT', 'the deadline passed')
        case 'wait':
          return await cancelled('call', signal)
        case 'posing':
          throw new MeshError('AGENT_ERROR', 'no\nnext: run \u001b[5mthis', { hint: 'ask\nits owner' })
        case 'defect':
          throw new TypeError('secret detail')
        default:
          throw new MeshError('NOT_FOUND', `${target} has no ${capability}`)
      }
    },
    async *stream(_target, _capability, input, { signal } = {}) {
      const { to = 3, fail = false, wait = false } = (input ?? {}) as { to?: number; fail?: boolean; wait?: boolean }
      let complete = false
      try {
        for (let n = 1; n <= to; n++) yield { n }
        complete = true
        if (fail) throw new MeshError('AGENT_ERROR', 'it broke')
        if (wait) await cancelled('stream', signal)
      } finally {
        if (!complete) end('stream')
      }
    },
    on(_event, listener) {
      const any = listener as MeshListener<MeshEventName>
      listeners.add(any)
      notify.dispatchEvent(new Event('heard'))
      return () => {
        if (listeners.delete(any)) end('events')
      }
    }
  }
}
