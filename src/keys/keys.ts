import type { Migrations } from '../store/index.ts'
import { unfinished } from '../unfinished.ts'
import type { ApiKeys, ApiKeysInit } from './index.ts'

export const keysMigrations: Migrations = { room: 'keys', steps: [] }

export function createApiKeys(_init: ApiKeysInit): ApiKeys {
  return unfinished<ApiKeys>({
    holdsFor: () => false,
    toPresent: async () => [],
    verifier: { method: 'api-key', verify: () => Promise.reject(new Error('not built')) }
  })
}
