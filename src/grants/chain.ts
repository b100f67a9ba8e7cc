import { createHash } from 'node:crypto'
import { refused } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { compileGlob } from '../policy/index.ts'
import { didFromKey, keyFromDid, keyFromPeerId, peerIdFromKey, verifyJws } from '../wire/index.ts'
import { GRANT_TYPE, MAX_CHAIN, MAX_CLOCK_SKEW_MS, MAX_GRANT_BYTES } from './constants.ts'
import type { GrantTerms } from './index.ts'
import { type GrantPayload, grantPayload } from './messages.ts'

/** One link of a chain as it was read: well signed, and nothing else is judged yet. */
export interface GrantLink extends Omit<GrantTerms, 'depth'> {
  /** The compact JWS. */
  readonly text: string
  /** base64url SHA-256 of the text. */
  readonly hash: string
  readonly id: string
  /** PeerIds. */
  readonly issuer: string
  readonly holder: string
  readonly owner: string
  readonly depth: number
  /** Milliseconds since 1970. */
  readonly issuedAt: number
  readonly notBefore?: number
  /** Hash of the link that it was narrowed from. */
  readonly parent?: string
}

/** The owner's grant first; at least one link. */
export type GrantChain = readonly [GrantLink, ...GrantLink[]]

/**
 * Reads a chain and checks the signature of each link.
 *
 * @param texts compact JWS each; never trusts their shape
 * @throws {MeshError} UNAUTHENTICATED with the reason `malformed` or `signature`
 */
export async function readGrantChain(texts: readonly unknown[]): Promise<GrantChain> {
  if (texts.length > MAX_CHAIN) throw refused('malformed', `a chain of grants has at most ${MAX_CHAIN} links`)
  const [first, ...others] = await Promise.all(texts.map(readLink))
  if (first === undefined) throw refused('malformed', 'a chain of grants has at least one link')
  return [first, ...others]
}

async function readLink(text: unknown): Promise<GrantLink> {
  if (typeof text !== 'string') throw refused('malformed', 'a grant is text')
  const { did, payload } = await verified(text)
  const parsed = grantPayload.safeParse(payload)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw refused('malformed', `not a grant: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`)
  }
  if (parsed.data.iss !== did) throw refused('signature', 'a grant is not signed by its issuer')
  return linkOf(text, parsed.data)
}

async function verified(text: string): Promise<{ did: string; payload: unknown }> {
  try {
    return await verifyJws(text, { type: GRANT_TYPE, maxBytes: MAX_GRANT_BYTES })
  } catch (err) {
    const { code, message } = MeshError.from(err)
    throw refused(code === 'INVALID_RECORD' ? 'signature' : 'malformed', `not a grant: ${message}`, err)
  }
}

function linkOf(text: string, payload: GrantPayload): GrantLink {
  const { jti, iss, aud, sub, act, res, iat, nbf, exp, uses, dep, input, digest, prf } = payload
  return {
    text,
    hash: hashOf(text),
    id: jti,
    act,
    res,
    depth: dep,
    issuer: peerOf(iss),
    holder: peerOf(aud),
    owner: peerOf(sub),
    issuedAt: msOf(iat),
    ...(nbf === undefined ? {} : { notBefore: msOf(nbf) }),
    ...(exp === undefined ? {} : { expiresAt: msOf(exp) }),
    ...(uses === undefined ? {} : { uses }),
    ...(input === undefined ? {} : { input }),
    ...(digest === undefined ? {} : { digest }),
    ...(prf === undefined ? {} : { parent: prf })
  }
}

/** A link that this node has kept: what it says was checked when it came. */
function keptLink(text: string): GrantLink {
  const [, payload = ''] = text.split('.')
  return linkOf(text, grantPayload.parse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))))
}

/** A chain that this node has kept. */
export function keptChain(texts: readonly string[]): GrantChain {
  const [first = '', ...others] = texts
  return [keptLink(first), ...others.map(keptLink)]
}

