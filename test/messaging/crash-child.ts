// A node that only sends and takes messages, over unix sockets in place of libp2p, so that a start takes a fraction of a second:
// `node crash-child.ts FOLDER NAME PEER FIRST`. NAME has its key and database in FOLDER. With FIRST it sends numbers from
// there on, each line of stdout `acked <n> <id>`, until it is killed; without, it tells `queued <count>` now and then.

import { flushCompileCache } from 'node:module'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ownerCaller } from '../../src/auth/index.ts'
import { MeshError } from '../../src/errors.ts'
import { createEvents } from '../../src/events.ts'
import { loadIdentity } from '../../src/identity/index.ts'
import { createMessaging, type MessageHandler, type Messaging, messagingMigrations } from '../../src/messaging/index.ts'
import { openPolicy } from '../../src/policy/index.ts'
import { dispatch, type Endpoint, type Rpc } from '../../src/rpc/index.ts'
import { openStore } from '../../src/store/index.ts'

const [, , folder = '', name = '', peer = '', first] = process.argv
const identity = await loadIdentity({ path: join(folder, `${name}.key`) })
const store = await openStore({ path: join(folder, `${name}.db`), migrations: [messagingMigrations] })
const policy = await openPolicy({})
await policy.put([{ id: 'all', effect: 'allow', who: '*', act: 'message.send', res: 'agent:*' }])
const { emit, on } = createEvents()

/** Counts how often it handled each number, and notes when one came out of its order. */
const counter: MessageHandler = ({ body, from }, { state }) => {
  const { n } = body as { n: number }
  const handle = (): void => {
    state.set(`count ${from} ${n}`, Number(state.get(`count ${from} ${n}`) ?? 0) + 1)
    const last = Number(state.get(`last ${from}`) ?? 0)
    if (n <= last) state.set(`disorder ${from} ${n}`, last)
    state.set(`last ${from}`, n)
  }
  if (n % 7 !== 0) return handle()
  return new Promise<void>((resolve, reject) => {
    setTimeout(() => {
      if (Math.random() < 0.1) return reject(new Error('not this time'))
      handle()
      resolve()
    }, n % 20)
  })
}

const messaging = createMessaging(
  {
    identity,
    store,
    policy,
    emit,
    on,
    rpc: overSockets(),
    permissions: {
      permit: () => Promise.reject(new MeshError('FORBIDDEN', 'no')),
      expect: () => {}
    },
    trust: {
      of: () => ({ level: 'known' }),
      note: () => {}
    },
    receiver: (agent) => (agent === 'counter' ? counter : agent === 'a' || agent === 'b' ? () => {} : 'unknown'),
    random: () => 0.005
  },
  { tickMs: 5 }
)
await messaging.start()
process.stdout.write('ready\n')
// Whoever is killed keeps nothing of what it has compiled, and would do it all again at each start
flushCompileCache()
if (first !== undefined) for (const from of ['owner', 'a', 'b']) void sendOn(messaging, from, Number(first))
else setInterval(() => process.stdout.write(`queued ${messaging.counts.queued}\n`), 50)

async function sendOn(sender: Messaging, from: string, start: number): Promise<void> {
  const lane = async (offset: number): Promise<void> => {
    for (let n = start + offset; ; n += 1) {
      const { id } = await sender.send({ from, to: `${peer}/counter`, body: { n, pad: 'x'.repeat(200) } })
      process.stdout.write(`acked ${from} ${n} ${id}\n`)
      // As fast as the other side can, no faster
      if (sender.counts.queued > 200) await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await lane(1)
}

function overSockets(): Rpc {
  const path = (id: string): string => join(folder, `${id.slice(-12)}.sock`)
  const serve = (endpoint: Endpoint): void => {
    createServer((socket) => {
      socket.on('error', () => {})
      createInterface({ input: socket })
        .on('error', () => {})
        .on('line', (line) => {
          const { from, body } = JSON.parse(line)
          const caller = { ...ownerCaller(from), trust: 'known' as const, binding: 'noise' as const }
          dispatch(endpoint, { caller }, body).then(
            (answer) => socket.end(`${JSON.stringify({ answer })}\n`),
            () => socket.destroy()
          )
        })
    }).listen(path(identity.id))
  }
  return {
    async handle(endpoint) {
      const { rm } = await import('node:fs/promises')
      await rm(path(identity.id), { force: true })
      serve(endpoint)
    },
    request: (to, _protocol, body) =>
      new Promise((resolve, reject) => {
        const lost = (): void => reject(new MeshError('UNREACHABLE', 'nobody is there'))
        const socket = createConnection(path(to))
        socket.on('error', lost).on('close', lost)
        createInterface({ input: socket })
          .on('error', lost)
          .on('line', (line) => resolve(JSON.parse(line).answer))
        socket.write(`${JSON.stringify({ from: identity.id, body })}\n`)
      })
  } as Rpc
}
