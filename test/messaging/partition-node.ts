// A node that counts messages, driven by lines: `node partition-node.ts HOME ADDRESS`. Lines of stdin are JSON: `{connect}`, or
// `{to, first, count}` to send numbers; each line of stdout is JSON too: what it has sent, and now and then how it stands.
import { createInterface } from 'node:readline'
import { createNode, type MessageHandler } from '../../src/index.ts'

const [, , home = '', address = ''] = process.argv
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)
const node = await createNode({ home, lan: false, listen: [address] })
let handled = 0
const wrong: unknown[] = []

/** Notes what comes twice or out of order. */
const onMessage: MessageHandler = ({ body, from }, { state }) => {
  const n = Number(body)
  const last = Number(state.get(from) ?? 0)
  if (n !== last + 1) wrong.push([from, last, n])
  state.set(from, n)
  handled += 1
}
await node.start()
await node.agents.add({ name: 'counter', onMessage })
await node.policy.put([{ id: 'all', effect: 'allow', who: '*', act: 'message.send', res: 'agent:counter' }])
say({ id: node.id })
setInterval(
  () => say({ handled, wrong, queued: node.status().messages.queued, connections: node.status().connections }),
  100
)

interface Command {
  readonly connect?: string
  readonly to?: string
  readonly first?: number
  readonly count?: number
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { connect, to = '', first = 0, count = 0 }: Command = JSON.parse(line)
  if (connect !== undefined) {
    node.connect(connect, { signal: AbortSignal.timeout(30_000) }).then(
      (peer) => say({ connected: peer }),
      (err: unknown) => say({ failed: String(err) })
    )
    return
  }
  const bodies = Array.from({ length: count }, (_, index) => first + index)
  Promise.all(bodies.map((body) => node.send(`${to}/counter`, body))).then(
    () => say({ sent: first + count - 1 }),
    (err: unknown) => say({ failed: String(err) })
  )
})
