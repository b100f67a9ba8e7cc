import { randomBytes } from 'node:crypto'
import { refused } from '../auth/index.ts'
import { MeshError, throwIfAborted } from '../errors.ts'
import { DIAL_TIMEOUT_MS, JOIN_TIMEOUT_MS, MAX_PAIRS, PAIR } from './constants.ts'
import { fingerprintFor, type PairingContext, seal } from './inviting.ts'
import { answerMac, inviteMac, isSame, rootOf } from './macs.ts'
import { type InviteBody, type RedeemTerms, redeemAnswer } from './messages.ts'
import { type PairRow, savePair } from './rows.ts'
import { readStatement } from './statements.ts'

/** Redeems an invite and writes the pair; what was done before by the same invite is not done again. */
export async function joinBy(
  context: PairingContext,
  invite: InviteBody,
  options: { signal?: AbortSignal | undefined }
): Promise<PairRow> {
  const { identity, ledger, store, vault } = context
  if (invite.peer === identity.id) throw new MeshError('INVALID_ARGUMENT', "that is this node's own invite")
  const known = ledger.live.get(invite.peer)
  if (known?.invite === invite.id) return known
  if (ledger.live.size >= MAX_PAIRS && known === undefined)
    throw new MeshError('BUSY', `the node has ${MAX_PAIRS} pairs already`, { hint: 'end some with pryx-mesh unpair' })
  const deadline = AbortSignal.timeout(JOIN_TIMEOUT_MS)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
  await reach(context, invite, signal)
  const { name, pairedAt, statement } = await redeem(context, invite, signal)
  // By the inviter's clock, so its times are not judged here
  if (statement !== undefined) await readStatement(statement, { about: identity.id, by: invite.peer })
  const secret = Buffer.from(invite.secret, 'base64url')
  const pair: PairRow = {
    peer: invite.peer,
    invite: invite.id,
    name,
    // How far the inviter trusts this node is its own affair; an invite asks nothing of who accepts it
    level: 'known',
    pairedAt: Date.parse(pairedAt),
    fingerprint: fingerprintFor(invite.peer, invite.id, secret),
    sealed: await seal(vault, rootOf(secret, invite.peer, identity.id)),
    statement,
    settled: false
  }
  await store.write([savePair(pair)])
  ledger.admit(pair)
  return pair
}

/** Dials the addresses in turn; one that another node answers at is none of them. */
async function reach({ network }: PairingContext, invite: InviteBody, signal: AbortSignal): Promise<void> {
  const { peer, addresses } = invite
  // Last by its id alone: it may be known from the local network
  const targets = [...addresses.map((address) => `${address}/p2p/${peer}`), peer]
  const failures: unknown[] = []
  for (const target of targets) {
    try {
      await network.connect(target, { signal: AbortSignal.any([signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)]) })
      return
    } catch (err) {
      throwIfAborted(signal)
      if (err instanceof MeshError && err.code === 'FORBIDDEN') throw err
      failures.push(err)
    }
  }
  throw new MeshError('UNREACHABLE', `the inviting node ${peer} cannot be reached`, {
    hint: 'is it running, and on a network that this node can reach?',
    cause: new AggregateError(failures)
  })
}

async function redeem(
  { identity, rpc, name }: PairingContext,
  invite: InviteBody,
  signal: AbortSignal
): Promise<RedeemTerms> {
  const secret = Buffer.from(invite.secret, 'base64url')
  const nonce = randomBytes(16).toString('base64url')
  const redemption = { inviter: invite.peer, invitee: identity.id, nonce }
  const request = { op: 'redeem', invite: invite.id, nonce, mac: inviteMac(secret, redemption), name }
  const answer = await ask(rpc, invite.peer, request, signal)
  const { success, data } = redeemAnswer.safeParse(answer)
  if (!success) throw new MeshError('INVALID_MESSAGE', 'the inviting node answered with something else')
  // Over all that was said, members of a later version too; the schema has seen that it is an object
  const { mac, ...terms } = answer as RedeemTerms & { mac: string }
  if (!isSame(mac, answerMac(secret, redemption, terms)))
    throw refused('signature', 'the inviting node does not know the secret of its invite')
  return data
}

async function ask(rpc: PairingContext['rpc'], peer: string, body: unknown, signal: AbortSignal): Promise<unknown> {
  try {
    return await rpc.request(peer, PAIR, body, { signal })
  } catch (err) {
    if (!(err instanceof MeshError) || err.code !== 'UNAUTHENTICATED') throw err
    throw new MeshError('UNAUTHENTICATED', `the inviting node refuses the invite: ${err.message}`, {
      hint: 'ask for a new invite; if nobody of yours has used this one, say so',
      data: err.data,
      cause: err
    })
  }
}
