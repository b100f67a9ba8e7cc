import type { Session } from '../auth/index.ts'
import type { Events } from '../events.ts'

/** The connections that open requests came by: an answer may be good for one of them alone. */
export interface Sessions {
  set(id: string, peer: string, session: Session): void
  /** Undefined once the peer is gone. */
  get(id: string): Session | undefined
  drop(id: string): void
  stop(): void
}

export function createSessions(on: Events['on'] | undefined): Sessions {
  const byId = new Map<string, { readonly peer: string; readonly session: Session }>()
  const off = on?.('peer:leave', ({ peer }) => {
    for (const [id, each] of byId) if (each.peer === peer) byId.delete(id)
  })
  return {
    set: (id, peer, session) => void byId.set(id, { peer, session }),
    get: (id) => byId.get(id)?.session,
    drop: (id) => void byId.delete(id),
    stop: () => off?.()
  }
}
