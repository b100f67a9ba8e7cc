import { type Auth, createAuth, createMtls, type Verifier } from '../auth/index.ts'
import type { Events } from '../events.ts'
import type { Home } from '../home.ts'
import type { Identity } from '../identity/index.ts'
import { type ApiKeys, createApiKeys } from '../keys/index.ts'
import type { NodeInit } from '../node.ts'
import { createLogins, createTokens, type Logins, type Tokens } from '../oauth/index.ts'
import { openAuditLog, openPolicy, type Policy } from '../policy/index.ts'
import type { Store } from '../store/index.ts'
import { createTrust, type Trust } from '../trust/index.ts'
import { openVault, type Vault } from '../vault/index.ts'

/** The rooms that say who asks and whether they may, as far as they need no network. */
export interface Guards {
  readonly vault: Vault
  readonly trust: Trust
  readonly policy: Policy
  readonly keys: ApiKeys
  readonly tokens: Tokens
  readonly logins: Logins
  readonly auth: Auth
  /** Those of rooms that are made later are added to it. */
  readonly verifiers: Verifier[]
}

export interface GuardsComponents {
  readonly identity: Identity
  readonly store: Store
  readonly events: Events
  readonly log: (text: string) => void
  /** Told when something that this node presents to a peer comes, changes or goes. */
  readonly onHeldChange: (peer: string) => void
}

export async function openGuards(
  home: Home | undefined,
  init: Pick<NodeInit, 'auth'>,
  { identity, store, events, log, onHeldChange }: GuardsComponents,
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
  const { issuers = [], audience, mtls = {} } = init.auth ?? {}
  const tokens = createTokens({
    identity,
    store,
    issuers,
    onRevoke: (matches) => auth.revoke(matches),
    ...(audience === undefined ? {} : { audience })
  })
  const logins = resources.adopt(
    await createLogins({ identity, store, vault, emit, onChange: onHeldChange }),
    (opened) => opened.stop()
  )
  verifiers.push(keys.verifier, tokens.verifier, await createMtls(mtls))
  trust.onChange((peer) => auth.refresh(peer))
  return { vault, trust, policy, keys, tokens, logins, auth, verifiers }
}
