import { onTestFinished } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import type { Emit, MeshEventName } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import {
  type AgentDefinition,
  type AgentDescription,
  type CapabilityDefinition,
  type CheckSchema,
  createRegistry,
  type Registry,
  type RegistryInit,
  registryMigrations
} from '../../src/registry/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'

export const START = Date.parse('2026-11-23T12:00:00.000Z')

/** Stands in for the schema room: refuses what says `"type": "nonsense"`. */
export const checkSchema: CheckSchema = async (schema) => {
  if (typeof schema === 'object' && schema['type'] === 'nonsense') {
    throw new MeshError('INVALID_SCHEMA', 'nonsense is not a type')
  }
}

export function definition(name: string, changes: Partial<AgentDefinition> = {}): AgentDefinition {
  return { name, driver: 'mcp-stdio', config: { command: 'serve' }, tags: ['files'], audience: 'public', ...changes }
}

export function tool(name: string, changes: Partial<CapabilityDefinition> = {}): CapabilityDefinition {
  return { kind: 'tool', name, version: '1.0.0', ...changes }
}

export function offering(...capabilities: CapabilityDefinition[]): AgentDescription {
  return { version: '1.0.0', capabilities }
}

export interface TestRegistry {
  readonly registry: Registry
  readonly store: Store
  readonly identity: Identity
  readonly events: Array<{ event: MeshEventName; detail: unknown }>
  /** Settable. */
  nowMs: number
}

export interface TestRegistryInit extends RegistryInit {
  readonly path?: string
  readonly identity?: Identity
  readonly nowMs?: number
}

export async function openRegistry(init: TestRegistryInit = {}): Promise<TestRegistry> {
  const { path, identity = createIdentity(), nowMs = START, ...rest } = init
  const store = await openStore({ path, migrations: [registryMigrations] })
  onTestFinished(() => store.close())
  const events: TestRegistry['events'] = []
  const emit: Emit = (event, detail) => void events.push({ event, detail })
  const clock = (): number => opened.nowMs
  const registry = createRegistry({ store, identity, checkSchema, clock, emit }, rest)
  const opened: TestRegistry = { registry, store, identity, events, nowMs }
  return opened
}
