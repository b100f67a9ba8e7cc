/** A stand-in for a room that is being built. */
export function unfinished<T extends object>(partial: Partial<T>): T {
  return new Proxy(partial as T, {
    get: (target, name) =>
      name === 'then'
        ? undefined
        : (Reflect.get(target, name) ?? (() => Promise.reject(new Error(`${String(name)} is not built`))))
  })
}
