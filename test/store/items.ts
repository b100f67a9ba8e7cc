import type { Migrations } from '../../src/store/index.ts'

export const ITEM_MIGRATIONS: Migrations = {
  room: 'items',
  steps: ['CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT']
}
