import type { Group } from '../verb.ts'
import { learnMailbox } from './mailbox-learn.ts'
import { listMailboxes } from './mailbox-list.ts'
import { serveMailbox, unserveMailbox } from './mailbox-serve.ts'
import { dropMailbox, useMailbox } from './mailbox-use.ts'

export const mailbox: Group = {
  name: 'mailbox',
  summary: 'who keeps messages for whom while they are away: list, use, drop, serve, unserve, learn',
  example: 'mailbox use homeserver',
  verbs: [listMailboxes, useMailbox, dropMailbox, serveMailbox, unserveMailbox, learnMailbox]
}
