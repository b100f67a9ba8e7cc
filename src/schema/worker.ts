/*
 * The thread of the pool: compiles a reduced schema, says that it starts, checks. Killed from outside when that takes long.
 */
import { parentPort } from 'node:worker_threads'
import { type CompiledSchema, compileReduced } from './ajv.ts'
import { MAX_WORKER_SCHEMAS } from './constants.ts'
import type { WorkerAnswer, WorkerRequest } from './pool.ts'

const compiled = new Map<string, CompiledSchema>()

parentPort?.on('message', ({ source, value }: WorkerRequest) => {
  const schema = compiled.get(source) ?? compileSource(source)
  answer({ started: true })
  answer({ started: false, outcome: schema.validate(value) })
})

function answer(message: WorkerAnswer): void {
  parentPort?.postMessage(message)
}

function compileSource(source: string): CompiledSchema {
  if (compiled.size >= MAX_WORKER_SCHEMAS) compiled.clear()
  const schema = compileReduced({ ...JSON.parse(source), targets: new Map() }, Number.POSITIVE_INFINITY)
  compiled.set(source, schema)
  return schema
}
