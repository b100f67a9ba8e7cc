import type { Session } from '../auth/index.ts'
import type { Entry } from './entries.ts'

/** Sessions that have ended are looked for when this many are known. */
const SWEEP_AT = 1_024

/** Grants that last as long as a connection: those bound to it, and chains that were presented on it. */
export class SessionGrants {
  readonly #entries = new WeakMap<Session, Entry[]>()
  /** To list what there is; holds no session back. */
  #known = new Set<WeakRef<Session>>()

  of(session: Session): readonly Entry[] {
    return this.#entries.get(session) ?? []
  }

  /** Adds one; a chain that was presented before is replaced. */
  add(session: Session, entry: Entry): void {
    const others = this.of(session).filter(({ leaf }) => entry.isSession || leaf.hash !== entry.leaf.hash)
    if (!this.#entries.has(session)) this.#know(session)
    this.#entries.set(session, [...others, entry])
  }

  /** Makes room: drops those that are not wanted any more. */
  keepOnly(session: Session, isWanted: (entry: Entry) => boolean): void {
    const entries = this.#entries.get(session)
    if (entries !== undefined) this.#entries.set(session, entries.filter(isWanted))
  }

  /** Of all sessions that there still are. */
  all(): Entry[] {
    return [...this.#known].flatMap((ref) => {
      const session = ref.deref()
      return session === undefined ? [] : this.of(session)
    })
  }

  #know(session: Session): void {
    if (this.#known.size >= SWEEP_AT) {
      this.#known = new Set([...this.#known].filter((ref) => ref.deref() !== undefined))
    }
    this.#known.add(new WeakRef(session))
  }
}
