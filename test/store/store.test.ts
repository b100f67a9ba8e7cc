import { execFileSync } from 'node:child_process'
import { open, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { MAX_QUEUED_WRITES, type Migrations, openStore, type Store } from '../../src/store/index.ts'
import { tempFolder } from '../temp.ts'
import { runScript } from './child.ts'
import { ITEM_MIGRATIONS } from './items.ts'

const INSERT = 'INSERT INTO item (id, body) VALUES (?, ?)'

const VARIANTS = [
  { id: 'a file', onDisk: true },
  { id: 'memory', onDisk: false }
]

async function openItems(
  path: string | undefined,
  migrations: readonly Migrations[] = [ITEM_MIGRATIONS]
): Promise<Store> {
  const store = await openStore({ path, migrations })
  onTestFinished(() => store.close())
  return store
}

async function openVariant({ onDisk }: { onDisk: boolean }): Promise<Store> {
  return openItems(onDisk ? join(await tempFolder(), 'mesh.db') : undefined)
}

function count(store: Store): unknown {
  return store.get('SELECT count(*) AS n FROM item')?.['n']
}

it.each(VARIANTS)('a write in $id is seen by every read after it', async (variant) => {
  const store = await openVariant(variant)
  const changes = await store.write([
    { sql: INSERT, params: [1, 'one'] },
    { sql: INSERT, params: [2, 'two'] },
    { sql: "UPDATE item SET body = body || '!'" }
  ])
  expect(changes).toEqual([1, 1, 2])
  expect(store.get('SELECT body FROM item WHERE id = ?', [2])).toEqual({ body: 'two!' })
  expect(store.all('SELECT id FROM item ORDER BY id').map((row) => row['id'])).toEqual([1, 2])
  expect(store.get('SELECT body FROM item WHERE id = ?', [3])).toBeUndefined()
})

it.each(VARIANTS)('in $id a transaction that fails leaves nothing, and its neighbours whole', async (variant) => {
  const store = await openVariant(variant)
  const results = await Promise.allSettled(
    Array.from({ length: 100 }, (_, id) =>
      store.write([
        { sql: INSERT, params: [id, 'first'] },
        { sql: INSERT, params: [id % 10 === 3 ? id : id + 1_000, 'second'] }
      ])
    )
  )
  const failed = results.flatMap((result, id) => (result.status === 'rejected' ? [id] : []))
  expect(failed).toEqual([3, 13, 23, 33, 43, 53, 63, 73, 83, 93])
  expect(count(store)).toBe(180)
  expect(store.all('SELECT id FROM item WHERE id % 10 = 3')).toEqual([])
})

it.each(VARIANTS)('a defect in SQL in $id is INTERNAL and tells its text only as cause', async (variant) => {
  const store = await openVariant(variant)
  const cause = expect.objectContaining({ message: expect.stringContaining('nowhere') })
  await expect(store.write([{ sql: 'INSERT INTO nowhere VALUES (1)' }])).rejects.toMatchObject({
    code: 'INTERNAL',
    message: 'the database refused a statement',
    cause
  })
  expect(() => store.get('SELECT * FROM nowhere')).toThrowError(expect.objectContaining({ code: 'INTERNAL', cause }))
})

it.each(VARIANTS)('after close, writes to $id fail with CANCELLED', async (variant) => {
  const store = await openVariant(variant)
  await store.close()
  await expect(store.write([{ sql: INSERT, params: [1, ''] }])).rejects.toMatchObject({ code: 'CANCELLED' })
  await store.close()
})

it('writes started together share a commit', async () => {
  const store = await openVariant({ onDisk: true })
  const writes = Array.from({ length: 200 }, (_, id) => store.write([{ sql: INSERT, params: [id, ''] }]))
  await writes[0]
  expect(count(store)).toBe(200)
  await Promise.all(writes)
})

it('a patient write comes before what is written after it, and waits for nothing else for long', async () => {
  const store = await openVariant({ onDisk: true })
  const patient = store.write([{ sql: INSERT, params: [1, ''] }], { isPatient: true })
  await store.write([{ sql: "UPDATE item SET body = 'seen'" }])
  expect(store.get('SELECT body FROM item')).toEqual({ body: 'seen' })
  await patient
  await store.write([{ sql: INSERT, params: [2, ''] }], { isPatient: true })
  expect(count(store)).toBe(2)
  const last = store.write([{ sql: INSERT, params: [3, ''] }], { isPatient: true })
  await store.close()
  await expect(last).resolves.toEqual([1])
})

it('writes are applied in the order in which they were started', async () => {
  const store = await openVariant({ onDisk: true })
  await store.write([{ sql: INSERT, params: [1, ''] }])
  await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => store.write([{ sql: 'UPDATE item SET body = ?', params: [String(n)] }]))
  )
  expect(store.get('SELECT body FROM item')).toEqual({ body: '999' })
})

