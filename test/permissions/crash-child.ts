// An owner's or an asker's node in a process of its own, told what to do by its parent: `crash-child.ts HOME EFFECTS?`.
// Each call that reaches the agent becomes a line of the file EFFECTS.
import { appendFileSync } from 'node:fs'
import { createNode, type FunctionCapability } from '../../src/index.ts'

const [, , home = '', effects] = process.argv
/** Calls until it dies in the middle of one, right after its effect. */
let callsLeft = Number.POSITIVE_INFINITY
const node = await createNode({ home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })

if (effects !== undefined) {
  const capability = (name: string): FunctionCapability => ({
    name,
    effects: 'write',
    handler(input) {
      appendFileSync(effects, `${name} ${(input as { n: string }).n}\n`)
      callsLeft -= 1
      if (callsLeft === 0) process.kill(process.pid, 'SIGKILL')
    }
  })
  await node.agents.remove('fs').catch(() => {}) // the first start
  const rounds = Array.from({ length: Number(process.env['CRASH_ROUNDS']) }, (_, round) => [
    `few${round}`,
    `limited${round}`
  ])
  await node.agents.add({ name: 'fs', capabilities: ['once', 'keyed', ...rounds.flat()].map(capability) })
}
await node.start()

async function run(path: string, args: unknown[]): Promise<unknown> {
  const [room = '', method] = path.split('.')
  // The parent names what a node has
  const owner = (method === undefined ? node : Reflect.get(node, room)) as object
  return Reflect.get(owner, method ?? room).apply(owner, args)
}

process.on('message', ({ id, path, args }: { id: number; path: string; args: unknown[] }) => {
  if (path === 'dieAfter') callsLeft = Number(args[0])
  const running = path === 'dieAfter' ? Promise.resolve() : run(path, args)
  running.then(
    (result) => process.send?.({ id, result }),
    ({ code, message, data }: { code?: string; message: string; data?: unknown }) =>
      process.send?.({ id, error: { code, message, data } })
  )
})
process.on('disconnect', () => process.exit())
process.send?.({ id: 0, result: { peer: node.id, address: node.addresses[0] } })
