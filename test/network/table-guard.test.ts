import { expect, it } from 'vitest'
import { MAX_TABLE_PEERS_PER_SUBNET } from '../../src/network/constants.ts'
import { removeEntry, tableEntries } from '../../src/network/kad.ts'
import { TableGuard } from '../../src/network/table-guard.ts'
import { join, type KadTestNode, startKadNode } from './kad-nodes.ts'
import { until } from './nodes.ts'

const FLOOD = MAX_TABLE_PEERS_PER_SUBNET + 4

it('a subnet has no more than a bucket of the routing table; whoever leaves it makes room, and others are let in', {
  timeout: 30_000
}, async () => {
  const node = await startKadNode()
  const addresses = new Map<string, string>()
  const guard = new TableGuard(node.kad, (peer) => addresses.get(peer))
  const come = async (address: string): Promise<KadTestNode> => {
    const other = await startKadNode()
    addresses.set(other.id, address)
    await join(other, node)
    return other
  }
  const isIn = ({ id }: KadTestNode) => tableEntries(node.kad).some((entry) => entry.id === id)

  const flood: KadTestNode[] = []
  for (let i = 0; i < FLOOD; i++) flood.push(await come(`/ip4/203.0.113.${i + 1}/tcp/4001`))
  await until(() => guard.turnedAway === FLOOD - MAX_TABLE_PEERS_PER_SUBNET)
  await until(() => flood.filter(isIn).length === MAX_TABLE_PEERS_PER_SUBNET)

  const far = await come('/ip4/198.51.100.7/tcp/4001')
  const lan = await Promise.all([1, 2, 3].map((i) => come(`/ip4/192.168.1.${i}/tcp/4001`)))
  await until(() => [far, ...lan].every(isIn))

  const leaving = flood.find(isIn)
  if (leaving === undefined) throw new Error('nobody of the flood is in')
  await removeEntry(node.kad, leaving.id)
  const next = await come('/ip4/203.0.113.200/tcp/4001')
  await until(() => isIn(next))
  expect(guard.turnedAway).toBe(FLOOD - MAX_TABLE_PEERS_PER_SUBNET)
  guard.stop()
})
