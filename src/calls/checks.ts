import { MeshError } from '../errors.ts'
import type { Capability } from '../registry/messages.ts'
import { isAsyncIterable } from '../rpc/index.ts'
import { compileSchema, type Outcome, type ValidationPool, type Validator } from '../schema/index.ts'
import { readItems } from './items.ts'

/** What a call's input and output are checked by. */
export interface Checks {
  readonly input?: Validator
  readonly output?: Validator
  /** Then `output` describes each item. */
  readonly streaming: boolean
}

/** For a capability whose record this node may not see. */
export const NO_CHECKS: Checks = { streaming: false }

/** Compiles the schemas of capabilities, once for each. @throws {MeshError} INVALID_SCHEMA, by rejecting */
export function createChecks(pool: ValidationPool): (capability: Capability) => Promise<Checks> {
  const compiled = new WeakMap<Capability, Promise<Checks>>()
  return (capability) => {
    const known = compiled.get(capability)
    if (known !== undefined) return known
    const checks = compile(capability, pool)
    compiled.set(capability, checks)
    return checks
  }
}

async function compile({ input, output, streaming }: Capability, pool: ValidationPool): Promise<Checks> {
  return {
    streaming,
    ...(input === undefined ? {} : { input: await compileSchema(input, pool) }),
    ...(output === undefined ? {} : { output: await compileSchema(output, pool) })
  }
}

/** @returns a promise only when the schema has to be checked apart @throws {MeshError} INVALID_INPUT */
export function checkInput({ input }: Checks, value: unknown): Promise<void> | undefined {
  const outcome = input?.validate(value)
  if (outcome instanceof Promise) return outcome.then((late) => refuse('INVALID_INPUT', late))
  refuse('INVALID_INPUT', outcome)
  return undefined
}

/** Passes on a value or a promise of one if it fits, and an iterable's items as far as they do. @throws {MeshError} INVALID_OUTPUT */
export function checkOutput(checks: Checks, result: unknown): unknown {
  if (result instanceof Promise) return result.then((value) => checkOutput(checks, value))
  if (isAsyncIterable(result)) return checkItems(checks, result)
  if (checks.streaming) return checkItems(checks, toStream(result))
  const pending = itemCheck(checks)?.(result)
  return pending === undefined ? result : pending.then(() => result)
}

/** What each item, or the one value, has to pass; undefined when everything does. */
export function itemCheck({ output }: Checks): ((item: unknown) => void | Promise<void>) | undefined {
  if (output === undefined) return undefined
  return (item) => {
    const outcome = output.validate(item)
    if (outcome instanceof Promise) return outcome.then((late) => refuse('INVALID_OUTPUT', late))
    refuse('INVALID_OUTPUT', outcome)
  }
}

function checkItems(checks: Checks, items: AsyncIterable<unknown>): AsyncIterable<unknown> {
  const check = itemCheck(checks)
  return check === undefined ? items : readItems(() => ({ iterator: items[Symbol.asyncIterator](), check }))
}

export async function* toStream(item: unknown): AsyncGenerator<unknown> {
  yield item
}

function refuse(code: 'INVALID_INPUT' | 'INVALID_OUTPUT', failures: Outcome): void {
  if (failures === undefined) return
  const [first] = failures
  const what = first === undefined ? '' : `: ${first.path === '' ? '' : `${first.path} `}${first.message}`
  throw new MeshError(code, `the ${code === 'INVALID_INPUT' ? 'input' : 'output'} doesn't fit its schema${what}`, {
    hint:
      code === 'INVALID_INPUT'
        ? 'see the input schema with: pryx-mesh agents show AGENT'
        : 'the agent has a defect: tell its owner',
    data: { failures }
  })
}
