import { MeshError } from '../errors.ts'
import type { Migrations } from '../store/index.ts'
import { unfinished } from '../unfinished.ts'
import type { Permissions, PermissionsInit } from './index.ts'

export const permissionsMigrations: Migrations = { room: 'permissions', steps: [] }

export async function createPermissions(_init: PermissionsInit): Promise<Permissions> {
  return unfinished<Permissions>({
    start: async () => {},
    stop: async () => {},
    dropPeer: async () => {},
    present: () => undefined,
    pending: 0,
    list: () => [],
    permit: (decision) => Promise.reject(new MeshError('FORBIDDEN', decision.reason))
  })
}
