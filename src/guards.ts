import { type Auth, createAuth, type Verifier } from './auth/index.ts'
import type { Events } from './events.ts'
import type { Home } from './home.ts'
import { type ApiKeys, createApiKeys } from './keys/index.ts'
import { openAuditLog, openPolicy, type Policy } from './policy/index.ts'
import type { Store } from './store/index.ts'
import { createTrust, type Trust } from './trust/index.ts'
import { openVault, type Vault } from './vault/index.ts'

/** The rooms that say who asks and whether they may, as far as they need no network. */
export interface Guards {
  readonly vault: Vault
  readonly trust: Trust
  readonly policy: Policy
  readonly keys: ApiKeys
  readonly auth: Auth
}

export interface GuardsComponents {
  readonly store: Store
  readonly events: Events
  readonly log: (text: string) => void
  /** Told when a key that this node presents to a peer comes or goes. */
  readonly onHeldChange: (peer: string) => void
}

export async function openGuards(
  home: Home | undefined,
  { store, events, log, onHeldChange }: GuardsComponents,
  resources: AsyncDisposableStack
): Promise<Guards> {
  const { emit } = events
  const audit = resources.adopt(
    await openAuditLog({ ...(home && { path: home.audit }), onError: ({ message }) => log(message) }),
    (opened) => opened.close()
  )
  const vault = await openVault(home && { path: home.secretsKey })
  const trust = resources.adopt(await createTrust({ store, emit }), (opened) => opened.stop())
  const policy = resources.adopt(
    await openPolicy({
      ...(home && { path: home.policy }),
      store,
      audit,
      onReload(problem) {
        if (problem !== undefined) log(`${problem.message}; the rules before stay in force`)
        emit('policy:reloaded', { rules: policy.document.rules.length, ...(problem && { problem: problem.message }) })
      },
      onLimit: (caller) => trust.note(caller.peer, 'limit:breached')
    }),
    (opened) => opened.stop()
  )
  const verifiers: Verifier[] = []
  const auth = createAuth({ standingOf: (peer) => trust.of(peer), verifiers })
  const keys = createApiKeys({
    store,
    vault,
    onHeldChange,
    onRevoke: (_id, matches) => auth.revoke(matches)
  })
  verifiers.push(keys.verifier)
  trust.onChange((peer) => auth.refresh(peer))
  return { vault, trust, policy, keys, auth }
}
