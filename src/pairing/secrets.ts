import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Credential, type Holder, refused } from '../auth/index.ts'
import { EPOCH_MS, EPOCH_OVERLAP_MS, MAX_NONCES, PROOF_WINDOW_MS } from './constants.ts'
import type { Pairing } from './index.ts'
import type { Ledger } from './ledger.ts'
import { epochKey, helloMac, isSame } from './macs.ts'
import { type SecretProof, secretProof } from './messages.ts'
import type { PairRow } from './rows.ts'

interface SecretsInit {
  readonly self: string
  readonly ledger: Ledger
  readonly clock: () => number
}

interface Secrets extends Pick<Pairing, 'prove' | 'secretsOf' | 'verifier'> {
  readonly keyIdOf: (pair: PairRow) => string
}

/** What is made of the secrets of pairs: keys that change every 30 days, and proofs by them. */
export function createSecrets({ self, ledger, clock }: SecretsInit): Secrets {
  const nonces = new LRUCache<string, true>({
    max: MAX_NONCES,
    // A time may be as far ahead as it may be behind
    ttl: 2 * PROOF_WINDOW_MS,
    ttlResolution: 0,
    perf: { now: clock }
  })

  const verify = async (presented: Readonly<Record<string, unknown>>, { peer }: Holder): Promise<Credential> => {
    const { success, data: proof } = secretProof.safeParse(presented)
    if (!success) throw refused('malformed', 'that is no proof of a shared secret')
    if (peer === undefined) throw refused('unbound', 'no PeerId is proven here')
    const { pair, epoch } = readKeyId(ledger, peer, proof.keyId)
    checkEpoch(pair, epoch, clock())
    const key = epochKey(await ledger.root(pair), epoch)
    if (!isSame(proof.mac, helloMac(key, peer, self, proof))) throw refused('signature', 'the proof is wrong')
    checkTime(proof, clock())
    const nonce = `${peer} ${proof.nonce}`
    if (nonces.has(nonce)) throw refused('replayed', 'the proof has been presented before')
    nonces.set(nonce, true)
    if (ledger.live.get(peer)?.invite !== pair.invite) throw refused('revoked', 'the pair has been ended')
    return { method: 'shared-secret', binding: 'hmac', subject: peer, scopes: [] }
  }

  return {
    verifier: { method: 'shared-secret', verify },
    keyIdOf: (pair) => keyIdOf(pair, epochAt(pair, clock())),
    async prove(peer, { at = clock() } = {}) {
      const pair = ledger.live.get(peer)
      if (pair === undefined) return undefined
      const epoch = epochAt(pair, at)
      const parts = {
        keyId: keyIdOf(pair, epoch),
        time: new Date(at).toISOString(),
        nonce: randomBytes(16).toString('base64url')
      }
      const key = epochKey(await ledger.root(pair), epoch)
      return { method: 'shared-secret', ...parts, mac: helloMac(key, self, peer, parts) } satisfies SecretProof
    },
    async secretsOf(peer) {
      const pair = ledger.live.get(peer)
      if (pair === undefined) return []
      const root = await ledger.root(pair)
      return epochsAt(pair, clock()).map((epoch) => ({ keyId: keyIdOf(pair, epoch), key: epochKey(root, epoch) }))
    }
  }
}

/** Epochs are counted by the inviter's clock; the invitee's may be behind. */
function epochAt({ pairedAt }: PairRow, now: number): number {
  return Math.max(0, Math.floor((now - pairedAt) / EPOCH_MS))
}

/** Epochs whose keys are good, the present one first. */
function epochsAt(pair: PairRow, now: number): readonly number[] {
  const epoch = epochAt(pair, now)
  const isFresh = epoch > 0 && now - (pair.pairedAt + epoch * EPOCH_MS) < EPOCH_OVERLAP_MS
  return isFresh ? [epoch, epoch - 1] : [epoch]
}

function keyIdOf({ invite }: PairRow, epoch: number): string {
  return `${invite}.${epoch}`
}

function readKeyId(ledger: Ledger, peer: string, keyId: string): { pair: PairRow; epoch: number } {
  const [invite = '', epoch] = keyId.split('.')
  const pair = ledger.live.get(peer)
  if (pair?.invite === invite) return { pair, epoch: Number(epoch) }
  if (ledger.byInvite(invite) !== undefined) throw refused('wrong-peer', 'the secret is that of another peer')
  if (ledger.wasEnded(peer, invite)) throw refused('revoked', 'the pair has been ended')
  // Of a pair before the present one, or of none
  throw refused('unknown', 'there is no such pair')
}

function checkEpoch(pair: PairRow, epoch: number, now: number): void {
  if (epochsAt(pair, now).includes(epoch)) return
  const isAhead = epoch > epochAt(pair, now)
  // The peer's clock may be a little ahead of the change
  if (isAhead && epoch === epochAt(pair, now + PROOF_WINDOW_MS)) return
  throw isAhead ? refused('not-yet-valid', 'the secret is a later one') : refused('expired', 'the secret has expired')
}

function checkTime({ time }: SecretProof, now: number): void {
  const ageMs = now - Date.parse(time)
  if (ageMs > PROOF_WINDOW_MS) throw refused('expired', 'the proof is too old; the clocks may differ')
  if (ageMs < -PROOF_WINDOW_MS) throw refused('not-yet-valid', 'the proof is of a later time; the clocks may differ')
}
