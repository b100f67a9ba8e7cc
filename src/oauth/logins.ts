import type { Migrations } from '../store/index.ts'
import { unfinished } from '../unfinished.ts'
import type { Logins, LoginsInit } from './index.ts'

export const loginsMigrations: Migrations = { room: 'logins', steps: [] }

export async function createLogins(_init: LoginsInit): Promise<Logins> {
  return unfinished<Logins>({ holdsFor: () => false, list: () => [], stop: async () => {} })
}
