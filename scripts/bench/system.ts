/** A system that is measured: something that serves an echo in one process and calls it from another. */
import type { Message } from './payload.ts'

export const SYSTEM_NAMES = [
  'pryx-mesh',
  'pryx-mesh-rest',
  'libp2p',
  'libp2p-tuned',
  'a2a',
  'mcp-http',
  'nats',
  'http'
] as const
export type SystemName = (typeof SYSTEM_NAMES)[number]

/** How the client reaches the server; what it holds is between the two halves of a system. */
export type Contact = Readonly<Record<string, string | number>>

interface Server {
  readonly contact: Contact
  /** Processes beside this one that do part of the work; their CPU counts. */
  readonly pids?: readonly number[]
  close(): Promise<void>
}

export interface Client {
  call(message: Message): Promise<unknown>
  /** One stream of `count` items, each handed over as it comes; absent where the system doesn't stream. */
  readonly stream?: (count: number, onItem: (item: unknown) => void) => Promise<void>
  close(): Promise<void>
}

export interface System {
  /** Items of one stream, when 1,000 would measure something else. */
  readonly itemsPerStream?: number
  /** @param folder empty, this side's own, removed after the run */
  serve(folder: string): Promise<Server>
  connect(contact: Contact, folder: string): Promise<Client>
}

/** This system can't be measured here, for a reason to be printed; not a failure. */
export class Skip extends Error {
  override readonly name = 'Skip'
}

/** Loaded where they run, and only there: each brings a world of its own. */
const LOADERS: Readonly<Record<SystemName, () => Promise<{ readonly system: System }>>> = {
  'pryx-mesh': () => import('./systems/pryx-mesh.ts'),
  'pryx-mesh-rest': () => import('./systems/pryx-mesh-rest.ts'),
  libp2p: () => import('./systems/libp2p.ts'),
  'libp2p-tuned': () => import('./systems/libp2p-tuned.ts'),
  a2a: () => import('./systems/a2a.ts'),
  'mcp-http': () => import('./systems/mcp-http.ts'),
  nats: () => import('./systems/nats.ts'),
  http: () => import('./systems/http.ts')
}

export async function loadSystem(name: SystemName): Promise<System> {
  return (await LOADERS[name]()).system
}
