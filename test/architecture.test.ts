import { globSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

/** Room → rooms whose values it may import, beside its own. `import type` may go anywhere. */
const FOUNDATION = ['errors', 'events', 'wire', 'store', 'schema', 'vault', 'policy', 'identity', 'auth', 'registry']
const TRANSPORT = [...FOUNDATION, 'rpc', 'network']
const SECURITY = ['trust', 'keys', 'oauth', 'pairing', 'grants', 'permissions']
const ROOMS = [
  ...TRANSPORT,
  ...SECURITY,
  'messaging',
  'discovery',
  'drivers',
  'tools',
  'health',
  'blobs',
  'calls',
  'edges'
]
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  version: [],
  home: ['errors'],
  events: [],
  wire: ['errors'],
  store: ['errors'],
  schema: ['errors', 'wire'],
  vault: ['errors', 'store'],
  policy: ['errors'],
  identity: ['errors', 'wire', 'store'],
  auth: ['errors', 'wire', 'identity'],
  registry: ['errors', 'wire', 'store', 'schema', 'policy', 'identity'],
  trust: FOUNDATION,
  keys: FOUNDATION,
  oauth: FOUNDATION,
  rpc: FOUNDATION,
  network: FOUNDATION,
  pairing: TRANSPORT,
  grants: TRANSPORT,
  permissions: TRANSPORT,
  messaging: TRANSPORT,
  discovery: TRANSPORT,
  drivers: TRANSPORT,
  tools: TRANSPORT,
  health: TRANSPORT,
  calls: TRANSPORT,
  blobs: TRANSPORT,
  edges: TRANSPORT,
  config: [...ROOMS, 'home'],
  agents: ROOMS,
  rooms: [...ROOMS, 'home', 'agents', 'version'],
  'mesh-node': [...ROOMS, 'agents', 'rooms', 'version'],
  node: [...ROOMS, 'home', 'config', 'mesh-node', 'rooms'],
  index: [...ROOMS, 'config', 'agents', 'node'],
  gateway: ['errors', 'wire', 'auth', 'registry', 'version', 'index'],
  cli: ['errors', 'home', 'index', 'gateway', 'version', 'policy']
}

const roomOf = (path: string): string => path.split('/')[1]?.replace(/\.ts$/, '') ?? ''
/** May go over several lines, of which the last looks like that of a value. */
const TYPE_LISTS = /^(?:import|export) type \{[^}]*\} from '[^']*'/gm
const VALUE_IMPORT = /^(?!import type|export type).*(?:from|import\() ?'(\.[^']+)'/gm

const importedRooms = (file: string): string[] =>
  [...readFileSync(file, 'utf8').replaceAll(TYPE_LISTS, '').matchAll(VALUE_IMPORT)].map(([, specifier = '']) =>
    roomOf(new URL(specifier, `file:///${file}`).pathname.slice(1))
  )

it.each(globSync('src/**/*.ts'))('%s imports only from the rooms below it', (file) => {
  const room = roomOf(file)
  expect(Object.keys(MAY_IMPORT), 'every room has its row in the table').toContain(room)
  expect([room, ...(MAY_IMPORT[room] ?? [])]).toEqual(expect.arrayContaining(importedRooms(file)))
})

it('recognises an import that points up', () => {
  expect([...`import { createNode } from '../node.ts'`.matchAll(VALUE_IMPORT)]).toHaveLength(1)
  expect([...`import type { Node } from '../node.ts'`.matchAll(VALUE_IMPORT)]).toHaveLength(0)
})
