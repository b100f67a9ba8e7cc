import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import type { MeshError } from '../../src/errors.ts'
import { openPolicy, type Rule } from '../../src/policy/index.ts'
import { tempFolder } from '../temp.ts'
import { ALICE, callerOf } from './callers.ts'

const READ = { caller: callerOf(ALICE), action: 'tool.call', resource: 'tool:fs/read' }
const rule = (id: string, effect: Rule['effect']): Rule => ({ id, effect, who: '*', act: '*.call', res: '*' })
const text = (...rules: Rule[]) => JSON.stringify({ v: 1, rules })

async function watched() {
  const path = join(await tempFolder(), 'policy.json')
  const reloads: (string | undefined)[] = []
  const rows: { shadow?: unknown }[] = []
  const policy = await openPolicy({
    path,
    audit: { append: (row) => rows.push(JSON.parse(row)), close: async () => {} },
    onReload: (problem: MeshError | undefined) => reloads.push(problem?.code)
  })
  onTestFinished(() => policy.stop())
  return { path, policy, reloads, rows }
}

it('what the owner writes into the file is in force soon after', async () => {
  const { path, policy, reloads } = await watched()
  expect(policy.judge(READ).effect).toBe('deny')
  await writeFile(path, text(rule('a', 'allow')))
  await expect.poll(() => policy.judge(READ).effect, { timeout: 5_000 }).toBe('allow')
  await writeFile(`${path}.new`, text(rule('q', 'ask')))
  await rename(`${path}.new`, path)
  await expect.poll(() => policy.judge(READ).effect, { timeout: 5_000 }).toBe('ask')
  expect(reloads).toEqual([undefined, undefined])
})

it.each([
  { id: 'broken', spoil: (path: string) => writeFile(path, '{ "v": 1, "rules": [{}] }'), says: 'rules[0].id' },
  { id: 'removed', spoil: (path: string) => rm(path), says: 'is gone' }
])('the last good rules stay in force while the file is $id, and the problem is told', async ({ spoil, says }) => {
  const { path, policy, reloads } = await watched()
  await policy.put([rule('a', 'allow')])
  await spoil(path)
  await expect.poll(() => policy.problem?.message, { timeout: 5_000 }).toContain(says)
  expect(policy.judge(READ).effect).toBe('allow')
  await writeFile(path, text(rule('d', 'deny')))
  await expect.poll(() => policy.problem, { timeout: 5_000 }).toBeUndefined()
  expect(policy.judge(READ)).toMatchObject({ effect: 'deny', rules: ['d'] })
  expect(reloads).toEqual(['INVALID_CONFIG', undefined])
})

it('what a shadow would have decided stands in the audit, and decides nothing', async () => {
  const { path, policy, rows } = await watched()
  const shadow = join(path, '..', 'policy.shadow.json')
  policy.decide(READ)
  await writeFile(shadow, text(rule('a', 'allow')))
  const shadowOfNext = () => {
    expect(policy.decide(READ).effect).toBe('deny')
    return rows.at(-1)?.shadow
  }
  await expect.poll(shadowOfNext, { timeout: 5_000 }).toEqual({ effect: 'allow', rules: ['a'] })
  await writeFile(shadow, 'broken')
  await expect.poll(shadowOfNext, { timeout: 5_000 }).toBeUndefined()
  await writeFile(shadow, text(rule('d', 'deny')))
  expect(rows[0]).not.toHaveProperty('shadow')
})
