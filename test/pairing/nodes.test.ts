import { join } from 'node:path'
import { expect, it } from 'vitest'
import { createNode, type Node } from '../../src/index.ts'
import { readToken, writeToken } from '../../src/pairing/token.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

async function addAgent(node: Node, allow?: 'any' | string[]): Promise<string> {
  await node.agents.add({
    name: 'files',
    ...(allow === undefined ? {} : { allow }),
    capabilities: [{ name: 'list', handler: () => 'listed' }]
  })
  return `${node.id}/files`
}

it('two nodes pair over their network, stay connected, and show each other the secret', async () => {
  const [ann, bob] = [await startNode({ name: 'ann' }), await startNode({ name: 'bob' })]
  const { token, fingerprint } = await ann.pairing.invite({ level: 'trusted' })
  const paired = nextEvent(ann, 'peer:paired')
  expect(await bob.pairing.join(token)).toMatchObject({ peer: ann.id, alias: 'ann', level: 'known', fingerprint })
  expect(await paired).toEqual({ peer: bob.id, name: 'bob', level: 'trusted' })
  expect(ann.pairing.pairs()).toMatchObject([{ peer: bob.id, alias: 'bob', level: 'trusted', fingerprint }])
  expect(bob.peers().map(({ peer }) => peer)).toEqual([ann.id])

  const presented = nextEvent(ann, 'credential:presented', ({ method }) => method === 'shared-secret')
  const agent = await addAgent(ann, 'any')
  expect(await bob.call(agent, 'list')).toBe('listed')
  expect(await presented).toEqual({ peer: bob.id, method: 'shared-secret', subject: bob.id })
})

it("a node of the owner's may do all, and a third node knows it by a rule for that owner", async () => {
  const [ann, bob, third] = [await startNode({ name: 'ann' }), await startNode({ name: 'bob' }), await startNode()]
  const [atAnn, atThird] = [await addAgent(ann), await addAgent(third)]
  await third.policy.put([{ id: 'ours', who: `owner:${ann.did}`, act: '*', res: '*', effect: 'allow' }])
  await bob.connect(addressOf(third))
  expect(await failureOf(bob.call(atThird, 'list'))).toMatchObject({ code: 'FORBIDDEN' })
  await bob.pairing.join((await ann.pairing.invite({ level: 'owner' })).token)
  expect(await bob.call(atAnn, 'list')).toBe('listed')
  expect(await bob.call(atThird, 'list')).toBe('listed')
  await ann.pairing.unpair('bob')
  expect(await failureOf(bob.call(atAnn, 'list'))).toMatchObject({ code: 'FORBIDDEN' })
})

it('an invite outlives a restart of the node that made it', async () => {
  const home = join(await tempFolder(), 'home')
  const init = { home, name: 'ann', listen: ['/ip4/127.0.0.1/tcp/0'], lan: false }
  const before = await createNode(init)
  await before.start()
  const { token, fingerprint } = await before.pairing.invite()
  await before.stop()
  const [ann, bob] = [await startNode(init), await startNode({ name: 'bob' })]
  expect(await bob.pairing.join(token)).toMatchObject({ peer: ann.id, fingerprint })
  expect(ann.pairing.pairs()).toMatchObject([{ peer: bob.id, fingerprint }])
})

it('dead addresses in an invite, and those of other nodes, are passed over', async () => {
  const [ann, bob, other] = [await startNode({ name: 'ann' }), await startNode(), await startNode()]
  const { token } = await ann.pairing.invite()
  const body = readToken(token)
  const others = addressOf(other).replace(/\/p2p\/.*/, '')
  const wrong = ['/ip4/127.0.0.1/tcp/1', '/dns4/nowhere.invalid/tcp/4001', '/no/such/thing', others]
  const patched = writeToken({ ...body, addresses: [...wrong, ...body.addresses] })
  expect(await bob.pairing.join(patched)).toMatchObject({ peer: ann.id })
  expect(other.pairing.pairs()).toEqual([])
  const [fresh, { token: second }] = [await startNode(), await ann.pairing.invite()]
  const dead = writeToken({ ...readToken(second), addresses: wrong })
  expect(await failureOf(fresh.pairing.join(dead))).toMatchObject({ code: 'UNREACHABLE' })
})

it('an invite of a node that is blocked here is not used', async () => {
  const [ann, bob] = [await startNode(), await startNode()]
  await bob.trust.set(ann.id, { level: 'blocked' })
  const { token } = await ann.pairing.invite()
  expect(await failureOf(bob.pairing.join(token))).toMatchObject({ code: 'FORBIDDEN' })
  await bob.trust.set(ann.id, { level: 'unknown' })
  expect(await bob.pairing.join(token)).toMatchObject({ peer: ann.id, level: 'known' })
})
