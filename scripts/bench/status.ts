/** The bench `status`: what the owner waits for when much is open: 10⁴ pending approvals and 10⁵ rows of audit on disk. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type * as cliClient from '../../src/cli/client.ts'
import type { NodeStatus } from '../../src/index.ts'
import type * as permissions from '../../src/permissions/index.ts'
import type * as permissionRows from '../../src/permissions/rows.ts'
import type * as policy from '../../src/policy/index.ts'
import type * as store from '../../src/store/index.ts'
import { built, builtPath } from './built.ts'
import { leash } from './children.ts'
import { type BenchContext, type BenchOutcome, timesOf } from './result.ts'
import { ready } from './start.ts'

const PENDING = 10_000
const AUDIT_ROWS = 100_000
/** Statements of one transaction. */
const BATCH = 500
const DAY_MS = 86_400_000
const WARM = 20

export async function benchStatus(context: BenchContext): Promise<BenchOutcome> {
  const home = join(context.folder, 'status')
  mkdirSync(home, { mode: 0o700 })
  context.progress(`status: ${PENDING} pending approvals`)
  await fillPending(home)
  context.progress(`status: ${AUDIT_ROWS} rows of audit`)
  await fillAudit(home)
  const flags = ['--no-lan', '--listen', '/ip4/127.0.0.1/tcp/0', '--json']
  const node = await leash([process.execPath, builtPath('cli/bin.js'), 'start', '--home', home, ...flags])
  try {
    await ready(node.stdout)
    context.progress('status: asked over the control socket')
    return {
      results: [
        timesOf(
          'status',
          '10,000 approvals pending, 100,000 rows of audit',
          await askFor(home, context.seconds * context.reps * 1000)
        )
      ],
      skipped: []
    }
  } finally {
    await node.stop()
  }
}

/** As the rooms would have written them, from as many peers as that takes. */
async function fillPending(home: string): Promise<void> {
  const { openStore } = await built<typeof store>('store/index.js')
  const { permissionsMigrations, MAX_OPEN_PER_PEER } = await built<typeof permissions>('permissions/index.js')
  const { INSERT, insertParams } = await built<typeof permissionRows>('permissions/rows.js')
  const opened = await openStore({ path: join(home, 'mesh.db'), migrations: [permissionsMigrations] })
  const statement = (n: number): store.Statement => {
    const json = JSON.stringify({ path: `/srv/${n}` })
    const asked: permissionRows.NewRequest = {
      subject: `bench-${n}`,
      ttlMs: DAY_MS,
      peer: `bench-${Math.floor(n / MAX_OPEN_PER_PEER)}`,
      trust: 'known',
      action: 'tool.call',
      resource: `tool:files/read-${n}`,
      input: { json, bytes: json.length, digest: `digest-${n}`, isCut: false },
      rules: ['known-calls'],
      remember: ['once', 'session', 'duration', 'always']
    }
    return { sql: INSERT, params: insertParams(asked, `bench-${String(n).padStart(16, '0')}`, Date.now()) }
  }
  try {
    for (let n = 0; n < PENDING; n += BATCH) {
      await opened.write(Array.from({ length: Math.min(BATCH, PENDING - n) }, (_, i) => statement(n + i)))
    }
  } finally {
    await opened.close()
  }
}

async function fillAudit(home: string): Promise<void> {
  const { openAuditLog } = await built<typeof policy>('policy/index.js')
  const log = await openAuditLog({ path: join(home, 'audit.log') })
  for (let n = 0; n < AUDIT_ROWS; n++) {
    const resource = `tool:files/read-${n % PENDING}`
    log.append(JSON.stringify({ peer: `bench-${n}`, action: 'tool.call', resource, effect: 'ask', rules: ['r'] }))
  }
  await log.close()
}

/** As `pryx-mesh status` asks, a connection each time. @returns milliseconds */
async function askFor(home: string, ms: number): Promise<number[]> {
  const { createClient } = await built<typeof cliClient>('cli/client.js')
  const client = createClient({ home, signal: AbortSignal.timeout(ms + 60_000) })
  const askOnce = async (): Promise<number> => {
    const began = performance.now()
    const { pendingApprovals } = await client.ask<NodeStatus>('GET', '/v1/status')
    const took = performance.now() - began
    if (pendingApprovals !== PENDING) throw new Error(`${pendingApprovals} approvals are pending, not ${PENDING}`)
    return took
  }
  for (let n = 0; n < WARM; n++) await askOnce()
  const times: number[] = []
  for (const end = performance.now() + ms; performance.now() < end; ) times.push(await askOnce())
  return times
}
