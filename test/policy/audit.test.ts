import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { AuditLogInit } from '../../src/policy/index.ts'
import { openAuditLog, verifyAuditLog } from '../../src/policy/index.ts'

const ROW = '{"peer":"12D3KooW","action":"tool.call","resource":"tool:fs/read","effect":"allow","rules":["a"]}'

async function newPath(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'audit-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return join(folder, 'audit.ndjson')
}

/** One run of a node: opens the log, appends, closes. Rows name the run and their number. */
async function run(path: string, rows: number, init: AuditLogInit = {}, name = 'run'): Promise<void> {
  const log = await openAuditLog({ ...init, path })
  for (let n = 0; n < rows; n++) log.append(`{"peer":"${name}","n":${n}}`)
  await log.close()
}

const lines = async (path: string) => (await readFile(path, 'utf8')).trimEnd().split('\n')

it('writes a row for each append with its time, in order, in a file of the owner alone', async () => {
  const path = await newPath()
  let nowMs = Date.parse('2026-03-01T10:00:00.000Z')
  const log = await openAuditLog({ path, clock: () => nowMs })
  log.append(ROW)
  nowMs += 1_500
  log.append(ROW)
  await log.close()
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  const [start, startChain, ...rest] = await lines(path)
  expect(start).toMatch(/^\{"log":"pryx-mesh-audit","v":1,"previous":"0{64}"\}$/)
  expect(startChain).toMatch(/^\{"chain":"[0-9a-f]{64}"\}$/)
  expect(rest).toEqual([
    `{"time":"2026-03-01T10:00:00.000Z",${ROW.slice(1)}`,
    `{"time":"2026-03-01T10:00:01.500Z",${ROW.slice(1)}`,
    expect.stringMatching(/^\{"chain":"[0-9a-f]{64}"\}$/)
  ])
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 2, tornBytes: 0 })
})

it('a log without a path takes rows and keeps nothing', async () => {
  const log = await openAuditLog()
  log.append(ROW)
  await expect(log.close()).resolves.toBeUndefined()
})

it('what is appended after the close is not written', async () => {
  const path = await newPath()
  const log = await openAuditLog({ path })
  log.append(ROW)
  await log.close()
  log.append(ROW)
  await log.close()
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 1 })
})

it('rows reach the disk by themselves soon after', async () => {
  const path = await newPath()
  const log = await openAuditLog({ path })
  onTestFinished(() => log.close())
  log.append(ROW)
  await expect.poll(() => verifyAuditLog(path), { timeout: 10_000 }).toMatchObject({ ok: true, rows: 1 })
})

it('the chain goes on across restarts and files, and the oldest files go', async () => {
  const path = await newPath()
  for (let n = 0; n < 30; n++) await run(path, 20, { maxFileBytes: 1_000 })
  const files = (await readdir(join(path, '..'))).sort()
  expect(files).toEqual([
    'audit.ndjson',
    ...Array.from({ length: 8 }, (_, n) => `audit.ndjson.${`${n + 22}`.padStart(6, '0')}`)
  ])
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 180 })
})

it('many rows at once are split into batches and all there', async () => {
  const path = await newPath()
  await run(path, 20_000)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 20_000 })
  const chains = (await lines(path)).filter((line) => line.startsWith('{"chain":'))
  expect(chains.length).toBeGreaterThan(3)
})

