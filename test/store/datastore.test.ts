import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Datastore, Key, type Query } from 'interface-datastore'
import { expect, it, onTestFinished } from 'vitest'
import { createDatastore, DATASTORE_PAGE, type SqliteDatastore } from '../../src/store/index.ts'
import { tempFolder } from '../temp.ts'

function openCache(path?: string): SqliteDatastore {
  const store = createDatastore({ path })
  onTestFinished(() => store.close())
  return store
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array): string => new TextDecoder().decode(value)

async function collect<T>(source: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

async function keys(store: Datastore, query: Query = {}): Promise<string[]> {
  return (await collect(store.query(query))).map(({ key }) => key.toString())
}

async function fill(store: Datastore, ...names: string[]): Promise<void> {
  for (const name of names) await store.put(new Key(name), bytes(name))
}

it('what was put is got, replaced, and gone once deleted', async () => {
  const store = openCache()
  const key = new Key('/a/b')
  expect(await store.put(key, bytes('one'))).toBe(key)
  await store.put(key, bytes('two'))
  expect(text(await store.get(key))).toBe('two')
  expect(await store.has(key)).toBe(true)
  await store.delete(key)
  await store.delete(key)
  expect(await store.has(key)).toBe(false)
})

it('an unknown key is a NotFoundError, which libp2p tells by its name', () => {
  const store = openCache()
  expect(() => store.get(new Key('/nothing'))).toThrowError(expect.objectContaining({ name: 'NotFoundError' }))
})

it('an empty value stays an empty value', async () => {
  const store = openCache()
  await store.put(new Key('/empty'), new Uint8Array())
  expect(await store.get(new Key('/empty'))).toEqual(new Uint8Array())
})

it('many are put, got and deleted by iterables', async () => {
  const store = openCache()
  const pairs = Array.from({ length: 100 }, (_, n) => ({ key: new Key(`/many/${n}`), value: bytes(String(n)) }))
  const put = await collect(store.putMany(pairs))
  expect(put).toHaveLength(100)
  const got = await collect(store.getMany(pairs.map(({ key }) => key)))
  expect(got.map(({ value }) => text(value))).toEqual(pairs.map(({ value }) => text(value)))
  await collect(store.deleteMany(pairs.slice(1).map(({ key }) => key)))
  expect(await keys(store)).toEqual(['/many/0'])
})

it('a batch does nothing before its commit, then all', async () => {
  const store = openCache()
  await fill(store, '/old')
  const batch = store.batch()
  batch.put(new Key('/new'), bytes('new'))
  batch.delete(new Key('/old'))
  expect(await keys(store)).toEqual(['/old'])
  await batch.commit()
  expect(await keys(store)).toEqual(['/new'])
  await store.delete(new Key('/new'))
  await batch.commit()
  expect(await keys(store)).toEqual([])
})

it('a batch with a value that cannot be stored changes nothing', async () => {
  const store = openCache()
  const batch = store.batch()
  batch.put(new Key('/good'), bytes('good'))
  batch.put(new Key('/bad'), 'text' as unknown as Uint8Array)
  expect(() => batch.commit()).toThrowError(expect.objectContaining({ code: 'INTERNAL' }))
  expect(await keys(store)).toEqual([])
})

it.each([
  { id: 'all', query: {}, found: ['/a', '/b%', '/b/1', '/b/2', '/c/ü'] },
  { id: 'by prefix', query: { prefix: '/b/' }, found: ['/b/1', '/b/2'] },
  { id: 'by a prefix with a wildcard of SQL', query: { prefix: '/b%' }, found: ['/b%'] },
  { id: 'by a prefix beyond ASCII', query: { prefix: '/c/ü' }, found: ['/c/ü'] },
  { id: 'by a prefix nobody has', query: { prefix: '/zzz' }, found: [] },
  { id: 'filtered', query: { filters: [({ value }) => text(value).endsWith('1')] }, found: ['/b/1'] },
  {
    id: 'ordered, with offset and limit',
    query: { orders: [(a, b) => (a.key.toString() < b.key.toString() ? 1 : -1)], offset: 1, limit: 2 },
    found: ['/b/2', '/b/1']
  }
] satisfies Array<{ id: string; query: Query; found: string[] }>)('a query finds $id', async ({ query, found }) => {
  const store = openCache()
  await fill(store, '/b/2', '/c/ü', '/a', '/b/1', '/b%')
  expect(await keys(store, query)).toEqual(found)
})

it('a query for keys alone gives the same keys', async () => {
  const store = openCache()
  await fill(store, '/b/1', '/b/2', '/c')
  const found = await collect(store.queryKeys({ prefix: '/b' }))
  expect(found.map(String)).toEqual(['/b/1', '/b/2'])
})

it('entries may be deleted while a query goes through them, over many pages', async () => {
  const store = openCache()
  const names = Array.from({ length: DATASTORE_PAGE * 2 + 7 }, (_, n) => `/p/${String(n).padStart(5, '0')}`)
  await fill(store, ...names)
  const seen: string[] = []
  for await (const { key } of store.query({ prefix: '/p/' })) {
    seen.push(key.toString())
    await store.delete(key)
  }
  expect(seen).toEqual(names)
  expect(await keys(store)).toEqual([])
})

it('an aborted signal ends a query and refuses the rest', async () => {
  const store = openCache()
  await fill(store, '/a', '/b')
  const abort = new AbortController()
  const iterate = async (): Promise<void> => {
    for await (const _ of store.query({}, { signal: abort.signal })) abort.abort(new Error('enough'))
  }
  await expect(iterate()).rejects.toThrow('enough')
  expect(() => store.has(new Key('/a'), { signal: abort.signal })).toThrow('enough')
})

it('a file keeps its entries', async () => {
  const path = join(await tempFolder(), 'cache.db')
  const first = openCache(path)
  await fill(first, '/kept')
  first.close()
  expect(await keys(openCache(path))).toEqual(['/kept'])
})

it('a damaged file is made anew: it is a cache', async () => {
  const path = join(await tempFolder(), 'cache.db')
  await writeFile(path, 'not a database, by any means'.repeat(100))
  const store = openCache(path)
  await fill(store, '/new')
  expect(await keys(store)).toEqual(['/new'])
})

it('a folder that does not exist is IO', async () => {
  const path = join(await tempFolder(), 'missing', 'cache.db')
  expect(() => createDatastore({ path })).toThrowError(expect.objectContaining({ code: 'IO' }))
})
