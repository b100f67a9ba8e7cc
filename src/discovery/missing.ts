import { compileQuery } from '../registry/index.ts'
import type { Query } from '../registry/messages.ts'
import { nameOf } from './cache.ts'
import { MAX_OTHERS } from './constants.ts'
import type { Missing, Pinned } from './index.ts'

/** What was called before and is after all that was found not there. */
export interface Expected {
  /** @param found ids of agents by `<kind> <name>` of what they offer */
  missing(found: ReadonlyMap<string, ReadonlySet<string>>): readonly Missing[]
}

/**
 * What a query should bring, if what was called before still is there.
 *
 * @throws {MeshError} INVALID_ARGUMENT as the query's own
 */
export function expectedOf(query: Query, pinned: () => Iterable<Pinned>): Expected {
  const { hasName } = compileQuery(query)
  const { id, agent, kind, name: _name, ...others } = query
  // What else was asked for it need never have been.
  const isOpen = Object.values(others).every((value) => value === undefined)
  const fits = (pin: Pinned): boolean =>
    (id ?? pin.agent) === pin.agent &&
    (agent ?? nameOf(pin.agent)) === nameOf(pin.agent) &&
    (kind ?? pin.kind) === pin.kind &&
    hasName(pin.name)
  return {
    missing(found) {
      if (!isOpen) return []
      const pins = [...pinned()].filter(fits)
      const known = new Set(pins.map(keyOf))
      return pins.flatMap((pin) => {
        const agents = found.get(`${pin.kind} ${pin.name}`) ?? new Set()
        if (agents.has(pin.agent)) return []
        const { agent: missing, kind: type, name } = pin
        const isNew = (other: string) =>
          nameOf(other) === nameOf(missing) && !known.has(keyOf({ agent: other, kind: type, name }))
        const strangers = [...agents].filter(isNew).slice(0, MAX_OTHERS)
        const reason = strangers.length > 0 ? 'another-key' : 'gone'
        return [{ agent: missing, kind: type, name, reason, others: strangers } satisfies Missing]
      })
    }
  }
}

function keyOf({ agent, kind, name }: Pinned): string {
  return `${agent} ${kind} ${name}`
}