it.each<{ id: string; tamper: (path: string) => Promise<unknown>; file: string; line: number }>([
  {
    id: 'a row that was changed',
    tamper: async (path) =>
      writeFile(path, (await readFile(path, 'utf8')).replace('"second","n":1}', '"second","n":7}')),
    file: 'audit.ndjson',
    line: 8
  },
  {
    id: 'a row that was deleted',
    tamper: async (path) => writeFile(path, (await readFile(path, 'utf8')).replace(/.*"second","n":1\}\n/, '')),
    file: 'audit.ndjson',
    line: 7
  },
  {
    id: 'a row that was put in',
    tamper: async (path) => writeFile(path, (await readFile(path, 'utf8')).replace(/(.*"second","n":1\}\n)/, '$1$1')),
    file: 'audit.ndjson',
    line: 9
  },
  {
    id: 'a chain row that was deleted',
    tamper: async (path) =>
      writeFile(path, (await readFile(path, 'utf8')).replace(/\{"chain":"\w+"\}\n(?=\{"time)/, '')),
    file: 'audit.ndjson',
    line: 4
  },
  {
    id: 'a whole batch that was deleted',
    tamper: async (path) => {
      const all = await lines(path)
      await writeFile(path, `${[...all.slice(0, 2), ...all.slice(5)].join('\n')}\n`)
    },
    file: 'audit.ndjson',
    line: 5
  },
  {
    id: 'a byte that is not seen',
    tamper: async (path) =>
      writeFile(path, (await readFile(path, 'utf8')).replace('"second","n":1}', '"second","n":1} ')),
    file: 'audit.ndjson',
    line: 8
  }
])('verification finds $id', async ({ tamper, file, line }) => {
  const path = await newPath()
  await run(path, 2, {}, 'first')
  await run(path, 2, {}, 'second')
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 4 })
  await tamper(path)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: false, brokenAt: { file: join(path, '..', file), line } })
})

it('verification finds a missing file, a cut one and one that is not ours', async () => {
  const path = await newPath()
  for (let n = 0; n < 5; n++) await run(path, 20, { maxFileBytes: 1_000 })
  const second = `${path}.000002`
  const content = await readFile(second)
  await truncate(second, content.length - 10)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: false, brokenAt: { file: second } })
  await rm(second)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: false, brokenAt: { file: `${path}.000003`, line: 1 } })
  await writeFile(second, 'something else\n')
  expect(await verifyAuditLog(path)).toMatchObject({ ok: false, brokenAt: { file: second, line: 1 } })
  await writeFile(second, content)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true })
})

it('a kept chain value shows that the end was cut off at a chain row', async () => {
  const path = await newPath()
  await run(path, 2)
  const { size } = await stat(path)
  await run(path, 2)
  const before = await verifyAuditLog(path)
  await truncate(path, size)
  const after = await verifyAuditLog(path)
  expect(after).toMatchObject({ ok: true, rows: 2 })
  expect(after.chain).not.toBe(before.chain)
})

it('a batch cut anywhere by a crash is told from tampering, and the restarted log goes on', async () => {
  const path = await newPath()
  await run(path, 2, {}, 'first')
  const whole = await stat(path)
  await run(path, 3, {}, 'second')
  const content = await readFile(path)
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: content.length }), async (length) => {
      await writeFile(path, content.subarray(0, length))
      const cut = await verifyAuditLog(path)
      expect(cut.ok).toBe(true)
      expect(cut.rows).toBe(length === content.length ? 5 : length < whole.size ? 0 : 2)
      await run(path, 1, {}, 'third')
      expect(await verifyAuditLog(path)).toMatchObject({ ok: true, tornBytes: 0 })
      expect(await readFile(path, 'utf8')).toContain('"third","n":0}')
    }),
    { numRuns: 60, examples: [[content.length - 1], [content.length], [whole.size], [whole.size - 1], [1]] }
  )
})

it('rows that a killed process left without a chain row are kept, marked and chained', async () => {
  const path = await newPath()
  await run(path, 1)
  const torn = `{"time":"2026-03-01T10:00:00.000Z",${ROW.slice(1)}\n{"time":"2026-`
  await appendFile(path, torn)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 1, tornBytes: torn.length })
  await run(path, 1)
  const text = await readFile(path, 'utf8')
  expect(text).toContain('{"time":"2026-\n')
  expect(text).toContain(`"recovered":${torn.length + 1}}\n{"chain"`)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, rows: 4, tornBytes: 0 })
})

