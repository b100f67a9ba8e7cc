import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Policy } from '../policy/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import type { Endpoint, Protocol } from '../rpc/index.ts'
import { MAX_MESSAGE_BYTES } from '../wire/constants.ts'
import { createChanges } from './changes.ts'
import {
  CANDIDATE_TIMEOUT_MS,
  MAX_PAGE_BYTES,
  MAX_PAGE_RECORDS,
  MAX_SNAPSHOT_HINTS,
  RECORDS_PROTOCOL
} from './constants.ts'
import type { LocalRecords } from './local.ts'
import { recordMatches } from './match.ts'
import { type Hint, type HintsAnswer, type QueryAnswer, recordsRequest, type WatchItem } from './messages.ts'

export const recordsProtocol: Protocol = {
  id: RECORDS_PROTOCOL,
  maxFrameBytes: MAX_MESSAGE_BYTES,
  timeoutMs: CANDIDATE_TIMEOUT_MS,
  // One watch, a sync, and as many finds at once.
  maxInFlight: 32
}

export interface RecordsComponents {
  readonly local: LocalRecords
  readonly policy?: Policy
  /** What this node may tell others of third parties. */
  readonly hints: () => Iterable<Hint>
  /** A peer has other records for this node than before, of which no topic tells. */
  readonly onChanged: (peer: string) => void
}

/** Gives away this node's own records, to whom each may be shown, and hints of others'. */
export function createRecordsEndpoint(components: RecordsComponents): Endpoint {
  return {
    protocol: recordsProtocol,
    handle(body, { caller, signal }) {
      const parsed = recordsRequest.safeParse(body)
      if (!parsed.success) throw new MeshError('INVALID_MESSAGE', 'not a records request')
      const request = parsed.data
      if (caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'this peer is blocked')
      switch (request.op) {
        case 'query':
          return answerQuery(components, caller, request)
        case 'watch':
          return answerWatch(components, { caller, query: request.query, signal })
        case 'hints':
          return answerHints(components, request.limit ?? MAX_SNAPSHOT_HINTS)
        case 'changed':
          components.onChanged(caller.peer)
          return {}
      }
    }
  }
}

function answerQuery(
  components: RecordsComponents,
  caller: Caller,
  {
    query,
    limit = MAX_PAGE_RECORDS,
    cursor = ''
  }: { query: Query; limit?: number | undefined; cursor?: string | undefined }
): QueryAnswer {
  const matches = recordMatches(query)
  const rest = [...components.local.all()]
    .filter(({ record }) => record.name > cursor && matches(record))
    .sort((a, b) => (a.record.name < b.record.name ? -1 : 1))
  // Policy is asked for one page and one more: each page of many would ask for all of them
  const visible = rest
    .values()
    .filter(({ record }) => maySee(components, caller, record))
    .take(limit + 1)
    .toArray()
  const page = firstPage(visible, limit)
  const last = page.at(-1)
  const more = page.length < visible.length
  return { records: page.map(({ jws }) => jws), more, ...(more && last && { cursor: last.record.name }) }
}

async function* answerWatch(
  components: RecordsComponents,
  { caller, query, signal }: { caller: Caller; query: Query; signal: AbortSignal }
): AsyncIterable<WatchItem> {
  const matchesQuery = recordMatches(query)
  const matches = ({ record }: SignedRecord) => matchesQuery(record) && maySee(components, caller, record)
  const changes = createChanges<undefined>()
  const stopListening = components.local.onChange(({ agent }) => changes.note(agent, undefined))
  const shown = new Map<string, number>()
  try {
    let rest = [...components.local.all()].filter(matches)
    do {
      const page = firstPage(rest, MAX_PAGE_RECORDS)
      rest = rest.slice(page.length)
      for (const { record } of page) shown.set(record.id, record.seq)
      yield { records: page.map(({ jws }) => jws), more: rest.length > 0 }
    } while (rest.length > 0)

    for await (const [agent] of changes.until(signal)) {
      const now = components.local.get(agent)
      const seq = shown.get(agent)
      if (now !== undefined && now.record.seq !== seq && matches(now)) {
        shown.set(agent, now.record.seq)
        yield { changed: now.jws }
      } else if (seq !== undefined && now?.record.seq !== seq) {
        shown.delete(agent)
        yield { withdrawn: agent, seq }
      }
    }
  } finally {
    stopListening()
  }
}

function answerHints({ hints }: RecordsComponents, limit: number): HintsAnswer {
  const chosen: Hint[] = []
  for (const hint of hints()) {
    if (chosen.length >= limit) break
    chosen.push(hint)
  }
  return { hints: chosen }
}

/** As many as fit one answer, at least one: a record is smaller than a frame. */
function firstPage(records: readonly SignedRecord[], limit: number): readonly SignedRecord[] {
  let bytes = 0
  const fits = ({ jws }: SignedRecord) => (bytes += jws.length + 3) <= MAX_PAGE_BYTES
  const end = records.slice(0, limit).findIndex((record) => !fits(record))
  return records.slice(0, end === -1 ? limit : end)
}

function maySee({ policy }: RecordsComponents, caller: Caller, { audience, name }: SignedRecord['record']): boolean {
  if (audience !== 'public' && caller.trust === 'unknown') return false
  return (
    policy === undefined ||
    policy.decide({ caller, action: 'record.read', resource: `agent:${name}` }).effect === 'allow'
  )
}
