import { setTimeout as sleep } from 'node:timers/promises'
import type { Capability, Query, SignedRecord } from '../registry/messages.ts'
import { keyOf, peerOf } from './cache.ts'
import { type Changes, createChanges } from './changes.ts'
import { TRUSTED_MS, WATCH_FIND_MS } from './constants.ts'
import { find } from './find.ts'
import type { FindComponents } from './find-components.ts'
import type { Change, FindSource, Found } from './index.ts'
import { capabilityMatch } from './match.ts'
import { queryTopics } from './names.ts'
import type { Topics } from './topics.ts'

export interface WatchComponents extends FindComponents {
  readonly topics: Topics
}

/**
 * Yields what matches now as `added`, then what changes.
 *
 * Only names of agents wait for a slow reader, each once; what it is told is the difference to what it was told before.
 */
export async function* watch(components: WatchComponents, query: Query, signal: AbortSignal): AsyncGenerator<Change> {
  const { cache, local, now, peers, topics } = components
  const match = capabilityMatch(query)
  const leaving = new AbortController()
  const ended = AbortSignal.any([signal, components.stopping, leaving.signal])
  const changes = createChanges<FindSource>()
  const shown = new Map<string, ReadonlyMap<string, Found>>()
  const stop = [
    cache.onChange(({ agent, source }) => changes.note(agent, source)),
    local.onChange(({ agent }) => changes.note(agent, 'cache')),
    topics.watch(queryTopics(query)),
    peers.follow(),
    () => leaving.abort()
  ]
  try {
    for (const { record } of local.all()) changes.note(record.id, 'cache')
    for (const { record } of cache.candidates(query)) {
      const { id } = record
      if (peers.isConnected(peerOf(id)) || now() - (cache.verifiedAt(id) ?? 0) < TRUSTED_MS) changes.note(id, 'cache')
    }
    void keepLooking(components, query, { ended, changes })
    for await (const [agent, source] of changes.until(ended)) {
      const verifiedAt = new Date(cache.verifiedAt(agent) ?? now()).toISOString()
      const after = foundIn(local.get(agent) ?? cache.get(agent), { source, verifiedAt }, match)
      yield* difference(shown.get(agent) ?? new Map(), after)
      if (after.size > 0) shown.set(agent, after)
      else shown.delete(agent)
    }
  } finally {
    for (const undo of stop) undo()
  }
}

interface Looking {
  readonly ended: AbortSignal
  readonly changes: Changes<FindSource>
}

/** Finds again and again what no hint and no peer tells of. Never rejects: the query has been checked, and a find doesn't fail. */
async function keepLooking(components: FindComponents, query: Query, { ended, changes }: Looking): Promise<void> {
  while (!ended.aborted) {
    const found = find(components, { ...query, signal: ended })
    for await (const { agent, source } of found) changes.note(agent, source)
    // Rejects when the watch ends, which is as good as waking up.
    await sleep(WATCH_FIND_MS, undefined, { signal: ended }).catch(() => {})
  }
}

function foundIn(
  signed: SignedRecord | undefined,
  told: Pick<Found, 'source' | 'verifiedAt'>,
  match: (record: SignedRecord['record']) => readonly Capability[]
): Map<string, Found> {
  if (signed === undefined) return new Map()
  const { id: agent, seq, expiresAt } = signed.record
  return new Map(
    match(signed.record).map((capability) => [
      keyOf(capability),
      { agent, peer: peerOf(agent), capability, record: { seq, expiresAt }, ...told }
    ])
  )
}

/** What to tell who was told `before`; a mere renewal is nothing. */
function* difference(before: ReadonlyMap<string, Found>, after: ReadonlyMap<string, Found>): Generator<Change> {
  for (const [key, found] of after) {
    const was = before.get(key)
    if (was?.capability.digest === found.capability.digest) continue
    yield { ...found, change: was === undefined ? 'added' : 'changed' }
  }
  for (const [key, found] of before) if (!after.has(key)) yield { ...found, change: 'gone' }
}
