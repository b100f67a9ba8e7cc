import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createAnswers } from '../../src/edges/answers.ts'
import {
  type AnswerKey,
  answersMigrations,
  KEPT_ANSWER_MS,
  MAX_ANSWERS_PER_CALLER,
  MAX_KEPT_ANSWER_BYTES
} from '../../src/edges/index.ts'
import { openStore } from '../../src/store/index.ts'
import { tempFolder } from '../temp.ts'

const KEY: AnswerKey = { caller: 'api-key:one', key: 'k', digest: 'a' }
const ANSWER = { status: 201, headers: { location: '/x' }, body: '{"a":1}' }

async function start(path?: string) {
  const store = await openStore({ path, migrations: [answersMigrations] })
  onTestFinished(() => store.close())
  const time = { now: Date.parse('2026-11-23T10:00:00Z') }
  return { store, time, answers: createAnswers(store, () => time.now) }
}

it('an answer is given again until it is a day old', async () => {
  const { answers, time } = await start()
  expect(await answers.begin(KEY)).toBeUndefined()
  await answers.keep(KEY, ANSWER)
  time.now += KEPT_ANSWER_MS
  expect(await answers.begin(KEY)).toEqual(ANSWER)
  time.now += 1
  expect(await answers.begin(KEY)).toBeUndefined()
})

it.each([
  { id: 'another request with the same key', key: { ...KEY, digest: 'b' }, code: 'ALREADY_EXISTS' },
  { id: 'the same request while the first one runs', key: KEY, code: 'BUSY' }
])('$id is $code', async ({ key, code }) => {
  const { answers } = await start()
  await answers.begin(KEY)
  await expect(answers.begin(key)).rejects.toMatchObject({ code })
})

it('another caller has keys of its own', async () => {
  const { answers } = await start()
  await answers.begin(KEY)
  await answers.keep(KEY, ANSWER)
  expect(await answers.begin({ ...KEY, caller: 'api-key:two' })).toBeUndefined()
})

it('of many at once one begins', async () => {
  const { answers } = await start()
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => answers.begin(KEY)))
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
})

it('a request that was cut off by a restart is not begun again', async () => {
  const path = join(await tempFolder(), 'mesh.db')
  const before = await start(path)
  await before.answers.begin(KEY)
  await before.answers.begin({ ...KEY, key: 'done' })
  await before.answers.keep({ ...KEY, key: 'done' }, ANSWER)
  await before.store.close()
  const { answers } = await start(path)
  await expect(answers.begin(KEY)).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  expect(await answers.begin({ ...KEY, key: 'done' })).toEqual(ANSWER)
})

it('an answer that is too large is not kept, nor is its request done again', async () => {
  const { answers } = await start()
  await answers.begin(KEY)
  await answers.keep(KEY, { ...ANSWER, body: 'x'.repeat(MAX_KEPT_ANSWER_BYTES + 1) })
  await expect(answers.begin(KEY)).rejects.toMatchObject({ code: 'TOO_LARGE' })
})

it('a request that did nothing may begin again', async () => {
  const { answers } = await start()
  await answers.begin(KEY)
  await answers.forget(KEY)
  expect(await answers.begin({ ...KEY, digest: 'b' })).toBeUndefined()
})

it('a caller with too many keys has to wait, and keeps nobody else from having some', async () => {
  const { answers } = await start()
  const keys = Array.from({ length: MAX_ANSWERS_PER_CALLER }, (_, at) => ({ ...KEY, key: `k${at}` }))
  await Promise.all(keys.map((key) => answers.begin(key)))
  await expect(answers.begin(KEY)).rejects.toMatchObject({ code: 'BUSY' })
  expect(await answers.begin({ ...KEY, caller: 'api-key:two' })).toBeUndefined()
})
