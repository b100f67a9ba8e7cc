import type { Statement, Store } from '../store/index.ts'

/** In message_state, under a name that no agent has: there as long as a node runs, and after it has crashed. */
const PARAMS = [' ', 'running']

export const BEGIN: Statement = { sql: "INSERT OR IGNORE INTO message_state VALUES (?, ?, '1')", params: PARAMS }
export const END: Statement = { sql: 'DELETE FROM message_state WHERE agent = ? AND key = ?', params: PARAMS }

/** Whether the last run did not end in good order. */
export function hasCrashed(store: Store): boolean {
  return store.get('SELECT 1 FROM message_state WHERE agent = ? AND key = ?', PARAMS) !== undefined
}
