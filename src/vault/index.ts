/**
 * Secrets at rest: what the database holds is useless without `secrets.key`, which lies beside it (0600).
 *
 * @packageDocumentation
 * @example
 * const vault = await openVault({ path: join(home, 'secrets.key') })
 * const sealed = await vault.seal('refresh token') // compact JWE, for a column
 * const token = await vault.open(sealed)
 * const pepper = vault.derive('api-keys') // 32 bytes, the same each time
 */
export { openVault } from './vault.ts'

export interface Vault {
  /** Encrypts a text (JWE, `dir` with A256GCM). */
  seal(text: string): Promise<string>
  /** @throws {MeshError} INVALID_CONFIG when it was sealed with another key or has been changed */
  open(sealed: string): Promise<string>
  /** 32 bytes for a purpose, by HKDF-SHA256: a pepper, a MAC key. */
  derive(purpose: string): Buffer
}

export interface VaultInit {
  /** 32 random bytes in base64url, mode 0600; made when missing. Without a path the key is new each time. */
  readonly path?: string
}
