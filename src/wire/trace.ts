/** https://www.w3.org/TR/trace-context/#traceparent-header: version, trace id, parent id, flags; ids of nothing but zeros are none. */
export const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** The `traceparent` that a value is; undefined when it is none, as the standard has whoever receives it go on. */
export function readTraceparent(value: unknown): string | undefined {
  return typeof value === 'string' && TRACEPARENT.test(value) ? value : undefined
}
