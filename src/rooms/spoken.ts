import { HELLO } from '../auth/index.ts'
import { BLOB_PROTOCOL } from '../blobs/index.ts'
import { CALL } from '../calls/index.ts'
import { recordsProtocol } from '../discovery/index.ts'
import { STATUS } from '../health/index.ts'
import { MAILBOX, MESSAGE } from '../messaging/index.ts'
import type { Tokens } from '../oauth/index.ts'
import { PAIR } from '../pairing/index.ts'
import { PERMISSION } from '../permissions/index.ts'

/** Credential methods that this node accepts over `hello`; a certificate can't be shown there. */
export function acceptedMethods({ metadata }: Pick<Tokens, 'metadata'>): string[] {
  return ['noise', 'api-key', ...(metadata.issuers.length === 0 ? [] : ['oauth']), 'owner', 'shared-secret']
}

/** Protocol name → versions, from the ids of what this node serves. */
export function spokenVersions(): Record<string, string[]> {
  const ids = [
    HELLO.id,
    recordsProtocol.id,
    CALL.id,
    BLOB_PROTOCOL,
    MESSAGE.id,
    MAILBOX.id,
    PAIR.id,
    PERMISSION.id,
    STATUS.id
  ].map((id) => id.split('/').slice(2))
  return Object.fromEntries(ids.map(([name = '', version = '']) => [name, [version]]))
}
