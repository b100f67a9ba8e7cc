import { type CredentialSource, createPresenter, type Hello, STREAM_RESUME } from '../auth/index.ts'
import { createGrants } from '../grants/index.ts'
import type { NodeInit } from '../node.ts'
import type { Tokens } from '../oauth/index.ts'
import { createPairing, type Pairing } from '../pairing/index.ts'
import { createPermissions } from '../permissions/index.ts'
import type { Capability, SignedRecord } from '../registry/messages.ts'
import { createPins, diffDefinitions } from '../tools/index.ts'
import { VERSION } from '../version.ts'
import type { Guards } from './guards.ts'
import type { Base, Rooms } from './index.ts'
import type { Mesh } from './mesh.ts'
import { acceptedMethods, spokenVersions } from './spoken.ts'

/** What peers and this node show, ask and grant each other. */
export type Access = Pick<Rooms, 'pairing' | 'grants' | 'permissions' | 'pins' | 'presenter' | 'describe'>

export async function openAccess(
  init: NodeInit & { readonly name: string },
  rooms: Base & Guards & Mesh,
  resources: AsyncDisposableStack
): Promise<Access> {
  const { identity, events, store, log, auth, vault, verifiers, network, rpc, registry, tokens } = rooms
  const { emit } = events
  const { name, approver, approverCommand } = init
  const onUnpair = (peer: string): void =>
    auth.revoke(({ method, subject }) => method === 'shared-secret' && subject === peer)
  const { trust, policy } = rooms
  const pairing = resources.adopt(
    await createPairing({ identity, store, vault, network, rpc, trust, emit, name, onUnpair }),
    (opened) => opened.stop()
  )
  verifiers.push(pairing.verifier, pairing.ownerVerifier)
  const grants = await createGrants({ identity, store, emit, isBlocked: (peer) => trust.of(peer).level === 'blocked' })
  const permissions = resources.adopt(
    await createPermissions({
      identity,
      store,
      policy,
      grants,
      trust,
      rpc,
      emit,
      log,
      on: events.on,
      diff: diffDefinitions,
      capabilityOf: (agent, capability, kind) => capabilityOf(registry.record(agent), capability, kind),
      tagsOf: (agent) => registry.record(agent)?.record.tags ?? [],
      ...(approver === undefined ? {} : { approver }),
      ...(approverCommand === undefined ? {} : { approverCommand })
    }),
    (opened) => opened.stop()
  )
  const pins = await createPins({ store, emit })
  const describe = createDescription(name, tokens)
  const presenter = createPresenter({
    rpc,
    describe,
    sources: credentialSources(rooms, pairing),
    onHello: (peer, hello) => network.setName(peer, hello.name),
    emit
  })
  // A new pair has a secret to show, and perhaps a statement that is for everybody
  events.on('peer:paired', () => {
    for (const { peer } of network.peers()) presenter.changed(peer)
  })
  resources.defer(() => presenter.stop())
  return { pairing, grants, permissions, pins, presenter, describe }
}

function createDescription(name: string, tokens: Tokens): () => Hello {
  return () => ({
    name,
    version: VERSION,
    time: new Date().toISOString(),
    protocols: spokenVersions(),
    auth: acceptedMethods(tokens),
    features: [STREAM_RESUME],
    ...(tokens.metadata.issuers.length === 0
      ? {}
      : { oauth: { ...tokens.metadata, issuers: [...tokens.metadata.issuers] } })
  })
}

function capabilityOf(signed: SignedRecord | undefined, name: string, kind?: string): Capability | undefined {
  return signed?.record.capabilities.find((each) => each.name === name && (kind === undefined || each.kind === kind))
}

function credentialSources({ keys, logins }: Guards, pairing: Pairing): CredentialSource[] {
  return [
    {
      holdsFor: (peer) => keys.holdsFor(peer),
      toPresent: async (peer) => ({ credentials: await keys.toPresent(peer) })
    },
    {
      holdsFor: (peer) => logins.holdsFor(peer),
      toPresent: async (peer, { oauth }, options) =>
        oauth === undefined ? { credentials: [] } : logins.toPresent(peer, oauth.resource, options)
    },
    {
      holdsFor: (peer) => pairing.isPaired(peer),
      toPresent: async (peer, { time }) => {
        const proof = await pairing.prove(peer, { at: Date.parse(time) })
        return { credentials: proof === undefined ? [] : [proof] }
      }
    },
    {
      holdsFor: () => pairing.ownerStatements().length > 0,
      toPresent: async () => ({ credentials: pairing.ownerStatements() })
    }
  ]
}
