// Makes protocols/permission/1.0.0/vectors/grants.json. Uses nothing of src/, so that the vectors check it and don't echo it.
import { createHash } from 'node:crypto'
import { canonical, type Json, jwsOf, type KeyPair, keyPair, OWNER, STRANGER } from './vectors.ts'

/** RFC 8032 §7.1, test 3. */
const GUEST = keyPair(
  'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
  'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025'
)

const NOW = '2026-11-23T12:00:00.000Z'
const SECONDS = Date.parse(NOW) / 1000
const TYPE = 'mesh-grant+jws'

interface ChainVector {
  readonly name: string
  /** The clock of who judges it. */
  readonly now: string
  readonly chain: readonly string[]
  /** What the links of a good one say. */
  readonly says?: readonly Json[]
  /** Why a bad one is refused. */
  readonly reason?: string
}

interface ListVector {
  readonly name: string
  readonly now: string
  readonly jws: string
  readonly ids?: readonly string[]
  readonly code?: 'INVALID_RECORD'
}

const hash = (text: string): string => createHash('sha256').update(text).digest('base64url')

/** The owner's grant to the stranger. */
const root = (changes: Json = {}): Json => ({
  v: 1,
  jti: '00112233445566778899aabbccddeeff',
  iss: OWNER.did,
  aud: STRANGER.did,
  sub: OWNER.did,
  act: 'tool.call',
  res: 'tool:files/*',
  iat: SECONDS,
  exp: SECONDS + 3_600,
  uses: 100,
  dep: 1,
  ...changes
})

/** What the stranger passes on to the guest, of a root that says this. */
const passedOn = (changes: Json = {}, rootChanges: Json = {}): Json => ({
  ...root(rootChanges),
  jti: 'ffeeddccbbaa99887766554433221100',
  iss: STRANGER.did,
  aud: GUEST.did,
  res: 'tool:files/read',
  dep: 0,
  prf: hash(jws(root(rootChanges))),
  ...changes
})

function jws(payload: Json, key: KeyPair = OWNER, typ = TYPE): string {
  return jwsOf(canonical({ alg: 'EdDSA', kid: key.did, typ }), canonical(payload), key)
}

const good = (name: string, ...says: readonly Json[]): ChainVector => ({ name, now: NOW, chain: signed(says), says })

const bad = (name: string, reason: string, ...says: readonly Json[]): ChainVector => ({
  name,
  now: NOW,
  chain: signed(says),
  reason
})

/** Each by the key that comes next: owner, stranger. */
function signed(says: readonly Json[]): string[] {
  return says.map((payload, n) => jws(payload, n === 0 ? OWNER : STRANGER))
}

const without = (payload: Json, ...names: string[]): Json => ({
  ...payload,
  ...Object.fromEntries(names.map((name) => [name, undefined]))
})

const BOUND = { input: hash('{}'), digest: hash('definition') }

function goodChains(): ChainVector[] {
  return [
    good('a grant', root()),
    good('a grant passed on, narrower', root(), passedOn({ uses: 10, exp: SECONDS + 60 })),
    good('passed on as it is', root(), passedOn({ res: 'tool:files/*' })),
    good('no expiry, any number of uses', without(root(), 'exp', 'uses')),
    good('times with milliseconds', root({ iat: SECONDS - 0.5, exp: SECONDS + 0.001 })),
    good('one input and one definition', root(BOUND), passedOn({}, BOUND)),
    good('from ten minutes ahead', root({ iat: SECONDS + 600 })),
    good('good from now on', root({ nbf: SECONDS })),
    good('a star that takes in a star', root({ act: 't*c*l' }), passedOn({ act: 'tool.c*ll' }, { act: 't*c*l' }))
  ]
}