it('the queue has an end, and says BUSY there', async () => {
  const store = await openVariant({ onDisk: true })
  const sql = 'DELETE FROM item'
  const writes = Array.from({ length: MAX_QUEUED_WRITES }, () => store.write([{ sql }]))
  await expect(store.write([{ sql }])).rejects.toMatchObject({ code: 'BUSY', retryable: true })
  await expect(Promise.all(writes)).resolves.toHaveLength(MAX_QUEUED_WRITES)
})

it('close commits what is queued first', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const store = await openItems(path)
  const writes = Array.from({ length: 600 }, (_, id) => store.write([{ sql: INSERT, params: [id, ''] }]))
  await store.close()
  await Promise.all(writes)
  expect(count(await openItems(path))).toBe(600)
})

it('a value that SQLite has no type for fails its own write and no later one', async () => {
  const store = await openVariant({ onDisk: true })
  const bad = [{ sql: INSERT, params: [1, (() => 1) as unknown as string] }]
  await expect(store.write(bad)).rejects.toMatchObject({ code: 'INTERNAL' })
  await expect(store.write([{ sql: INSERT, params: [1, 'one'] }])).resolves.toEqual([1])
})

it('all that was acknowledged survives kill -9, ten times over', { timeout: 60_000 }, async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const acknowledged: number[] = []
  for (let round = 0; round < 10; round++) {
    const { child, lines } = runScript(new URL('./crash-writer.ts', import.meta.url), path, String(round * 1_000_000))
    const enough = acknowledged.length + 50 + round * 20
    for await (const line of lines) {
      acknowledged.push(Number(line))
      if (acknowledged.length === enough) child.kill('SIGKILL')
    }
  }
  const store = await openItems(path)
  const found = new Set(store.all('SELECT id FROM item').map((row) => row['id']))
  expect(acknowledged.length).toBeGreaterThanOrEqual(1_400)
  expect(acknowledged.filter((id) => !found.has(id))).toEqual([])
})

it('a database on disk is for its owner only', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const store = await openItems(path)
  await store.write([{ sql: INSERT, params: [1, ''] }])
  const modes = await Promise.all(['', '-wal', '-shm'].map(async (suffix) => (await stat(path + suffix)).mode & 0o777))
  expect(modes).toEqual([0o600, 0o600, 0o600])
})

it('a process with an open and closed store ends by itself', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const index = new URL('../../src/store/index.ts', import.meta.url).href
  const program = `import { openStore } from ${JSON.stringify(index)}
    const store = await openStore({ path: ${JSON.stringify(path)}, migrations: [] })
    await store.write([{ sql: 'CREATE TABLE t (x)' }])
    await store.close()`
  const args = ['--input-type=module', '--eval', program]
  expect(execFileSync(process.execPath, args, { timeout: 20_000, encoding: 'utf8' })).toBe('')
})

