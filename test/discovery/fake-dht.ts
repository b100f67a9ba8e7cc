import { randomBytes } from 'node:crypto'
import { MeshError } from '../../src/errors.ts'
import { createHolder } from '../../src/network/holder.ts'
import type { Dht } from '../../src/network/index.ts'
import type { WalkSummary } from '../../src/network/walk.ts'
import type { TestNode } from './mesh.ts'
import { orAborted } from './or-aborted.ts'

/** A walk asks every node there is, one after the other. */
export function fakeDht(node: TestNode): Dht {
  const { mesh, id } = node
  return {
    walk({ ask, maxMessages, onStep, signal, width }) {
      const summary = Promise.withResolvers<WalkSummary>()
      async function* answers() {
        const closest: string[] = []
        let messages = 0
        const left = (mesh.holders ?? [...mesh.nodes.keys()]).filter((peer) => peer !== id)
        try {
          for (const peer of left) {
            if (signal.aborted || messages >= maxMessages) break
            messages++
            try {
              const { value, closer } = await orAborted(ask(peer, { signal }), signal)
              closest.push(peer)
              onStep?.({ peer, path: 0, ms: 1, outcome: 'answered', closer: closer.length })
              yield { peer, ms: 1, value }
            } catch (err) {
              onStep?.({ peer, path: 0, ms: 1, outcome: outcomeOf(err), closer: 0 })
            }
          }
        } finally {
          const complete = await mesh.walk(signal).catch(() => false)
          const isWhole = complete && messages === left.length && !signal.aborted
          const { crowded } = mesh
          summary.resolve({ complete: isWhole, messages, closest: closest.slice(0, width), crowded })
        }
      }
      mesh.walks.push({ from: id, maxMessages, width })
      return { [Symbol.asyncIterator]: answers, summary: summary.promise }
    },
    closest: () => [],
    async askProviders(peer, key) {
      const named = mesh.named?.(peer) ?? [...(mesh.providers.get(key.toString()) ?? [])]
      return { closer: [], providers: named.filter((provider) => provider !== id) }
    },
    async addProvider(_, key) {
      const text = key.toString()
      mesh.providers.set(text, (mesh.providers.get(text) ?? new Set()).add(id))
    },
    askCloser: () => Promise.resolve([]),
    holder: createHolder({ now: () => mesh.nowMs, random: Math.random, salt: randomBytes(32) }),
    get size() {
      return mesh.size
    },
    status: () => {
      throw new Error('not used by discovery')
    }
  }
}

function outcomeOf(err: unknown): 'timeout' | 'unreachable' | 'invalid' {
  const { code } = MeshError.from(err)
  return code === 'TIMEOUT' ? 'timeout' : code === 'UNREACHABLE' ? 'unreachable' : 'invalid'
}
