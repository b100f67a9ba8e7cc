import { z } from 'zod'
import { MeshError } from '../../errors.ts'
import type { PermissionRequest } from '../../index.ts'
import { type Operation, operation, page, type RestRequest } from './operation.ts'
import { json } from './reply.ts'
import { listOf, message, peer, permissionRequest, permissionStatus, self, sent, status } from './schemas.ts'

const readStatus = operation({
  id: 'readStatus',
  method: 'get',
  path: '/v1/status',
  tag: 'node',
  summary: 'How this node is',
  answers: { 200: { description: 'Its state', schema: status } },
  handle({ node, allow }) {
    allow('node.read', 'node:status')
    return json(node.status())
  }
})

const listPeers = operation({
  id: 'listPeers',
  method: 'get',
  path: '/v1/peers',
  tag: 'node',
  summary: 'The peers that are connected',
  answers: { 200: { description: 'All of them', schema: listOf(peer) } },
  handle(request) {
    request.allow('node.read', 'node:peers')
    return page(request, request.node.peers(), undefined)
  }
})

const readSelf = operation({
  id: 'readSelf',
  method: 'get',
  path: '/v1/self',
  tag: 'node',
  summary: 'Who this node takes the caller for',
  answers: { 200: { description: 'The caller, without any secret', schema: self } },
  handle({ caller }) {
    const { peer: name, trust, binding, credentials } = caller
    const shown = credentials.map(({ method, subject, issuer, scopes, expiresAt }) => ({
      method,
      subject,
      scopes,
      ...(issuer === undefined ? {} : { issuer }),
      ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).toISOString() })
    }))
    return json({ peer: name, trust, binding, credentials: shown })
  }
})

const MAX_MESSAGES = 100
const messageParams = z.object({ id: z.string().regex(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/, 'must be the id of a message') })

const sendMessage = operation({
  id: 'sendMessage',
  method: 'post',
  path: '/v1/messages',
  tag: 'messages',
  summary: "Send a durable message in this node's name; it is on disk when this answers",
  body: z.strictObject({
    target: z.string(),
    body: z.unknown(),
    from: z.string().exactOptional(),
    type: z.string().exactOptional(),
    correlationId: z.string().exactOptional(),
    replyTo: z.string().exactOptional(),
    expectsReply: z.boolean().exactOptional(),
    expiresIn: z.union([z.number(), z.string()]).exactOptional(),
    budget: z
      .strictObject({ hops: z.int().exactOptional(), calls: z.int().exactOptional(), cost: z.int().exactOptional() })
      .exactOptional()
  }),
  answers: { 201: { description: 'It is on its way', schema: sent } },
  isRepeatable: true,
  async handle({ node, body: { target, body, ...options }, signal, allow }) {
    allow('node.send', `agent:${target}`)
    const { id, seq } = await node.send(target, body, { ...options, signal })
    return json({ id, seq }, 201, { location: `/v1/messages/${id}` })
  }
})

const listMessages = operation({
  id: 'listMessages',
  method: 'get',
  path: '/v1/messages',
  tag: 'messages',
  summary: "The owner's inbox, oldest first",
  query: z.strictObject({
    limit: z.coerce.number().int().min(1).max(MAX_MESSAGES).optional(),
    cursor: messageParams.shape.id.optional()
  }),
  answers: { 200: { description: 'A page of messages', schema: listOf(message) } },
  handle(request) {
    request.allow('node.inbox', 'node:inbox')
    const { limit = MAX_MESSAGES, cursor } = request.query
    // One more than is shown tells whether there is a next page
    const items = request.node.messages.inbox({ limit: limit + 1, ...(cursor && { after: cursor }) })
    const shown = items.slice(0, limit)
    return page(request, shown, items.length > limit ? shown.at(-1)?.id : undefined)
  }
})

const readMessage = operation({
  id: 'readMessage',
  method: 'get',
  path: '/v1/messages/{id}',
  tag: 'messages',
  summary: 'A message of this node, and what happened to it',
  params: messageParams,
  answers: { 200: { description: 'Its story', schema: message } },
  handle({ node, params: { id }, allow }) {
    allow('node.inbox', 'node:inbox')
    const story = node.messages.show(id)
    if (story === undefined) throw new MeshError('NOT_FOUND', 'there is no such message')
    return json(story)
  }
})

const permissionParams = z.object({ id: z.string().regex(/^[\w-]{22,32}$/, 'must be the id of a permission request') })
const kind = z.enum(['tool', 'skill', 'model'])
const uses = z.int().min(1).exactOptional()