it('migrations run once each, and new steps of a later version are added', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const first = await openItems(path)
  await first.write([{ sql: INSERT, params: [1, 'kept'] }])
  await first.close()
  const later = {
    room: 'items',
    steps: [...ITEM_MIGRATIONS.steps, "ALTER TABLE item ADD COLUMN tag TEXT DEFAULT 'none'"]
  }
  const second = await openItems(path, [
    later,
    { room: 'other', steps: ['CREATE TABLE other (x) STRICT, WITHOUT ROWID'.replace('(x)', '(x TEXT PRIMARY KEY)')] }
  ])
  expect(second.get('SELECT * FROM item')).toEqual({ id: 1, body: 'kept', tag: 'none' })
  expect(second.all('SELECT * FROM migration ORDER BY room')).toEqual([
    { room: 'items', steps: 2 },
    { room: 'other', steps: 1 }
  ])
})

it('a migration that fails leaves the database as it was', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  await (await openItems(path)).close()
  const broken = { room: 'items', steps: [...ITEM_MIGRATIONS.steps, 'CREATE TABLE half (x INTEGER) STRICT; NONSENSE'] }
  await expect(openStore({ path, migrations: [broken] })).rejects.toMatchObject({ code: 'INTERNAL' })
  const store = await openItems(path)
  expect(store.all("SELECT name FROM sqlite_schema WHERE name = 'half'")).toEqual([])
})

it('a database of a newer version is refused, and says so', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  await (await openItems(path)).close()
  await expect(openStore({ path, migrations: [{ room: 'items', steps: [] }] })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringContaining(`${path} was written by a newer version`)
  })
})

it('a file that is no database is refused and left alone', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const text = 'this is a letter to my aunt\n'.repeat(100)
  await writeFile(path, text)
  await expect(openStore({ path, migrations: [] })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringContaining(path),
    hint: expect.stringContaining('backup')
  })
  expect(await readFile(path, 'utf8')).toBe(text)
})

it('a damaged database is refused, naming the file', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const store = await openItems(path)
  const body = 'x'.repeat(2_000)
  await Promise.all(Array.from({ length: 200 }, (_, id) => store.write([{ sql: INSERT, params: [id, body] }])))
  await store.close()
  const file = await open(path, 'r+')
  await file.write(Buffer.alloc(4_096 * 20, 0xa5), 0, 4_096 * 20, 4_096 * 10)
  await file.close()
  await expect(openStore({ path, migrations: [ITEM_MIGRATIONS] })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringContaining(`${path} is damaged`)
  })
})

it('a folder that does not exist is IO, naming the file', async () => {
  const path = join(await tempFolder(), 'missing', 'mesh.db')
  await expect(openStore({ path, migrations: [] })).rejects.toMatchObject({
    code: 'IO',
    message: expect.stringContaining(path)
  })
})

const isRoot = process.getuid?.() === 0
if (!isRoot) process.stdout.write('skipped: the full and the read-only disk need root, to mount one\n')

it.runIf(isRoot)('a full disk fails writes with IO, keeps what was acknowledged, and recovers', async () => {
  const folder = await tempFolder()
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder])
  onTestFinished(() => void execFileSync('umount', ['--lazy', folder]))
  const store = await openItems(join(folder, 'mesh.db'))
  const large = 'x'.repeat(2_000_000)
  const results = await Promise.allSettled([
    store.write([{ sql: INSERT, params: [1, 'small'] }]),
    store.write([{ sql: INSERT, params: [2, large] }]),
    store.write([{ sql: INSERT, params: [3, 'small'] }])
  ])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(results[1]).toMatchObject({ reason: { code: 'IO', message: 'the disk is full' } })
  expect(store.all('SELECT id FROM item ORDER BY id')).toEqual([{ id: 1 }, { id: 3 }])
  await expect(store.write([{ sql: INSERT, params: [4, 'small'] }])).resolves.toEqual([1])
})

it.runIf(isRoot)('a read-only disk is IO', async () => {
  const folder = await tempFolder()
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,ro', 'tmpfs', folder])
  onTestFinished(() => void execFileSync('umount', ['--lazy', folder]))
  await expect(openStore({ path: join(folder, 'mesh.db'), migrations: [] })).rejects.toMatchObject({ code: 'IO' })
})
