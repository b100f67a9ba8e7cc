import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { Limit, Policy, Rule } from '../../src/policy/index.ts'
import { openPolicy, policyMigrations } from '../../src/policy/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { tempFolder } from '../temp.ts'
import { ALICE, BOB, callerOf } from './callers.ts'

const START = Date.parse('2026-03-01T10:00:00Z')

interface Bench {
  readonly policy: Policy
  readonly clock: { now: number }
  readonly stopped: string[]
}

async function limited(limit: Limit, store?: Store, clock = { now: START }): Promise<Bench> {
  const stopped: string[] = []
  const policy = await openPolicy({
    ...(store && { store }),
    clock: () => clock.now,
    onLimit: (caller, rule) => stopped.push(`${caller.peer} ${rule}`)
  })
  const rule: Rule = { id: 'r', effect: 'allow', who: '*', act: 'tool.call', res: '*', limit }
  await policy.put([rule])
  return { policy, clock, stopped }
}

/** One call of a caller: what reserve gives, or the refusal's data. */
async function take({ policy }: Bench, caller = callerOf(ALICE), bytes = 0) {
  const request = { caller, action: 'tool.call', resource: 'tool:fs/read', facts: { bytes: () => bytes } }
  return policy.reserve(policy.decide(request), request)
}

const refusal = (limit: string, retryAfterMs: number) => ({
  code: 'LIMIT_EXCEEDED',
  data: { rule: 'r', limit, retryAfterMs }
})

it('calls are counted for each caller from the first use until the window ends', async () => {
  const bench = await limited({ calls: '2/1h' })
  await take(bench)
  bench.clock.now += 600_000
  await take(bench)
  await expect(take(bench)).rejects.toMatchObject(refusal('calls', 3_000_000))
  expect(bench.stopped).toEqual([`${ALICE} r`])
  await take(bench, callerOf(BOB))
  bench.clock.now += 3_000_000
  await take(bench)
})

it('a limit per rule is shared, and the owner is never limited', async () => {
  const bench = await limited({ calls: '1/1h', per: 'rule' })
  await take(bench)
  await expect(take(bench, callerOf(BOB))).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  expect(await take(bench, callerOf(BOB, 'owner'))).toBeUndefined()
})

it('bytes count input and output, cost what the end tells', async () => {
  const bytes = await limited({ bytes: '1KiB/10s' })
  const first = await take(bytes, callerOf(ALICE), 1_000)
  await expect(take(bytes, callerOf(ALICE), 25)).rejects.toMatchObject(refusal('bytes', 10_000))
  first?.settle({ bytes: 24 })
  await expect(take(bytes, callerOf(ALICE), 0)).rejects.toMatchObject(refusal('bytes', 10_000))
  const cost = await limited({ cost: '0.30/10s' })
  for (let n = 0; n < 3; n++) (await take(cost))?.settle({ cost: 0.1 })
  await expect(take(cost)).rejects.toMatchObject(refusal('cost', 10_000))
})

it('concurrent calls end by settling or cancelling, once', async () => {
  const bench = await limited({ concurrent: 2 })
  const first = await take(bench)
  const second = await take(bench)
  await expect(take(bench)).rejects.toMatchObject(refusal('concurrent', 1_000))
  first?.settle({})
  first?.settle({})
  first?.cancel()
  const third = await take(bench)
  await expect(take(bench)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  second?.cancel()
  third?.cancel()
  expect(
    bench.policy.explain({ caller: callerOf(ALICE), action: 'tool.call', resource: 'x' }).trace.at(-1)
  ).toMatchObject({
    matched: true,
    limits: ['concurrent 0 of 2']
  })
})

it('what is cancelled is given back', async () => {
  const bench = await limited({ calls: '1/1h', bytes: '10B/1h' })
  ;(await take(bench, callerOf(ALICE), 10))?.cancel()
  await take(bench, callerOf(ALICE), 10)
  await expect(take(bench)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

it('never more than the limit pass, at once and over restarts without a stop', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 4 }),
      async (max, runs) => {
        const folder = await tempFolder()
        let passed = 0
        for (const attempts of runs) {
          const store = await openStore({ path: join(folder, 'mesh.db'), migrations: [policyMigrations] })
          const bench = await limited({ calls: `${max}/1h` }, store)
          const results = await Promise.allSettled(Array.from({ length: attempts }, () => take(bench)))
          passed += results.filter(({ status }) => status === 'fulfilled').length
          // As if killed: nothing but what reserve has waited for
          await store.close()
        }
        const tried = runs.reduce((sum, attempts) => sum + attempts, 0)
        expect(passed).toBe(Math.min(max, tried))
      }
    ),
    { numRuns: 12 }
  )
}, 60_000)

it('a lasting limit that cannot be written lets nothing pass and takes nothing', async () => {
  const store = await openStore({ migrations: [policyMigrations] })
  onTestFinished(() => store.close())
  let fails = true
  const moody: Store = {
    ...store,
    get: (...args) => store.get(...args),
    all: (...args) => store.all(...args),
    close: () => store.close(),
    write: (statements) => (fails ? Promise.reject(new Error('disk full')) : store.write(statements))
  }
  const bench = await limited({ calls: '1/1h' }, moody)
  await expect(take(bench)).rejects.toThrow('disk full')
  fails = false
  await take(bench)
  await expect(take(bench)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
})
