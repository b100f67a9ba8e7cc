import type { Migrations, Row, Statement, Store } from '../store/index.ts'
import { KNOWN_PEERS_DELAY_MS, MAIN_MESH, MAX_KNOWN_ADDRESSES, MAX_KNOWN_PEERS } from './constants.ts'

/** The tables of this room. */
export const networkMigrations: Migrations = {
  room: 'network',
  steps: [
    `CREATE TABLE network_peer (
      peer TEXT PRIMARY KEY,
      addresses TEXT NOT NULL,
      kept INTEGER NOT NULL,
      seen INTEGER NOT NULL
    ) STRICT`,
    `CREATE TABLE network_port (address TEXT PRIMARY KEY, port INTEGER NOT NULL) STRICT`,
    `CREATE TABLE network_mesh (only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL) STRICT`,
    // Before there were names, all was in one mesh
    `INSERT INTO network_mesh SELECT 1, '${MAIN_MESH}'
      WHERE EXISTS (SELECT 1 FROM network_port) OR EXISTS (SELECT 1 FROM network_peer)`
  ]
}

/** A peer to rejoin the mesh by. */
export interface KnownPeer {
  readonly peer: string
  readonly addresses: readonly string[]
  /** The owner asked for it: redialled for ever. */
  readonly kept: boolean
}

/** What the network remembers across restarts. Without a store it remembers until the process ends. */
export interface NetworkMemory {
  peers(): readonly KnownPeer[]
  /** Notes where a peer was reached. Written a little later. */
  see(peer: string, addresses: readonly string[]): void
  /** Notes that the owner wants the peer; resolves when written. */
  keep(peer: string, addresses: readonly string[]): Promise<void>
  /** Forgets where a peer was reached, and that the owner wanted it; resolves when written. */
  forget(peer: string): Promise<void>
  /** The port last used for an address that leaves it open. */
  port(address: string): number | undefined
  rememberPorts(ports: ReadonlyMap<string, number>): Promise<void>
  /** The mesh that all of this belongs to; undefined before the first start. */
  mesh(): string | undefined
  rememberMesh(name: string): Promise<void>
  /** Writes what waits. */
  flush(): Promise<void>
}

const UPSERT = `INSERT INTO network_peer (peer, addresses, kept, seen) VALUES (?, ?, ?, ?)
  ON CONFLICT (peer) DO UPDATE SET addresses = excluded.addresses, kept = max(kept, excluded.kept), seen = excluded.seen`
const TRIM = `DELETE FROM network_peer WHERE peer NOT IN (
  SELECT peer FROM network_peer ORDER BY kept DESC, seen DESC LIMIT ${MAX_KNOWN_PEERS})`

export function createNetworkMemory(store: Store | undefined, clock: () => number): NetworkMemory {
  const pending = new Map<string, Statement>()
  const ports = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined

  const note = (peer: string, addresses: readonly string[], kept: boolean): void => {
    const list = JSON.stringify(addresses.slice(0, MAX_KNOWN_ADDRESSES))
    pending.set(`${peer} ${kept}`, { sql: UPSERT, params: [peer, list, kept ? 1 : 0, clock()] })
  }
  const flush = async (): Promise<void> => {
    clearTimeout(timer)
    timer = undefined
    if (store === undefined || pending.size === 0) return
    const statements = [...pending.values(), { sql: TRIM }]
    pending.clear()
    await store.write(statements)
  }

  return {
    peers: () =>
      store?.all('SELECT peer, addresses, kept FROM network_peer ORDER BY seen DESC').flatMap(readPeer) ?? [],
    see(peer, addresses) {
      if (store === undefined || addresses.length === 0) return
      note(peer, addresses, false)
      // A hint lost to a full disk costs a slower rejoin, nothing else.
      timer ??= setTimeout(() => void flush().catch(() => {}), KNOWN_PEERS_DELAY_MS)
    },
    async keep(peer, addresses) {
      if (store === undefined) return
      note(peer, addresses, true)
      await flush()
    },
    async forget(peer) {
      for (const kept of [true, false]) pending.delete(`${peer} ${kept}`)
      await store?.write([{ sql: 'DELETE FROM network_peer WHERE peer = ?', params: [peer] }])
    },
    port(address) {
      const row = store?.get('SELECT port FROM network_port WHERE address = ?', [address])
      return typeof row?.port === 'number' ? row.port : ports.get(address)
    },
    async rememberPorts(used) {
      for (const [address, port] of used) ports.set(address, port)
      const sql = 'INSERT OR REPLACE INTO network_port (address, port) VALUES (?, ?)'
      await store?.write([...used].map(([address, port]) => ({ sql, params: [address, port] })))
    },
    mesh() {
      const row = store?.get('SELECT name FROM network_mesh')
      return typeof row?.name === 'string' ? row.name : undefined
    },
    async rememberMesh(name) {
      await store?.write([{ sql: 'INSERT OR IGNORE INTO network_mesh VALUES (1, ?)', params: [name] }])
    },
    flush
  }
}

function readPeer({ peer, addresses, kept }: Row): KnownPeer[] {
  if (typeof peer !== 'string' || typeof addresses !== 'string') return []
  return [{ peer, addresses: JSON.parse(addresses) as string[], kept: kept === 1 }]
}
