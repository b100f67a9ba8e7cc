// A node in a process of its own: `node node-child.ts HOME MODULE?`. Prints a JSON line when it is ready; killed from outside.
import { createNode } from '../src/index.ts'

const [, , home = '', file] = process.argv
const node = await createNode({ home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
await node.start()
if (file !== undefined) await node.agents.add({ name: 'worker', driver: 'module', config: { file }, allow: 'any' })
process.stdout.write(`${JSON.stringify({ id: node.id, address: node.addresses[0] })}\n`)
process.stdin.on('data', (line) => {
  // Each line is an agent to call until the end
  node.call(line.toString().trim(), 'forever').catch(() => {})
})
