/**
 * The bench `steps`: what each step of a call costs apart from the transport, by running the real functions in this
 * process. Small functions in a loop are at their best here; in a call they run colder.
 */
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Connection } from '@libp2p/interface'
import { calculateJwkThumbprint, SignJWT } from 'jose'
import type * as auth from '../../src/auth/index.ts'
import type * as identity from '../../src/identity/index.ts'
import type * as product from '../../src/index.ts'
import type * as oauth from '../../src/oauth/index.ts'
import type * as policy from '../../src/policy/index.ts'
import type * as schema from '../../src/schema/index.ts'
import type * as stores from '../../src/store/index.ts'
import type * as wire from '../../src/wire/index.ts'
import { built } from './built.ts'
import { median } from './measure.ts'
import { checkEcho, MESSAGE_BYTES, MESSAGE_SCHEMA, nthMessage } from './payload.ts'
import type { BenchContext, BenchOutcome, Result } from './result.ts'

const BATCHES = 7
const BATCH_MS = 60
const WARM_MS = 150
/** Below the audit log's limit for what waits to be written. */
const AUDIT_ROWS = 50_000

interface Step {
  readonly what: string
  readonly run: () => unknown
}

export async function benchSteps(context: BenchContext): Promise<BenchOutcome> {
  const folder = join(context.folder, 'steps')
  mkdirSync(folder)
  const results: Result[] = []
  for (const step of [...(await jsonSteps()), ...(await guardSteps(folder)), ...(await schemaSteps())]) {
    context.progress(`steps: ${step.what}`)
    results.push(resultOf(step.what, measureStep(step.run)))
  }
  context.progress('steps: audit')
  results.push(...(await auditResults(folder)))
  context.progress('steps: access tokens')
  results.push(...(await tokenResults()))
  context.progress('steps: a call within one node')
  results.push(await localCallResult(folder))
  return { results, skipped: [] }
}

async function jsonSteps(): Promise<Step[]> {
  const { parseJson, encodeBatch } = await built<typeof wire>('wire/index.js')
  const message = nthMessage(0)
  const text = JSON.stringify(message)
  const bytes = Buffer.from(text)
  const batch = Array.from({ length: 16 }, () => text)
  return [
    { what: 'JSON: read a frame, guarded', run: () => parseJson(bytes) },
    { what: 'JSON: read a frame, JSON.parse alone', run: () => JSON.parse(bytes.toString()) },
    { what: 'JSON: write a message', run: () => JSON.stringify(message) },
    { what: 'frames: 16 messages to one buffer', run: () => encodeBatch(batch) }
  ]
}

/** All of them fit the question but for their conditions, which have to be looked at each time. */
const MIXED_RULES = Array.from({ length: 50 }, (_, n): policy.Rule => {
  const isAllowing = n % 2 === 0
  return {
    id: `mixed-${n}`,
    effect: isAllowing ? 'allow' : 'deny',
    who: '*',
    act: '*.call',
    res: 'tool:bench/*',
    when: [
      { effects: isAllowing ? (['read'] as const) : (['write'] as const) },
      { tags: [isAllowing ? 'bench' : 'other'] },
      isAllowing ? { maxBytes: 1_000 } : { effects: ['external'] as const },
      isAllowing ? { time: { days: 'mon-sun', tz: 'Europe/Berlin' } } : { tags: ['other'] }
    ][Math.floor(n / 2) % 4] ?? { effects: ['write'] }
  }
})

async function guardSteps(folder: string): Promise<Step[]> {
  const { createAuth } = await built<typeof auth>('auth/index.js')
  const { openPolicy } = await built<typeof policy>('policy/index.js')
  const { loadIdentity } = await built<typeof identity>('identity/index.js')
  const { peerId } = await loadIdentity({ path: join(folder, 'caller.key') })
  // All that authentication reads of a connection.
  const connection = { remotePeer: peerId, encryption: '/noise' } as Connection
  const guard = createAuth({ standingOf: () => ({ level: 'unknown' }) })
  const { caller } = guard.sessionOf(connection)
  const rules = await openPolicy({ path: join(folder, 'policy.json') })
  await rules.put([{ id: 'bench', effect: 'allow', who: '*', act: '*.call', res: 'tool:bench/*' }])
  const question = { caller, action: 'tool.call', resource: 'tool:bench/bench.echo' }
  if (rules.decide(question).effect !== 'allow') throw new Error('the rule of the bench does not allow it')
  const mixed = await openPolicy({})
  await mixed.put(MIXED_RULES)
  const mixedQuestion = { ...question, facts: { effects: 'read', tags: ['bench'], bytes: () => 100 } } as const
  if (mixed.decide(mixedQuestion).effect !== 'allow') throw new Error('the mixed rules of the bench do not allow it')
  return [
    { what: 'auth: the caller of a connection', run: () => guard.sessionOf(connection).caller },
    { what: 'policy: a decision', run: () => rules.decide(question) },
    {
      what: 'policy: the first decision for a caller',
      run: () => rules.decide({ ...question, caller: { ...caller } })
    },
    { what: 'policy: a decision by 50 rules with conditions', run: () => mixed.decide(mixedQuestion) }
  ]
}

async function schemaSteps(): Promise<Step[]> {
  const { compileSchema, createValidationPool } = await built<typeof schema>('schema/index.js')
  const pool = createValidationPool()
  const validator = await compileSchema(MESSAGE_SCHEMA, pool)
  await pool.stop()
  const message = nthMessage(0)
  if (validator.validate(message) !== undefined) throw new Error('a message of the bench does not fit its schema')
  return [{ what: 'schema: check a message (a call does it twice)', run: () => validator.validate(message) }]
}

