import { refused } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import { MAX_PROOF_ID_LENGTH, MAX_PROOFS, MAX_PROOFS_PER_KEY, PROOF_WINDOW_MS } from './constants.ts'

/** Remembers proofs that were accepted, for as long as their time alone would let them be accepted again. */
export interface Replays {
  /**
   * Takes a proof, once. To be called when all else about it is good, so that only who holds a key can fill its place.
   *
   * @param key whose it is
   * @param id unique among the proofs of the key
   * @param at when it says that it was made, milliseconds since 1970
   * @throws {MeshError} UNAUTHENTICATED when it was taken before, or is from before this edge: then nobody remembers; BUSY when
   *   the key has too many
   */
  take(key: string, id: string, at: number): void
}

/** Two generations: the younger takes what is new, the older is dropped whole when its last proof is too old. */
export function createReplays(now: () => number, maxProofs = MAX_PROOFS): Replays {
  // Proofs have times in seconds
  const opened = Math.floor(now() / 1_000) * 1_000
  let young = new Map<string, Set<string>>()
  let old: ReadonlyMap<string, ReadonlySet<string>> = new Map()
  let turned = now()
  let size = 0
  let oldSize = 0

  const turn = (): void => {
    // A proof may be from as far ahead as it may be from behind
    if (Math.abs(now() - turned) < 2 * PROOF_WINDOW_MS) return
    old = young
    oldSize = size
    young = new Map()
    size = 0
    turned = now()
  }

  return {
    take(key, id, at) {
      if (id === '' || id.length > MAX_PROOF_ID_LENGTH)
        throw refused('malformed', `the id of a proof has 1 to ${MAX_PROOF_ID_LENGTH} characters`)
      if (at < opened) throw refused('expired', 'the proof is older than this edge of the node')
      turn()
      const used = young.get(key) ?? new Set<string>()
      if (used.has(id) || old.get(key)?.has(id) === true) throw refused('replayed', 'the proof has been used before')
      if (used.size >= MAX_PROOFS_PER_KEY || size + oldSize >= maxProofs)
        throw new MeshError('BUSY', 'more proofs than can be remembered', { hint: 'come back in two minutes' })
      young.set(key, used.add(id))
      size += 1
    }
  }
}
