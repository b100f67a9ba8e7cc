// A network alone, driven by lines: what happens goes to stdout as JSON, commands come from stdin.
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Connection } from '@libp2p/interface'
import type { Emit } from '../../src/events.ts'
import { loadIdentity } from '../../src/identity/index.ts'
import { createNetwork, networkMigrations } from '../../src/network/index.ts'
import { openStore } from '../../src/store/index.ts'

const LOOK = '/pryx-mesh/look/1.0.0'
const [home = '.', mesh] = process.argv.slice(2)
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)

const identity = await loadIdentity({ path: join(home, 'identity.key') })
const store = await openStore({ path: join(home, 'mesh.db'), migrations: [networkMigrations] })
const emit: Emit = (event, detail) => say({ event, ...detail })
const network = createNetwork({ identity, store, emit }, mesh === undefined ? {} : { mesh })
const held: Connection[] = []
await network.handle(LOOK, () => {})
await network.start()
say({ event: 'ready', id: identity.id, ...network.status() })

const COMMANDS: Record<string, () => Promise<object>> = {
  status: async () => network.status(),
  peers: async () => ({ peers: network.peers().map(({ peer }) => peer) }),
  /** Notes the connections there are, to break them when the link is down: opening a stream would hang then. */
  hold: async () => {
    for (const { peer } of network.peers()) {
      const { stream, connection } = await network.openStream(peer, [LOOK], { signal: AbortSignal.timeout(5_000) })
      stream.abort(new Error('only looking'))
      held.push(connection)
    }
    return { held: held.length }
  },
  /** What a heartbeat does when nobody answers any more. */
  break: async () => {
    for (const connection of held.splice(0)) connection.abort(new Error('no heartbeat'))
    return {}
  },
  stop: async () => {
    lines.close()
    process.stdin.destroy()
    await network.stop()
    await store.close()
    return {}
  }
}
const lines = createInterface({ input: process.stdin })
lines.on('line', (command) => {
  void (async () =>
    say({
      event: 'answer',
      command,
      ...(await COMMANDS[command]?.().catch((err: Error) => ({ error: String(err), cause: String(err.cause) })))
    }))()
})
