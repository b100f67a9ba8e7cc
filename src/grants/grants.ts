import type { Migrations } from '../store/index.ts'
import { unfinished } from '../unfinished.ts'
import type { Grants, GrantsInit } from './index.ts'

export const grantsMigrations: Migrations = { room: 'grants', steps: [] }

export async function createGrants(_init: GrantsInit): Promise<Grants> {
  return unfinished<Grants>({
    find: () => undefined,
    list: () => [],
    toPresent: () => [],
    onRevoke: () => () => {},
    revokeHolder: async () => 0
  })
}
