/** SECURITY: a schema beyond these is refused; the largest of the reference MCP servers measured 3 KiB and 40 subschemas. */
export const MAX_SCHEMA_BYTES = 64 * 1024
/** Nesting of arrays and objects in the schema's JSON; Ajv overflows its stack at about 1,000. */
export const MAX_SCHEMA_DEPTH = 32
export const MAX_SUBSCHEMAS = 1_000

/** Told to whoever sent the value: the first few, each cut. */
export const MAX_FAILURES = 5
export const MAX_FAILURE_LENGTH = 256

/**
 * What a check may cost on this thread, in steps of about 2 ns: for any value, and for each byte of its JSON. So a message
 * of 1 MiB holds the node up for about 0.1 s at worst. A schema that may cost more is checked in a worker.
 */
export const MAX_STEPS = 50_000
export const MAX_STEPS_PER_BYTE = 50

/**
 * A pattern's automaton beyond this size is run in a worker only. RE2 is linear in the text, but every character costs up
 * to 50 ns per state when its cache of states is no use, as for `(a|b)*a(a|b){16}`.
 */
export const MAX_PATTERN_STATES = 300

/**
 * What matching patterns and comparing whole values may cost in one check on this thread: characters × states, and a flat
 * rate for each value compared. 0.3 ms as a rule, 12 ms at worst; a value that costs more is checked in a worker.
 */
export const MAX_COUNTED_STEPS = 250_000
/** Charged for each text beside its length: starting a match costs about as much as eight characters. */
export const PATTERN_START_CHARACTERS = 8
/** Charged for each value made comparable, which takes 0.1 to 0.3 µs. */
export const STEPS_PER_VALUE = 20

/** Enumerations longer than this are looked up, not compared one by one. */
export const MAX_COMPARED_VALUES = 16

/** Threads for schemas that can't be bounded; a kill and a new thread take about 0.1 s, so one more keeps others served. */
export const MAX_WORKERS = 2
export const WORKER_TIMEOUT_MS = 100
/** For loading the thread and compiling the schema. */
export const WORKER_START_MS = 10_000
export const WORKER_HEAP_MB = 64
/** Checks waiting for a thread; the next one fails with BUSY. */
export const MAX_WAITING = 64
/** Compiled schemas a thread keeps. */
export const MAX_WORKER_SCHEMAS = 64
