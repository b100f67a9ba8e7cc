import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { createRandom, type Random } from '../../scripts/sim/random.ts'
import type { MessageHandler } from '../../src/messaging/index.ts'
import type { CollectAnswer } from '../../src/messaging/mailbox/messages.ts'
import { appoint, type MailRoom, meet, openMailRoom } from './mailbox-room.ts'
import { joined, Mesh, soon } from './room.ts'

const SEED = Number(process.env['MESH_MAILBOX_SEED'] ?? Date.now() % 1_000_000)
const ROUNDS = 25

/** Keeps what it was sent, durably: what a crash undoes has not been handled. */
const noter: MessageHandler = ({ body }, { state }) => {
  const seen = (state.get('seen') ?? []) as unknown[] // only this handler writes it
  state.set('seen', [...seen, body])
}

/** A mailbox that lies in every way it can: it has all that was ever deposited, and no key. */
function lying(mesh: Mesh, mailbox: string, random: Random): { deposits: number; collects: number } {
  const seen: string[] = []
  const counts = { deposits: 0, collects: 0 }
  const changed = (items: CollectAnswer['items']): CollectAnswer['items'] => {
    const texts = items.map(({ sealed }) => sealed).filter(() => random.next() > 0.2)
    if (random.next() < 0.3) texts.reverse()
    if (seen.length > 0 && random.next() < 0.5)
      texts.splice(random.below(texts.length + 1), 0, random.pick(seen), random.pick(seen))
    if (random.next() < 0.2) texts.splice(random.below(texts.length + 1), 0, 'a.b.c.d.e')
    if (texts[0] !== undefined && random.next() < 0.2) texts[0] = `${texts[0].slice(0, -2)}AA`
    const first = (items[0]?.id ?? 1) + random.below(3)
    return texts.map((sealed, index) => ({ id: first + index, sealed }))
  }
  mesh.meddle = async (_from, to, body, answer) => {
    const request = body as { op: string; sealed?: string }
    if (to !== mailbox) return answer()
    if (request.op === 'deposit') {
      seen.push(request.sealed ?? '')
      counts.deposits += 1
      return random.next() < 0.2 ? {} : answer()
    }
    if (request.op === 'collected' && random.next() < 0.3) return {}
    if (request.op === 'statement' && random.next() < 0.3) return {}
    const given = await answer()
    if (request.op !== 'collect') return given
    counts.collects += 1
    return { items: changed((given as CollectAnswer).items) }
  }
  return counts
}

const totals = { deposits: 0, collects: 0 }
it.each([SEED, SEED + 1, SEED + 2])(
  'loses nothing and handles all once, in order, whatever a mailbox does, seed %i',
  { timeout: 60_000 },
  async (seed) => {
    const random = createRandom(seed)
    const mesh = new Mesh()
    const [ann, mel] = [await openMailRoom(mesh), await openMailRoom(mesh)]
    let bob = await openMailRoom(mesh)
    await appoint(mel, bob)
    await ann.mailboxes.learn(bob.id, mel.id)
    bob.handlers.set('keeper', noter)
    const counts = lying(mesh, mel.id, random)

    const again = async (room: MailRoom): Promise<MailRoom> => {
      await room.crash()
      return openMailRoom(mesh, room)
    }
    const sent: number[] = []
    const ids: string[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      for (let left = random.below(4); left > 0; left -= 1) {
        sent.push(sent.length)
        ids.push((await ann.messaging.send({ to: `${bob.id}/keeper`, body: sent.length - 1 })).id)
      }
      // Ann and bob meet seldom
      mesh.cut.clear()
      if (random.next() < 0.9) mesh.cut.add(random.pick([ann.id, bob.id]))
      if (random.next() < 0.15) bob = await again(bob)
      for (const [one, other] of [
        [ann, mel],
        [bob, mel],
        [ann, bob]
      ] as const)
        if (mesh.isConnected(one.id, other.id)) meet(one, other)
      // What has begun gets anywhere between nowhere and the end
      await sleep(random.below(80))
    }
    mesh.cut.clear()
    joined(bob, mel.id)
    meet(ann, bob)
    for (const id of ids) await ann.messaging.waitFor(id, { signal: soon() })
    const noted = bob.store.get("SELECT value FROM message_state WHERE agent = 'keeper' AND key = 'seen'")
    expect(JSON.parse(String(noted?.['value']))).toEqual(sent)
    totals.deposits += counts.deposits
    totals.collects += counts.collects
    expect(bob.messaging.deadLetters()).toEqual([])
  }
)

// In one of the rounds everything may happen to go past it
it('had the mailbox lie in some of these rounds', () => {
  expect(Math.min(totals.deposits, totals.collects)).toBeGreaterThan(0)
})
