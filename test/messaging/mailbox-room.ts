import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { MeshError } from '../../src/errors.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createMailboxes, type Mailboxes } from '../../src/messaging/index.ts'
import { openVault } from '../../src/vault/index.ts'
import { tempFolder } from '../temp.ts'
import { joined, type Mesh, openRoom, type Room } from './room.ts'

export interface MailRoom extends Room {
  readonly mailboxes: Mailboxes
  readonly folder: string
}

export interface MailRoomInit {
  readonly identity?: Identity
  /** Where an earlier one was. */
  readonly folder?: string
  readonly clock?: () => number
  /** Its agents. */
  readonly handlers?: Room['handlers']
  readonly refusal?: () => MeshError | undefined
  /** Where others are. */
  readonly addresses?: () => readonly string[]
}

/** A node that speaks `message` and `mailbox`, on disk, hurried. */
export async function openMailRoom(mesh: Mesh, init: MailRoomInit = {}): Promise<MailRoom> {
  const {
    identity = createIdentity(),
    folder = await tempFolder(),
    clock = Date.now,
    addresses = () => ['/ip4/127.0.0.1/tcp/4001']
  } = init
  let mailboxes: Mailboxes | undefined
  const room = await openRoom(mesh, {
    identity,
    clock,
    ...(init.refusal && { refusal: init.refusal }),
    ...(init.handlers && { handlers: init.handlers }),
    path: join(folder, 'mesh.db'),
    more: {
      random: () => 0.005,
      onMet: (peer) => mailboxes?.met(peer),
      carryReceipts: async (peer, receipts) => (await mailboxes?.carryReceipts(peer, receipts)) ?? false
    }
  })
  const { messaging, store, policy, events } = room
  mailboxes = await createMailboxes(
    {
      identity,
      store,
      policy,
      messaging,
      clock,
      random: () => 0.005,
      vault: await openVault({ path: join(folder, 'secrets.key') }),
      rpc: mesh.rpcOf(identity.id),
      network: {
        addressesOf: addresses,
        connect: async (peer) => peer,
        isConnected: (peer) => mesh.isConnected(identity.id, peer),
        learn: async () => {},
        peers: () =>
          mesh.peers
            .filter((peer) => peer !== identity.id)
            .map((peer) => ({ peer, address: '', direction: 'inbound', connectedAt: '' }))
      },
      trust: { of: () => ({ level: 'known' }) },
      ...(init.refusal && { refusal: init.refusal }),
      emit: events.emit,
      on: events.on
    },
    { tickMs: 10, gatherMs: 20 }
  )
  const opened = mailboxes
  onTestFinished(() => opened.stop())
  await opened.start()
  return {
    ...room,
    mailboxes: opened,
    folder,
    crash() {
      opened.stop()
      return room.crash()
    }
  }
}

/** Both ends of a connection that has come up. */
export function meet(one: Room, other: Room): void {
  joined(one, other.id)
  joined(other, one.id)
}

/** The mailbox serves the recipient, which uses it, and everybody may leave messages there. */
export async function appoint(mailbox: MailRoom, recipient: MailRoom): Promise<void> {
  await mailbox.mailboxes.serve(recipient.id, { from: '*' })
  await recipient.mailboxes.use(mailbox.id)
}

/** Waits until as many messages for the recipient lie in the mailbox. */
export function deposited(sender: Room, messages: number): Promise<void> {
  return expect
    .poll(
      () =>
        sender.told.reduce(
          (sum, { event, detail }) =>
            event === 'mailbox:deposited' ? sum + (detail as { messages: number }).messages : sum,
          0
        ),
      { timeout: 20_000 }
    )
    .toBe(messages)
}

export function kept({ store }: Room): number {
  return Number(store.get('SELECT count(*) AS count FROM mailbox_item')?.['count'])
}
