import type { Capability } from '../registry/messages.ts'
import type { Statement } from '../store/index.ts'
import { MAX_ALLOWED_DEFINITIONS } from './constants.ts'
import type { PermissionRequest, PermissionsInit } from './index.ts'

/** What capabilities were like when they were last allowed to a peer. */
export interface Definitions {
  /** What is different since then; undefined when it was never allowed or is the same. */
  changed(peer: string, resource: string, now: Capability): readonly string[] | undefined
  /** Writes down what has been allowed, unless it has changed since it was asked for. */
  remember(request: PermissionRequest, at: number): readonly Statement[]
}

export function createDefinitions({
  store,
  capabilityOf,
  diff = () => []
}: Pick<PermissionsInit, 'store' | 'capabilityOf' | 'diff'>): Definitions {
  return {
    changed(peer, resource, now) {
      const sql = 'SELECT definition FROM permission_definition WHERE peer = ? AND resource = ?'
      const row = store.get(sql, [peer, resource])
      if (row === undefined) return undefined
      const before = JSON.parse(String(row.definition)) as Capability // written below
      return before.digest === now.digest ? undefined : diff(before, now)
    },
    remember({ peer, resource, digest }, at) {
      const [, kind, agent = '', name = ''] = RESOURCE.exec(resource) ?? []
      const capability = capabilityOf(agent, name, kind)
      if (capability === undefined || capability.digest !== digest) return []
      return [
        {
          sql: 'INSERT OR REPLACE INTO permission_definition (peer, resource, definition, allowed_at) VALUES (?, ?, ?, ?)',
          params: [peer, resource, JSON.stringify(capability), at]
        },
        {
          sql: `DELETE FROM permission_definition WHERE (peer, resource) IN (SELECT peer, resource
                FROM permission_definition ORDER BY allowed_at DESC LIMIT -1 OFFSET ?)`,
          params: [MAX_ALLOWED_DEFINITIONS]
        }
      ]
    }
  }
}

/** `<kind>:<agent>/<capability>` */
const RESOURCE = /^([a-z]+):([^/]+)\/(.+)$/
