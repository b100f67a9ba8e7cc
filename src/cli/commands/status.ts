import type { NodeStatus } from '../../index.ts'
import { note, print, printFields, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const status: Verb = {
  usage: 'status',
  summary: 'show who this node is, where it listens and what it knows',
  examples: ['status', 'status --json'],
  async run({ client, json }) {
    const node = await client.ask<NodeStatus>('GET', '/v1/status')
    if (json) {
      print(toJson(node))
      return
    }
    printFields([
      ['id', node.peerId],
      ['did', node.did],
      ['name', node.name],
      ['home', node.home],
      ['version', node.version],
      ['started', node.startedAt],
      ['addresses', node.addresses],
      ['mesh', node.mesh],
      ['LAN', node.lan],
      ['peers', `${node.peers} connected, ${node.routingTable} in the routing table`],
      ['agents', String(node.agents)],
      ['records', `${node.records} of other nodes`],
      ['finding', findingOf(node)],
      ['holding', `${node.held.entries} hints for others, under ${node.held.keys} keys`],
      [
        'policy',
        [
          `${node.policy.rules} rules`,
          ...(node.policy.problem === undefined ? [] : [`not the file's: ${node.policy.problem}`])
        ]
      ],
      ['approvals', node.pendingApprovals > 0 ? `${node.pendingApprovals} wait for your answer` : undefined],
      ['messages', messagesOf(node.messages)],
      ['refused', refusals(node.refused)]
    ])
    if (node.pendingApprovals > 0) note(`what you are asked: ${programName()} approvals list`)
  }
}

function findingOf({ discovery, dht }: NodeStatus): string {
  const { catalogue, nodes, finds, walkedFinds, missed } = discovery
  return [
    `catalogue ${catalogue}`,
    ...(nodes === undefined ? [] : [`about ${nodes} nodes`]),
    `${finds} finds, ${walkedFinds} of them through the DHT`,
    ...(dht.crowded > 0 ? [`${dht.crowded} walks ended in a crowded place`] : []),
    ...(missed > 0 ? [`${missed} called before not found`] : [])
  ].join(', ')
}

function messagesOf({ unread, queued, deadLetters }: NodeStatus['messages']): string | undefined {
  const counts = [
    ...(unread > 0 ? [`${unread} unread`] : []),
    ...(queued > 0 ? [`${queued} on their way`] : []),
    ...(deadLetters > 0 ? [`${deadLetters} that agents could not handle`] : [])
  ]
  return counts.length === 0 ? undefined : counts.join(', ')
}

function refusals(refused: NodeStatus['refused']): string {
  const counts = Object.entries(refused).filter(([, times]) => times > 0)
  return counts.length === 0 ? 'nothing' : counts.map(([reason, times]) => `${times} ${reason}`).join(', ')
}