function badChains(): ChainVector[] {
  return [
    bad('expired', 'expired', root({ exp: SECONDS })),
    bad('not good yet', 'not-yet-valid', root({ nbf: SECONDS + 1 })),
    bad('from more than ten minutes ahead', 'not-yet-valid', root({ iat: SECONDS + 600.001 })),
    bad('about the resources of another', 'wrong-issuer', root({ sub: STRANGER.did })),
    bad(
      'passed on by who does not hold it',
      'wrong-issuer',
      root({ aud: GUEST.did }),
      passedOn({}, { aud: GUEST.did })
    ),
    bad('another grant before it', 'malformed', root(), passedOn({ prf: hash('another') })),
    bad('no grant before it named', 'malformed', root(), without(passedOn(), 'prf')),
    bad('the first names one before it', 'malformed', root({ prf: hash('another') })),
    bad('a wider act', 'unbound', root(), passedOn({ act: 'tool.*' })),
    bad('another res', 'unbound', root(), passedOn({ res: 'tool:mail/read' })),
    bad('a star where there was none', 'unbound', root({ act: 'a*b' }), passedOn({ act: '*' }, { act: 'a*b' })),
    bad('another owner', 'unbound', root(), passedOn({ sub: STRANGER.did })),
    bad('as deep as before', 'unbound', root(), passedOn({ dep: 1 })),
    bad('a later expiry', 'unbound', root(), passedOn({ exp: SECONDS + 3_600.001 })),
    bad('an expiry that is dropped', 'unbound', root(), without(passedOn(), 'exp')),
    bad('more uses', 'unbound', root(), passedOn({ uses: 101 })),
    bad('a limit that is dropped', 'unbound', root(), without(passedOn(), 'uses')),
    bad('an input that is dropped', 'unbound', root(BOUND), without(passedOn({}, BOUND), 'input')),
    bad('another definition', 'unbound', root(BOUND), passedOn({ digest: hash('other') }, BOUND)),
    bad('a member that this version does not know', 'malformed', root({ only: 'sundays' })),
    bad('version 2', 'malformed', root({ v: 2 })),
    bad('no use', 'malformed', root({ uses: 0 })),
    bad('a depth of five', 'malformed', root({ dep: 5 })),
    bad('a control character in a glob', 'malformed', root({ res: 'tool:\n' }))
  ]
}

function brokenChains(): ChainVector[] {
  const broken = jws(root()).replace(/..$/, (last) => (last.startsWith('A') ? 'B' : 'A') + last.slice(1))
  return [
    { name: 'no link', now: NOW, chain: [], reason: 'malformed' },
    { name: 'a changed signature', now: NOW, chain: [broken], reason: 'signature' },
    { name: 'signed by another', now: NOW, chain: [jws(root(), STRANGER)], reason: 'signature' },
    { name: 'another type', now: NOW, chain: [jws(root(), OWNER, 'mesh-record+jws')], reason: 'malformed' }
  ]
}

function lists(): ListVector[] {
  const says = (changes: Json = {}): Json => ({
    v: 1,
    iss: OWNER.did,
    seq: 1_795_435_200_000,
    iat: SECONDS,
    ids: ['00112233445566778899aabbccddeeff'],
    ...changes
  })
  const type = 'mesh-revocations+jws'
  const list = (name: string, changes: Json, key = OWNER, typ = type): ListVector => ({
    name,
    now: NOW,
    jws: jws(says(changes), key, typ),
    code: 'INVALID_RECORD'
  })
  return [
    { name: 'a list', now: NOW, jws: jws(says(), OWNER, type), ids: ['00112233445566778899aabbccddeeff'] },
    { name: 'an empty list', now: NOW, jws: jws(says({ ids: [] }), OWNER, type), ids: [] },
    list('a list in the name of another', {}, STRANGER),
    list('a list of another type', {}, OWNER, TYPE),
    list('a list without seq', { seq: undefined }),
    list('a list from more than ten minutes ahead', { iat: SECONDS + 600.001 })
  ]
}

/** The file, reproducible: Ed25519 needs no randomness. */
export function grantVectors(): string {
  return `${JSON.stringify({ chains: [...goodChains(), ...badChains(), ...brokenChains()], revocations: lists() }, null, 2)}\n`
}
