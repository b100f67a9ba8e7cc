import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import type { Grant } from '../../src/grants/index.ts'
import type { PermissionsInit } from '../../src/permissions/index.ts'
import { ALICE, BOB, fakeGrants, openRoom } from './room.ts'

/** A node that holds grants of others, and what it sends to peers. */
async function holder() {
  const held: Pick<Grant, 'id' | 'chain'>[] = []
  const sent: unknown[] = []
  let failure: MeshError | undefined
  const rpc = {
    handle: async () => {},
    request: async (peer: string, _protocol: unknown, body: unknown) => {
      sent.push([peer, body])
      if (failure !== undefined) throw failure
      return {}
    }
  }
  const grants = { ...fakeGrants(), toPresent: (owner: string) => (owner === ALICE ? (held as Grant[]) : []) }
  const room = await openRoom({ grants, rpc: rpc as unknown as PermissionsInit['rpc'] }) // nothing else of it is used
  room.emit('peer:join', { peer: ALICE, address: '' })
  const fail = (err: MeshError | undefined): void => {
    failure = err
  }
  return { ...room, held, sent, fail }
}

it('who holds nothing presents nothing, without a promise', async () => {
  const { permissions, sent } = await holder()
  expect(permissions.present(ALICE)).toBeUndefined()
  expect(permissions.present(BOB)).toBeUndefined()
  expect(sent).toEqual([])
})

it('a held grant is presented once on each connection', async () => {
  const { permissions, held, sent, emit } = await holder()
  held.push({ id: 'a', chain: ['1', '2'] })
  const first = permissions.present(ALICE)
  expect(permissions.present(ALICE), 'a call in the meantime waits for the same').toBe(first)
  await first
  expect(permissions.present(ALICE)).toBeUndefined()
  expect(sent).toEqual([[ALICE, { op: 'present', chain: ['1', '2'] }]])
  held.push({ id: 'b', chain: ['1', '3'] })
  await permissions.present(ALICE)
  expect(sent).toHaveLength(2)
  emit('peer:leave', { peer: ALICE })
  emit('peer:join', { peer: ALICE, address: '' })
  await permissions.present(ALICE)
  expect(sent).toHaveLength(4)
})

it.each([
  { code: 'UNAUTHENTICATED', times: 1 },
  { code: 'BUSY', times: 2 }
] as const)(
  'a grant that is refused with $code fails no call, and is presented $times times',
  async ({ code, times }) => {
    const { permissions, held, sent, fail } = await holder()
    held.push({ id: 'a', chain: ['1', '2'] })
    fail(new MeshError(code, 'no'))
    await permissions.present(ALICE)
    fail(undefined)
    await permissions.present(ALICE)
    expect(sent).toHaveLength(times)
  }
)
