import { z } from 'zod'
import type { FunctionCapability, Handler } from '../agents.ts'
import { MeshError } from '../errors.ts'
import type { MessageHandler } from '../messaging/index.ts'
import { MAX_CAPABILITIES } from '../registry/constants.ts'
import type { AgentDescription, CapabilityDefinition } from '../registry/index.ts'
import { agentRecord, type CapabilityKind, capability } from '../registry/messages.ts'
import type { AgentConnection, Driver, InvokeContext } from './index.ts'
import { parseConfig } from './parse-config.ts'

/** What the `function` driver is configured with: an agent that is functions of this process. */
export interface FunctionAgent {
  readonly description?: string
  /** Semver; default `1.0.0`. */
  readonly version?: string
  readonly capabilities: readonly FunctionCapability[]
  /** Handles durable messages; without it the agent takes none. */
  readonly onMessage?: MessageHandler
}

/** The agent is functions of this process. */
export const functionDriver: Driver = {
  kind: 'function',
  parse: (config) => parseFunctionAgent(config, 'the agent'),
  connect: async (config) => connectFunctions(parseFunctionAgent(config, 'the agent'))
}

/**
 * Checks an agent made of functions and fills in its defaults.
 *
 * @param subject what to call it in the error
 * @throws {MeshError} INVALID_ARGUMENT naming each field that is wrong
 */
export function parseFunctionAgent(value: unknown, subject: string): FunctionAgent {
  const agent = parseConfig(functionAgent, value, subject)
  const { capabilities } = agent
  const ids = capabilities.map(({ kind, name }) => `${kind ?? 'tool'} ${name}`)
  const twice = ids.find((id, index) => ids.indexOf(id) !== index)
  if (twice !== undefined) throw new MeshError('INVALID_ARGUMENT', `${subject} offers the ${twice} twice`)
  return agent as FunctionAgent // Zod writes optional fields as `T | undefined`.
}

export function connectFunctions(agent: FunctionAgent): AgentConnection {
  const version = agent.version ?? '1.0.0'
  const offers = new Map<CapabilityKind, Map<string, Offer>>()
  const capabilities: CapabilityDefinition[] = []
  for (const { handler, ...rest } of agent.capabilities) {
    const streaming = rest.streaming ?? isGeneratorFunction(handler)
    const definition = { version, ...rest, kind: rest.kind ?? 'tool', streaming }
    const named = offers.get(definition.kind) ?? new Map<string, Offer>()
    offers.set(definition.kind, named.set(definition.name, { handler, streaming }))
    capabilities.push(definition)
  }
  const description: AgentDescription = {
    ...(agent.description === undefined ? {} : { description: agent.description }),
    version,
    capabilities
  }
  return {
    describe: async () => description,
    invoke: ({ kind, name }, input, context) => invoke(offers.get(kind)?.get(name), name, input, context),
    ...(agent.onMessage === undefined ? {} : { message: agent.onMessage }),
    health: async () => {},
    close: async () => {}
  }
}

interface Offer {
  readonly handler: Handler
  readonly streaming: boolean
}

const functionAgent = z.object({
  description: agentRecord.shape.description,
  version: agentRecord.shape.version.optional(),
  capabilities: z
    .array(
      capability
        .omit({ digest: true })
        .partial()
        .required({ name: true })
        .extend({ handler: z.custom<Handler>((value) => typeof value === 'function', 'must be a function') })
    )
    .max(MAX_CAPABILITIES),
  onMessage: z.custom<MessageHandler>((value) => typeof value === 'function', 'must be a function').optional()
})

// A plain result costs no promise and no closure: this runs for every call.
function invoke(offer: Offer | undefined, name: string, input: unknown, context: InvokeContext): unknown {
  if (offer === undefined) throw new MeshError('NOT_FOUND', `the agent offers no ${name}`)
  let result: unknown
  try {
    result = offer.handler(input, context)
  } catch (err) {
    fail(err)
  }
  if (typeof result !== 'object' || result === null) return result
  if (offer.streaming) return streamOf(result)
  return isThenable(result) ? result.then(single, fail) : single(result)
}

/** Whatever isn't ours to pass on becomes AGENT_ERROR; its text may be anything, so it stays here. */
function fail(err: unknown): never {
  if (err instanceof MeshError) throw err
  throw new MeshError('AGENT_ERROR', "the agent's handler failed", { cause: err })
}

function single(result: unknown): unknown {
  if (!isStream(result)) return result
  throw new MeshError(
    'AGENT_ERROR',
    "the agent's handler yields items, but its capability doesn't say that it streams",
    {
      hint: 'its owner has to set `streaming: true`'
    }
  )
}

function streamOf(result: object): unknown {
  if (isStream(result)) return items(result)
  return isThenable(result) ? items(awaited(result)) : result
}

async function* awaited(result: PromiseLike<unknown>): AsyncGenerator<unknown> {
  const value = await result
  if (isStream(value)) yield* items(value)
  else yield value
}

// Arrays, strings, maps are values: only what is async, or a generator, streams.
function isStream(value: unknown): value is AsyncIterable<unknown> | Generator<unknown> {
  return typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || tagOf(value) === 'Generator')
}

function isThenable(value: object): value is PromiseLike<unknown> {
  return 'then' in value && typeof value.then === 'function'
}

function items(stream: AsyncIterable<unknown> | Generator<unknown>): AsyncIterableIterator<unknown> {
  const source = Symbol.asyncIterator in stream ? stream[Symbol.asyncIterator]() : stream
  return {
    next: () => step(() => source.next()),
    return: () => step(() => source.return?.(undefined) ?? { done: true, value: undefined }),
    [Symbol.asyncIterator]() {
      return this
    }
  }
}

function step(take: () => Step | Promise<Step>): Promise<Step> {
  try {
    const taken = take()
    return taken instanceof Promise ? taken.catch(fail) : Promise.resolve(taken).catch(fail)
  } catch (err) {
    return Promise.reject(err).catch(fail)
  }
}

type Step = IteratorResult<unknown>

function isGeneratorFunction(handler: Handler): boolean {
  const tag = tagOf(handler)
  return tag === 'GeneratorFunction' || tag === 'AsyncGeneratorFunction'
}

function tagOf(value: object): unknown {
  return Symbol.toStringTag in value ? value[Symbol.toStringTag] : undefined
}
