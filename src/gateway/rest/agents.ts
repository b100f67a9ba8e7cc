import { z } from 'zod'
import { MeshError } from '../../errors.ts'
import type { LocalAgent, Node, SignedRecord } from '../../index.ts'
import { agentName, agentRecord } from '../../registry/messages.ts'
import { beginFind } from '../finding.ts'
import { agentAddBody, agentPatchBody, explainQuery, findQuery, listQuery, parse } from '../messages.ts'
import { checkMatch, type Operation, operation, page, type RestRequest } from './operation.ts'
import { json, noContent, type Reply } from './reply.ts'
import { agent, found, healthReport, listOf, missing } from './schemas.ts'

const params = z.object({
  id: z
    .string()
    .max(256)
    .describe("an agent's name on this node, or any agent's id `<PeerId>/<name>` with `%2F` for the slash")
})

/** What one page may have; also what a peer answers at a time. */
const MAX_PAGE = 64
/** What one search may bring. */
const MAX_FOUND = 1_000
const DEFAULT_FOUND = 100

const pageQuery = {
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).describe(`default and most ${MAX_PAGE}`).optional(),
  cursor: agentName.describe('from the page before').optional()
}

const list = operation({
  id: 'listAgents',
  method: 'get',
  path: '/v1/agents',
  tag: 'agents',
  summary: 'The agents of this node that the caller may see, by name',
  query: listQuery.extend(pageQuery),
  answers: { 200: { description: 'A page of agents', schema: listOf(agent) } },
  async handle(request) {
    const { limit = MAX_PAGE, cursor, ...query } = request.query
    if (!request.may('agent.manage', 'agent:*')) return listForPeer(request)
    const after = request.node.agents.list(query).filter(({ definition }) => definition.name > (cursor ?? ''))
    const items = after.slice(0, limit)
    const last = items.at(-1)?.definition.name
    return page(request, items.map(managed), items.length < after.length ? last : undefined)
  }
})

const create = operation({
  id: 'createAgent',
  method: 'post',
  path: '/v1/agents',
  tag: 'agents',
  summary: 'Add an agent to this node',
  body: agentAddBody,
  answers: { 201: { description: 'The agent, up', schema: agent } },
  isRepeatable: true,
  async handle({ node, body, allow }) {
    allow('agent.manage', `agent:${body.name}`)
    const added = await node.agents.add(body)
    return json(managed(added), 201, { location: `/v1/agents/${added.definition.name}` })
  }
})

const read = operation({
  id: 'readAgent',
  method: 'get',
  path: '/v1/agents/{id}',
  tag: 'agents',
  summary: 'An agent of this node or of another: its record, and what only who manages it may know',
  params,
  answers: { 200: { description: 'The agent', schema: agent } },
  handle: async (request) => json(await viewOf(request))
})

const update = operation({
  id: 'updateAgent',
  method: 'patch',
  path: '/v1/agents/{id}',
  tag: 'agents',
  summary: 'Change an agent of this node; what is absent stays',
  params,
  body: agentPatchBody,
  answers: { 200: { description: 'The agent as it is now', schema: agent } },
  handle: (request) =>
    inOrder(request, async ({ definition }) => {
      return json(managed(await request.node.agents.update(definition.name, request.body)))
    })
})

const remove = operation({
  id: 'deleteAgent',
  method: 'delete',
  path: '/v1/agents/{id}',
  tag: 'agents',
  summary: 'Stop an agent of this node and withdraw its record',
  params,
  answers: { 204: { description: 'It is gone' } },
  handle: (request) =>
    inOrder(request, async ({ definition }) => {
      await request.node.agents.remove(definition.name)
      return noContent()
    })
})

const health = operation({
  id: 'readAgentHealth',
  method: 'get',
  path: '/v1/agents/{id}/health',
  tag: 'agents',
  summary: 'How an agent is, as far as this node knows',
  params,
  answers: { 200: { description: 'Its state', schema: healthReport } },
  handle({ node, params: { id }, allow }) {
    allow('node.read', 'node:health')
    const report = node.health.of(id)
    if (report === undefined) throw new MeshError('NOT_FOUND', 'nothing is known of that agent')
    return json(report)
  }
})

