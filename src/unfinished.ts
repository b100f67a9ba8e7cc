/** A stand-in for a room that is being built. */
export function unfinished<T extends object>(partial: Partial<T>): T {
  return partial as T
}
