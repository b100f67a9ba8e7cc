import type { Home } from '../home.ts'
import { createMailboxes, createMessaging, type Mailboxes, type Messaging } from '../messaging/index.ts'
import { createBallast } from '../store/index.ts'
import type { Rooms } from './index.ts'

/** What carries messages, and keeps them for those who are away. */
export interface Post {
  readonly messaging: Messaging
  readonly mailboxes: Mailboxes
}

type PostComponents = Pick<
  Rooms,
  | 'blobs'
  | 'events'
  | 'health'
  | 'host'
  | 'identity'
  | 'log'
  | 'network'
  | 'permissions'
  | 'policy'
  | 'presenter'
  | 'rpc'
  | 'store'
  | 'trust'
  | 'vault'
>

/** Opens what carries messages. */
export async function openPost(
  home: Home | undefined,
  rooms: PostComponents,
  resources: AsyncDisposableStack
): Promise<Post> {
  const { identity, events, store, log, vault, policy, permissions, trust, rpc, network, host } = rooms
  const { health, presenter, blobs } = rooms
  const { emit, on } = events
  const ballast = home && resources.adopt(await createBallast(home.path, { path: home.ballast }), (laid) => laid.stop())
  let opened: Mailboxes | undefined
  const messaging = createMessaging({
    identity,
    store,
    rpc,
    policy,
    permissions,
    blobs,
    trust,
    emit,
    on,
    log,
    // What comes for an agent that sleeps waits until it is awake
    receiver: (agent) => (health.asleepUntil(agent) === undefined ? host.receiver(agent) : 'down'),
    onMet: (peer) => opened?.met(peer),
    carryReceipts: async (peer, jws) => (await opened?.carryReceipts(peer, jws)) ?? false,
    prepare(peer) {
      const credentials = presenter.ready(peer)
      const grants = permissions.present(peer)
      return credentials === undefined && grants === undefined ? undefined : Promise.allSettled([credentials, grants])
    },
    ...(ballast && {
      refusal: () => ballast.refusal(),
      onDiskError: () => void ballast.release()
    })
  })
  resources.defer(() => messaging.stop())
  const mailboxes = await createMailboxes({
    identity,
    store,
    vault,
    rpc,
    network,
    policy,
    trust,
    messaging,
    emit,
    on,
    ...(ballast && { refusal: () => ballast.refusal() })
  })
  opened = mailboxes
  resources.defer(() => mailboxes.stop())
  trust.onChange((peer, now, before) => {
    if (now.level !== 'blocked' || before.level === 'blocked') return
    void Promise.all([messaging.dropPeer(peer), mailboxes.dropPeer(peer)]).catch(() => {
      // As for the rest of what a blocked peer has: policy lets nothing of it pass
    })
  })
  return { messaging, mailboxes }
}