const askPermission = operation({
  id: 'askPermission',
  method: 'post',
  path: '/v1/permissions',
  tag: 'permissions',
  summary: 'Ask the owner ahead for the right to call a capability of this node',
  body: z.strictObject({
    agent: z.string().describe("its name, or its id; of this node's agents only"),
    capability: z.string(),
    kind: kind.exactOptional(),
    forMs: z.number().exactOptional(),
    uses,
    reason: z.string().max(512).exactOptional()
  }),
  answers: {
    200: { description: 'It needs no answer', schema: permissionStatus },
    202: { description: 'The owner is asked', schema: permissionStatus }
  },
  isRepeatable: true,
  async handle(request) {
    const { node, body } = request
    const agent = body.agent.replace(/^mesh:\/\//, '').replace(`${node.id}/`, '')
    const asked = await askNode(request, { op: 'request', ...body, agent })
    return json(asked, asked.state === 'pending' ? 202 : 200, { location: `/v1/permissions/${asked.id}` })
  }
})

const readPermission = operation({
  id: 'readPermission',
  method: 'get',
  path: '/v1/permissions/{id}',
  tag: 'permissions',
  summary: 'How a permission request stands',
  params: permissionParams,
  query: z.strictObject({
    wait: z.enum(['true', 'false']).describe('answers when it is decided, or after half a minute').optional()
  }),
  answers: { 200: { description: 'As its asker may know it, or all of it for the owner', schema: permissionStatus } },
  async handle(request) {
    const {
      node,
      params: { id },
      query: { wait }
    } = request
    const known = request.may('permission.answer', 'node:permissions') ? node.permissions.get(id) : undefined
    if (known !== undefined && wait !== 'true') return json(known)
    return json(await askNode(request, { op: wait === 'true' ? 'wait' : 'status', id }))
  }
})

const listPermissions = operation({
  id: 'listPermissions',
  method: 'get',
  path: '/v1/permissions',
  tag: 'permissions',
  summary: 'What the owner is asked',
  query: z.strictObject({ state: z.enum(['pending', 'allowed', 'denied', 'expired', 'cancelled']).exactOptional() }),
  answers: { 200: { description: 'Pending ones first, oldest first', schema: listOf(permissionRequest) } },
  handle(request) {
    request.allow('permission.answer', 'node:permissions')
    return page(request, request.node.permissions.list(request.query), undefined)
  }
})

const allowPermission = operation({
  id: 'allowPermission',
  method: 'post',
  path: '/v1/permissions/{id}/allow',
  tag: 'permissions',
  summary: "The owner's yes",
  params: permissionParams,
  body: z.discriminatedUnion('remember', [
    z.strictObject({ remember: z.enum(['once', 'session', 'always']), uses }),
    z.strictObject({ remember: z.literal('duration'), forMs: z.number(), uses })
  ]),
  answers: { 200: { description: 'The request as it stands now', schema: permissionRequest } },
  async handle(request) {
    const { id } = pending(request)
    return json(await request.node.permissions.allow(id, request.body))
  }
})

const denyPermission = operation({
  id: 'denyPermission',
  method: 'post',
  path: '/v1/permissions/{id}/deny',
  tag: 'permissions',
  summary: "The owner's no",
  params: permissionParams,
  body: z.strictObject({ forever: z.boolean().exactOptional(), reason: z.string().max(512).exactOptional() }),
  answers: { 200: { description: 'The request as it stands now', schema: permissionRequest } },
  async handle(request) {
    const { id } = pending(request)
    return json(await request.node.permissions.deny(id, request.body))
  }
})

export const NODE_OPERATIONS: readonly Operation[] = [
  readStatus,
  listPeers,
  readSelf,
  sendMessage,
  listMessages,
  readMessage,
  askPermission,
  listPermissions,
  readPermission,
  allowPermission,
  denyPermission
]

/** As a peer would ask. */
async function askNode(
  { node, session, signal }: RestRequest,
  body: object
): Promise<z.infer<typeof permissionStatus>> {
  const answer = await node.edges.dispatch(session, 'permission', body, { signal })
  // A grant is for peers, which show it again; here the session is known
  const { chain: _chain, ...known } = answer as z.infer<typeof permissionStatus>
  return known as z.infer<typeof permissionStatus>
}

/** @throws {MeshError} FORBIDDEN, NOT_FOUND */
function pending({ node, params: { id }, allow }: RestRequest<{ id: string }>): PermissionRequest {
  allow('permission.answer', 'node:permissions')
  const request = node.permissions.get(id)
  if (request === undefined) throw new MeshError('NOT_FOUND', 'there is no such permission request')
  return request
}
