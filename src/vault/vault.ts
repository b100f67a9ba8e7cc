import { randomBytes } from 'node:crypto'
import { unfinished } from '../unfinished.ts'
import type { Vault, VaultInit } from './index.ts'

export async function openVault(_init: VaultInit = {}): Promise<Vault> {
  return unfinished<Vault>({ derive: () => randomBytes(32) })
}