async function auditResults(folder: string): Promise<Result[]> {
  const { openAuditLog } = await built<typeof policy>('policy/index.js')
  const log = await openAuditLog({ path: join(folder, 'audit.ndjson') })
  const row = JSON.stringify({
    peer: nthMessage(0).from,
    act: 'tool.call',
    res: 'tool:bench/bench.echo',
    effect: 'allow'
  })
  const cpu = process.cpuUsage()
  const began = performance.now()
  for (let i = 0; i < AUDIT_ROWS; i++) log.append(row)
  const appendedMs = performance.now() - began
  await log.close()
  const { user, system } = process.cpuUsage(cpu)
  return [
    resultOf('audit: queue a row', [(appendedMs * 1000) / AUDIT_ROWS]),
    resultOf('audit: a row in all, chained and written', [(user + system) / AUDIT_ROWS])
  ]
}

const TOKENS_A_BATCH = 100

/** A token that is new to the node, and the same one shown again, as on another connection. The issuer's keys are known. */
async function tokenResults(): Promise<Result[]> {
  const { createTokens, tokensMigrations } = await built<typeof oauth>('oauth/index.js')
  const { openStore } = await built<typeof stores>('store/index.js')
  const { createIdentity } = await built<typeof identity>('identity/index.js')
  const [self, caller] = [createIdentity(), createIdentity()]
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const issuer = await startIssuer({ ...publicKey.export({ format: 'jwk' }), kid: 'bench', alg: 'EdDSA' })
  try {
    const x = Buffer.from(caller.privateKey.publicKey.raw).toString('base64url')
    const cnf = { jkt: await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }) }
    const sign = (_: unknown, n: number): Promise<string> =>
      new SignJWT({ client_id: 'bench', sub: 'bench', scope: 'tools.call', jti: `${n}`, cnf })
        .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid: 'bench' })
        .setIssuer(issuer.name)
        .setAudience(self.did)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey)
    const tokens = await Promise.all(Array.from({ length: (BATCHES + 1) * TOKENS_A_BATCH }, sign))
    const store = await openStore({ migrations: [tokensMigrations] })
    const { verifier } = createTokens({ identity: self, store, issuers: [{ issuer: issuer.name }] })
    const signal = AbortSignal.timeout(60_000)
    const batch = async (first: number): Promise<number> => {
      const began = performance.now()
      for (const token of tokens.slice(first, first + TOKENS_A_BATCH))
        await verifier.verify({ method: 'oauth', token }, { peer: caller.id }, { signal })
      return ((performance.now() - began) * 1000) / TOKENS_A_BATCH
    }
    await batch(0)
    const [fresh, again]: [number[], number[]] = [[], []]
    for (let i = 1; i <= BATCHES; i++) {
      fresh.push(await batch(i * TOKENS_A_BATCH))
      again.push(await batch(i * TOKENS_A_BATCH))
    }
    return [resultOf('oauth: a token check', fresh), resultOf('oauth: a token check, presented again', again)]
  } finally {
    issuer.close()
  }
}

/** As much of an authorization server as a node asks for. */
async function startIssuer(key: object): Promise<{ readonly name: string; close(): void }> {
  const server = createServer(({ url }, response) => {
    const body = url === '/jwks' ? { keys: [key] } : { issuer: name, jwks_uri: `${name}/jwks` }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const name = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    name,
    close() {
      server.closeAllConnections()
      server.close()
    }
  }
}

/** Everything but the network: dispatch, policy and its audit, both schemas, the function. */
async function localCallResult(folder: string): Promise<Result> {
  const { createNode } = await built<typeof product>('index.js')
  const node = await createNode({ home: join(folder, 'node'), listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
  await node.start()
  try {
    const echo = {
      name: 'bench.echo',
      input: MESSAGE_SCHEMA,
      output: MESSAGE_SCHEMA,
      handler: (input: unknown) => input
    }
    await node.agents.add({ name: 'bench', allow: 'any', capabilities: [echo] })
    const message = nthMessage(0)
    const batch = async (ms: number): Promise<number> => {
      const began = performance.now()
      let calls = 0
      while (performance.now() < began + ms) {
        for (let i = 0; i < 100; i++) checkEcho(message, await node.call(`${node.id}/bench`, 'bench.echo', message))
        calls += 100
      }
      return ((performance.now() - began) * 1000) / calls
    }
    await batch(WARM_MS * 2)
    const micros: number[] = []
    for (let i = 0; i < BATCHES; i++) micros.push(await batch(BATCH_MS))
    return resultOf('a call within one node, from call() to its result', micros)
  } finally {
    await node.stop()
  }
}

/** Keeps the compilers from leaving out what nobody looks at. */
let sink: unknown

/** @returns microseconds of one run, of each batch */
function measureStep(run: () => unknown): number[] {
  const batch = (ms: number): number => {
    const began = performance.now()
    let runs = 0
    while (performance.now() < began + ms) {
      for (let i = 0; i < 256; i++) sink = run()
      runs += 256
    }
    return ((performance.now() - began) * 1000) / runs
  }
  batch(WARM_MS)
  const micros = Array.from({ length: BATCHES }, () => batch(BATCH_MS))
  if (sink instanceof Promise) throw new Error('a step that waits cannot be measured like this')
  return micros
}

function resultOf(what: string, micros: readonly number[]): Result {
  return {
    bench: 'steps',
    system: 'pryx-mesh',
    inFlight: 1,
    bytes: MESSAGE_BYTES,
    perSecond: 1e6 / median(micros),
    p50Ms: median(micros) / 1000,
    p99Ms: Math.max(...micros) / 1000,
    what
  }
}