it('a log of a process that was killed while it wrote verifies', async () => {
  const path = await newPath()
  const module = new URL('../../src/policy/index.ts', import.meta.url).href
  const script = `
    const { openAuditLog } = await import(${JSON.stringify(module)})
    const log = await openAuditLog({ path: ${JSON.stringify(path)} })
    setInterval(() => { for (let n = 0; n < 2000; n++) log.append(${JSON.stringify(ROW)}) }, 1)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' })
  onTestFinished(() => void child.kill('SIGKILL'))
  await expect
    .poll(async () => (await stat(path).catch(() => ({ size: 0 }))).size, { timeout: 20_000 })
    .toBeGreaterThan(2_000_000)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const { ok, rows } = await verifyAuditLog(path)
  expect(ok).toBe(true)
  expect(rows).toBeGreaterThan(10_000)
  await run(path, 1)
  expect(await verifyAuditLog(path)).toMatchObject({ ok: true, tornBytes: 0 })
})

it('a file that is none of ours is set aside, and reported', async () => {
  const path = await newPath()
  await writeFile(path, 'something else entirely\n'.repeat(20))
  await run(path, 1)
  expect(await readFile(`${path}.000001`, 'utf8')).toContain('something else entirely')
  expect(await verifyAuditLog(path)).toMatchObject({ ok: false, brokenAt: { file: `${path}.000001`, line: 1 } })
})

it('a disk that refuses is reported once, holds up nobody, and what waited is written when it works again', async () => {
  const path = await newPath()
  const errors: string[] = []
  const reported = Promise.withResolvers<void>()
  const log = await openAuditLog({
    path,
    maxFileBytes: 300,
    onError: (err) => (errors.push(err.code), reported.resolve())
  })
  log.append(ROW)
  await expect.poll(() => verifyAuditLog(path)).toMatchObject({ rows: 1 })
  // The next batch needs a new file, and the folder is gone.
  const folder = join(path, '..')
  await rename(folder, `${folder}.away`)
  onTestFinished(() => rm(`${folder}.away`, { recursive: true, force: true }))
  log.append(ROW)
  await reported.promise
  for (let n = 0; n < 10; n++) log.append(ROW)
  await rename(`${folder}.away`, folder)
  await expect.poll(() => verifyAuditLog(path), { timeout: 10_000 }).toMatchObject({ ok: true, rows: 12 })
  await log.close()
  expect(errors).toEqual(['IO'])
})

it('a full disk drops what exceeds the queue and says how many', async () => {
  const path = await newPath()
  const reported = Promise.withResolvers<void>()
  const log = await openAuditLog({ path, maxFileBytes: 300, onError: () => reported.resolve() })
  log.append(ROW)
  await expect.poll(() => verifyAuditLog(path)).toMatchObject({ rows: 1 })
  const folder = join(path, '..')
  await rename(folder, `${folder}.away`)
  onTestFinished(() => rm(`${folder}.away`, { recursive: true, force: true }))
  const big = `{"resource":"${'x'.repeat(22 * 1024 * 1024)}"}`
  log.append(big)
  await reported.promise
  for (let n = 0; n < 9; n++) log.append(big)
  await rename(`${folder}.away`, folder)
  await log.close()
  const rows: string[] = []
  for (const name of await readdir(folder)) rows.push(...(await lines(join(folder, name))))
  const dropped = rows.flatMap((line) => /"dropped":(\d+)/.exec(line)?.[1] ?? [])
  const kept = rows.filter((line) => line.includes('"resource":"x')).length
  expect(dropped).toHaveLength(1)
  expect(kept + Number(dropped[0])).toBe(10)
  expect(kept).toBe(3)
})

it('closing gives up on a disk that refuses', async () => {
  const path = await newPath()
  const errors: string[] = []
  const log = await openAuditLog({ path, maxFileBytes: 1, onError: (err) => errors.push(err.code) })
  await rm(join(path, '..'), { recursive: true })
  log.append(ROW)
  await log.close()
  expect(errors).toEqual(['IO'])
})

it('a place that cannot be written and a log that is not there are errors', async () => {
  const path = await newPath()
  await expect(openAuditLog({ path: join(path, 'missing', 'audit') })).rejects.toMatchObject({ code: 'IO' })
  await expect(verifyAuditLog(path)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(verifyAuditLog(join(path, 'missing', 'audit'))).rejects.toMatchObject({ code: 'IO' })
})
