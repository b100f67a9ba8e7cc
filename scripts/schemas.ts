// Writes protocols/<name>/<x.y.z>/schema.json, the signed vectors and the table of error codes; with --check only compares.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import { helloAnswer, helloMessage, helloRequest } from '../src/auth/messages.ts'
import { blobHeader, blobRequest } from '../src/blobs/messages.ts'
import { callRequest } from '../src/calls/messages.ts'
import { hintsGetAnswer, hintsPutAnswer, hintsRequest, hintsWithdrawAnswer } from '../src/discovery/hint-messages.ts'
import { hintsAnswer, queryAnswer, recordsRequest, topicMessage, watchItem } from '../src/discovery/messages.ts'
import { agentFrame, nodeFrame } from '../src/drivers/agent-frames.ts'
import { ERROR_CODES, ERROR_TEXTS, MeshError } from '../src/errors.ts'
import { openApi } from '../src/gateway/rest/openapi.ts'
import { OPERATIONS } from '../src/gateway/rest/rest.ts'
import { authFrame, clientFrame, edgeFrame } from '../src/gateway/ws/frames.ts'
import { grantPayload, revocationsPayload } from '../src/grants/messages.ts'
import { infoAnswer, pingAnswer, statusRequest } from '../src/health/messages.ts'
import {
  collectAnswer,
  mailboxRequest,
  mailboxStatement,
  registerAnswer,
  statementAnswer
} from '../src/messaging/mailbox/messages.ts'
import { deliverAnswer, envelope, messageRequest, receipts } from '../src/messaging/messages.ts'
import {
  inviteBody,
  ownerProof,
  ownerStatement,
  redeemAnswer,
  redeemRequest,
  secretProof
} from '../src/pairing/messages.ts'
import { checkAnswer, checkBody } from '../src/permissions/check.ts'
import { permissionMessage, statusAnswer } from '../src/permissions/messages.ts'
import { policyDocument } from '../src/policy/index.ts'
import { agentRecord, capability, query } from '../src/registry/messages.ts'
import { frame } from '../src/rpc/messages.ts'
import { grantVectors } from './grant-vectors.ts'
import { hintVectors } from './hint-vectors.ts'
import { signedVectors } from './vectors.ts'

/** Folder → the messages its schema.json defines, by name. */
const PROTOCOLS: Readonly<Record<string, Readonly<Record<string, z.ZodType>>>> = {
  'channel/1.0.0': { frame },
  'hello/1.0.0': { hello: helloMessage, request: helloRequest, answer: helloAnswer },
  'records/1.0.0': {
    request: recordsRequest,
    query,
    queryAnswer,
    watchItem,
    hintsAnswer,
    hint: hintsAnswer.shape.hints.element,
    record: agentRecord,
    capability
  },
  'hints/1.0.0': {
    request: hintsRequest,
    putAnswer: hintsPutAnswer,
    getAnswer: hintsGetAnswer,
    withdrawAnswer: hintsWithdrawAnswer
  },
  'call/1.0.0': { request: callRequest },
  'blob/1.0.0': { request: blobRequest, header: blobHeader },
  'message/1.0.0': {
    request: messageRequest,
    deliverAnswer,
    envelope,
    receipts
  },
  'mailbox/1.0.0': {
    request: mailboxRequest,
    statementAnswer,
    registerAnswer,
    collectAnswer,
    mailboxes: mailboxStatement
  },
  'pair/1.0.0': {
    request: redeemRequest,
    answer: redeemAnswer,
    invite: inviteBody,
    secretProof,
    ownerProof,
    ownerStatement
  },
  'permission/1.0.0': {
    request: permissionMessage,
    status: statusAnswer,
    check: checkBody,
    checkAnswer,
    grant: grantPayload,
    grantRevocations: revocationsPayload
  },
  'status/1.0.0': { request: statusRequest, pingAnswer, infoAnswer },
  'ws/1.0.0': { auth: authFrame, client: clientFrame, agent: agentFrame, edge: edgeFrame, node: nodeFrame },
  'topics/1': { message: topicMessage },
  policy: { document: policyDocument }
}

const root = new URL('../protocols/', import.meta.url)

/** `io: 'input'`, because the other form forbids unknown members, which receivers must ignore. */
function schemaJson(folder: string, messages: Readonly<Record<string, z.ZodType>>): string {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(messages)) registry.add(schema, { id })
  const { schemas } = z.toJSONSchema(registry, { io: 'input', uri: (id) => `#/$defs/${id}` })
  const definitions = Object.entries(schemas).map(([id, { $schema: _dialect, $id: _uri, ...definition }]) => [
    id,
    definition
  ])
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `pryx-mesh ${folder}`,
    $defs: Object.fromEntries(definitions)
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

function errorTable(): string {
  const rows = ERROR_CODES.map(
    (code) => `| \`${code}\` | ${new MeshError(code, '').retryable ? 'yes' : ''} | ${ERROR_TEXTS[code]} |`
  )
  return ['| code | retryable | meaning |', '|---|---|---|', ...rows].join('\n')
}

const readme = readFileSync(new URL('README.md', root), 'utf8')
const files = new Map(
  Object.entries(PROTOCOLS).map(([folder, messages]) => [`${folder}/schema.json`, schemaJson(folder, messages)])
)
files.set(
  'README.md',
  readme.replace(
    /(<!-- errors:[^>]*-->\n)[\s\S]*?(<!-- \/errors -->)/,
    (_, start, end) => `${start}${errorTable()}\n${end}`
  )
)

files.set('http/openapi.json', `${JSON.stringify(openApi(OPERATIONS), null, 2)}\n`)
files.set('records/1.0.0/vectors/signed.json', signedVectors())
files.set('permission/1.0.0/vectors/grants.json', grantVectors())
files.set('hints/1.0.0/vectors/signed.json', hintVectors())

const current = (path: string): string | undefined => {
  try {
    return readFileSync(new URL(path, root), 'utf8')
  } catch {
    return undefined
  }
}
const stale = [...files].filter(([path, text]) => current(path) !== text)
if (process.argv.includes('--check')) {
  for (const [path] of stale) console.error(`protocols/${path} is stale: run npm run schemas`)
  process.exitCode = stale.length === 0 ? 0 : 1
} else {
  for (const [path, text] of stale) {
    mkdirSync(new URL('.', new URL(path, root)), { recursive: true })
    writeFileSync(new URL(path, root), text)
  }
  console.log(stale.length === 0 ? 'up to date' : `wrote ${stale.map(([path]) => `protocols/${path}`).join(', ')}`)
}