/** What is signed for a link. */
export function payloadOf(link: Omit<GrantLink, 'text' | 'hash'>): GrantPayload {
  const { id, issuer, holder, owner, act, res, issuedAt, notBefore, expiresAt, uses, depth, input, digest, parent } =
    link
  return {
    v: 1,
    jti: id,
    iss: didOf(issuer),
    aud: didOf(holder),
    sub: didOf(owner),
    act,
    res,
    dep: depth,
    iat: issuedAt / 1000,
    ...(notBefore === undefined ? {} : { nbf: notBefore / 1000 }),
    ...(expiresAt === undefined ? {} : { exp: expiresAt / 1000 }),
    ...(uses === undefined ? {} : { uses }),
    ...(input === undefined ? {} : { input }),
    ...(digest === undefined ? {} : { digest }),
    ...(parent === undefined ? {} : { prf: parent })
  }
}

/**
 * Judges whether a chain that was read holds together and is in force now. Who presents it, whose resource it is about, and
 * what was revoked or used up is for the caller to judge.
 *
 * @param now milliseconds since 1970
 * @throws {MeshError} UNAUTHENTICATED with the reason
 */
export function judgeGrantChain(chain: GrantChain, now: number): void {
  const [root, ...others] = chain
  if (root.issuer !== root.owner) throw refused('wrong-issuer', 'the first grant is not issued by the owner')
  if (root.parent !== undefined) throw refused('malformed', 'the first grant names one before it')
  judgeTime(root, now)
  let parent: GrantLink = root
  for (const link of others) {
    if (link.issuer !== parent.holder) throw refused('wrong-issuer', 'a grant was passed on by who does not hold it')
    if (link.parent !== parent.hash) throw refused('malformed', 'a grant names another one before it')
    const wider = whatIsWider(link, parent)
    if (wider !== undefined) throw refused('unbound', `a grant allows more than the one before it: ${wider}`)
    judgeTime(link, now)
    parent = link
  }
}

function judgeTime({ issuedAt, notBefore, expiresAt }: GrantLink, now: number): void {
  if (issuedAt > now + MAX_CLOCK_SKEW_MS) throw refused('not-yet-valid', 'a grant was issued in the future')
  if (notBefore !== undefined && notBefore > now) throw refused('not-yet-valid', 'a grant is not good yet')
  if (expiresAt !== undefined && expiresAt <= now) throw refused('expired', 'a grant has expired')
}

type Scope = Pick<GrantLink, 'owner' | 'act' | 'res' | 'depth' | 'expiresAt' | 'uses' | 'input' | 'digest'>

/** @returns in what a link allows more than the one that it was narrowed from; undefined when in nothing */
export function whatIsWider(link: Scope, parent: Scope): string | undefined {
  const wider: ReadonlyArray<readonly [string, boolean]> = [
    ['another owner', link.owner !== parent.owner],
    ['act', !coversGlob(parent.act, link.act)],
    ['res', !coversGlob(parent.res, link.res)],
    ['depth', link.depth >= parent.depth],
    ['expiry', (link.expiresAt ?? Infinity) > (parent.expiresAt ?? Infinity)],
    ['uses', (link.uses ?? Infinity) > (parent.uses ?? Infinity)],
    ['input', parent.input !== undefined && link.input !== parent.input],
    ['definition', parent.digest !== undefined && link.digest !== parent.digest]
  ]
  return wider.find(([, isWider]) => isWider)?.[0]
}

/**
 * Tells whether one glob matches everything that another does.
 *
 * A `*` of the narrower stands for any text, so the wider must take it in by a `*` of its own: it is replaced by a
 * character that no glob has, which nothing but a `*` matches.
 */
export function coversGlob(wider: string, narrower: string): boolean {
  return compileGlob(wider)(narrower.replaceAll('*', '\0'))
}

export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

/** The did:key of a PeerId. @throws {MeshError} INVALID_MESSAGE for anything but an Ed25519 PeerId */
export function didOf(peer: string): string {
  return didFromKey(keyFromPeerId(peer))
}

/** The PeerId of a did:key. */
export function peerOf(did: string): string {
  try {
    return peerIdFromKey(keyFromDid(did))
  } catch (err) {
    throw refused('malformed', 'a grant names a key that is none', err)
  }
}

function msOf(seconds: number): number {
  return Math.round(seconds * 1000)
}