const find = operation({
  id: 'find',
  method: 'get',
  path: '/v1/find',
  tag: 'agents',
  summary: 'Look for capabilities in the whole mesh',
  query: findQuery.extend({
    limit: z.coerce.number().int().min(1).max(MAX_FOUND).optional(),
    explain: explainQuery.shape.explain.describe('`true`: the answer has the steps of the find too')
  }),
  answers: {
    200: {
      description: 'What was found; `complete` when every source was asked to its end',
      schema: listOf(found).extend({
        complete: z.boolean(),
        estimate: z.number().int(),
        missing: z.array(missing).optional(),
        steps: z.array(z.looseObject({ step: z.string(), ms: z.number().int() })).optional()
      })
    }
  },
  async handle({ node, query, signal, allow }) {
    allow('node.read', 'node:find')
    const { results, end } = beginFind(node, { limit: DEFAULT_FOUND, ...query, signal })
    const items = await Array.fromAsync(results)
    const { count: _, ...said } = await end()
    return json({ items, ...said })
  }
})

export const AGENT_OPERATIONS: readonly Operation[] = [list, create, read, update, remove, health, find]

/** Changes of one agent go one after another, so that a condition that was checked still holds. */
const changing = new WeakMap<Node, Map<string, Promise<unknown>>>()

async function inOrder(
  request: RestRequest<{ id: string }>,
  change: (present: LocalAgent) => Promise<Reply>
): Promise<Reply> {
  const { node, params } = request
  const running = changing.get(node) ?? new Map<string, Promise<unknown>>()
  changing.set(node, running)
  // Policy before existence: who may not manage agents doesn't learn which there are
  const name = node.agents.get(params.id)?.definition.name ?? params.id
  request.allow('agent.manage', `agent:${name}`)
  const before = running.get(name) ?? Promise.resolve()
  const mine = before
    .catch(() => {})
    .then(() => {
      const present = node.agents.get(name)
      if (present === undefined) throw new MeshError('NOT_FOUND', 'this node has no such agent')
      checkMatch(request, managed(present))
      return change(present)
    })
  running.set(name, mine)
  try {
    return await mine
  } finally {
    if (running.get(name) === mine) running.delete(name)
  }
}

function managed({ id, definition, state, reason, record }: LocalAgent) {
  return {
    id,
    ...(record === undefined ? {} : { signed: record }),
    state,
    ...(reason === undefined ? {} : { reason }),
    definition
  }
}

async function viewOf(request: RestRequest<{ id: string }>) {
  const { node, params, signal } = request
  const id = params.id.replace(/^mesh:\/\//, '')
  const local = node.agents.get(id)
  if (local !== undefined && request.may('agent.manage', `agent:${local.definition.name}`)) return managed(local)
  if (!id.includes('/') || id.startsWith(`${node.id}/`)) return shown(request, id.replace(/^.*\//, ''))
  request.allow('node.read', 'node:find')
  const signed = await node.resolve(id, { signal })
  return { id: signed.record.id, signed }
}

/** What a peer would be told of a local agent. @throws {MeshError} NOT_FOUND */
async function shown(request: RestRequest, name: string) {
  const { success, data } = agentName.safeParse(name)
  const { records } = success ? await askRecords(request, { agent: data }, {}) : { records: [] }
  const [signed] = records
  if (signed === undefined) throw new MeshError('NOT_FOUND', 'this node has no such agent, or none that you may see')
  return { id: signed.record.id, signed }
}

async function listForPeer(
  request: RestRequest<unknown, z.infer<typeof listQuery> & { limit?: number; cursor?: string }>
) {
  const { limit, cursor, ...query } = request.query
  const { records, next } = await askRecords(request, query, { limit, cursor })
  return page(
    request,
    records.map((signed) => ({ id: signed.record.id, signed })),
    next
  )
}

const queryAnswer = z.object({ records: z.array(z.string()), cursor: agentName.optional() })

/** Asks this node as a peer would, so that the same rules say what is shown. */
async function askRecords(
  { node, session, signal }: RestRequest,
  query: object,
  { limit, cursor }: { readonly limit?: number | undefined; readonly cursor?: string | undefined }
): Promise<{ readonly records: readonly SignedRecord[]; readonly next: string | undefined }> {
  const answer = await node.edges.dispatch(
    session,
    'records',
    { op: 'query', query, ...(limit && { limit }), ...(cursor && { cursor }) },
    { signal }
  )
  const { records, cursor: next } = parse(queryAnswer, answer)
  return { records: records.map((jws) => ({ jws, record: payloadOf(jws) })), next }
}

/** Of a record that this node has signed itself. */
function payloadOf(jws: string): SignedRecord['record'] {
  return parse(
    agentRecord,
    JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString())
  ) as SignedRecord['record']
}
