/** NATS request/reply through a broker: nats-server, where it is installed. */

import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import type { NatsConnection } from '@nats-io/transport-node'
import { connect, createInbox } from '@nats-io/transport-node'
import { leash } from '../children.ts'
import { nthItem } from '../payload.ts'
import type { System } from '../system.ts'
import { Skip } from '../system.ts'

const START_MS = 5_000

export const system: System = {
  async serve() {
    const port = await freePort()
    const broker = await leash([findBroker(), '--addr', '127.0.0.1', '--port', String(port), '--log', '/dev/null'])
    broker.stdout.resume()
    const nats = await connectPatiently(port)
    nats.subscribe('echo', {
      callback: (err, msg) => {
        if (err === null || err === undefined) msg.respond(JSON.stringify(msg.json()))
      }
    })
    nats.subscribe('items', {
      callback: (_err, msg) => {
        const { count } = msg.json<{ count: number }>()
        for (let i = 0; i < count; i++) msg.respond(JSON.stringify(nthItem(i)))
      }
    })
    await nats.flush()
    return {
      contact: { port },
      pids: [broker.pid],
      close: async () => {
        await nats.close()
        await broker.stop()
      }
    }
  },

  async connect({ port }) {
    const nats = await connectPatiently(Number(port))
    return {
      call: async (message) => (await nats.request('echo', JSON.stringify(message), { timeout: 5_000 })).json(),
      stream: (count, onItem) => {
        const reply = createInbox()
        return new Promise((resolve, reject) => {
          let left = count
          const subscription = nats.subscribe(reply, {
            callback: (err, msg) => {
              try {
                if (err !== null && err !== undefined) throw err
                onItem(msg.json())
                if (--left > 0) return
                resolve()
              } catch (failure) {
                reject(failure as Error)
              }
              subscription.unsubscribe()
            }
          })
          nats.publish('items', JSON.stringify({ count }), { reply })
        })
      },
      close: () => nats.close()
    }
  }
}

function findBroker(): string {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  for (const folder of folders) {
    try {
      const file = join(folder, 'nats-server')
      accessSync(file, constants.X_OK)
      return file
    } catch {
      // not here: the next folder may have it
    }
  }
  throw new Skip('nats-server is not installed (Debian: apt-get install nats-server)')
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

async function connectPatiently(port: number): Promise<NatsConnection> {
  const until = performance.now() + START_MS
  for (;;) {
    try {
      return await connect({ servers: `127.0.0.1:${port}` })
    } catch (err) {
      // the broker isn't listening yet
      if (performance.now() > until) throw err
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
