import { MeshError } from '../errors.ts'
import type { Migrations, Row, Store } from '../store/index.ts'
import { KEPT_ANSWER_MS, MAX_ANSWERS, MAX_ANSWERS_PER_CALLER, MAX_KEPT_ANSWER_BYTES } from './constants.ts'

export const answersMigrations: Migrations = {
  room: 'edges',
  steps: [
    `CREATE TABLE edge_answer (
      caller TEXT NOT NULL,
      key TEXT NOT NULL,
      digest TEXT NOT NULL,
      at INTEGER NOT NULL,
      status INTEGER,
      headers TEXT,
      body TEXT,
      PRIMARY KEY (caller, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX edge_answer_at ON edge_answer (at);`
  ]
}

/** What tells a repeated request from a new one. */
export interface AnswerKey {
  /** {@link Caller.peer}. */
  readonly caller: string
  /** The client's own, 1 to 128 characters. */
  readonly key: string
  /** Of what is asked for: the same key with another is an error of the client's. */
  readonly digest: string
}

export interface KeptAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Answers that are given again to who asks again (`Idempotency-Key`), for KEPT_ANSWER_MS, across restarts. */
export interface Answers {
  /**
   * Claims a key, or finds the answer that was given to it.
   *
   * @returns undefined when the request is new: then {@link keep} or {@link forget} must follow
   * @throws {MeshError} ALREADY_EXISTS when the key was used for something else; BUSY while the first request runs, or at
   *   MAX_ANSWERS; CONNECTION_LOST when a restart has cut it off; TOO_LARGE when its answer was too large to be kept; IO
   */
  begin(key: AnswerKey): Promise<KeptAnswer | undefined>
  /** @throws {MeshError} IO */
  keep(key: AnswerKey, answer: KeptAnswer): Promise<void>
  /** Nothing was done: the same key may be used again. */
  forget(key: AnswerKey): Promise<void>
}

export function createAnswers(store: Store, clock: () => number): Answers {
  /** Those of this process; what else has no answer was cut off. */
  const running = new Set<string>()
  const nameOf = ({ caller, key }: AnswerKey): string => JSON.stringify([caller, key])

  const find = ({ caller, key, digest }: AnswerKey): KeptAnswer | undefined => {
    const row = store.get('SELECT digest, status, headers, body FROM edge_answer WHERE caller = ? AND key = ?', [
      caller,
      key
    ])
    if (row === undefined) throw new MeshError('BUSY', 'too many requests with an idempotency key are remembered')
    if (row['digest'] !== digest)
      throw new MeshError('ALREADY_EXISTS', 'the idempotency key was used for another request', {
        hint: 'use a new key for each request that is not a repetition'
      })
    if (running.has(nameOf({ caller, key, digest })))
      throw new MeshError('BUSY', 'the first request with this idempotency key is still under way')
    return readAnswer(row)
  }

  return {
    async begin(key) {
      const now = clock()
      const oldest = now - KEPT_ANSWER_MS
      const [, made = 0] = await store.write([
        { sql: 'DELETE FROM edge_answer WHERE at < ?', params: [oldest] },
        {
          sql: `INSERT OR IGNORE INTO edge_answer (caller, key, digest, at)
            SELECT ?1, ?2, ?3, ?4
            WHERE (SELECT count(*) FROM edge_answer WHERE caller = ?1) < ?5 AND (SELECT count(*) FROM edge_answer) < ?6`,
          params: [key.caller, key.key, key.digest, now, MAX_ANSWERS_PER_CALLER, MAX_ANSWERS]
        }
      ])
      if (made === 0) return find(key)
      running.add(nameOf(key))
      return undefined
    },
    async keep(key, { status, headers, body }) {
      const kept = Buffer.byteLength(body) > MAX_KEPT_ANSWER_BYTES ? null : body
      try {
        await store.write([
          {
            sql: 'UPDATE edge_answer SET status = ?, headers = ?, body = ? WHERE caller = ? AND key = ?',
            params: [status, JSON.stringify(headers), kept, key.caller, key.key]
          }
        ])
      } finally {
        running.delete(nameOf(key))
      }
    },
    async forget(key) {
      try {
        await store.write([
          { sql: 'DELETE FROM edge_answer WHERE caller = ? AND key = ?', params: [key.caller, key.key] }
        ])
      } finally {
        running.delete(nameOf(key))
      }
    }
  }
}

function readAnswer({ status, headers, body }: Row): KeptAnswer {
  if (typeof status !== 'number' || typeof headers !== 'string')
    throw new MeshError('CONNECTION_LOST', 'the first request with this idempotency key was cut off by a restart', {
      hint: 'find out whether it was done before asking with a new key'
    })
  if (typeof body !== 'string')
    throw new MeshError('TOO_LARGE', 'the request was done; its answer was too large to be kept')
  return { status, headers: JSON.parse(headers), body }
}
