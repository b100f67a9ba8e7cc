import type { Group } from '../verb.ts'
import { replyMessage } from './messages-reply.ts'
import { showMessage } from './messages-show.ts'

export const messages: Group = {
  name: 'messages',
  summary: 'one message: show, reply',
  example: 'messages show 01JD8Q3N5X0000000000000000',
  verbs: [showMessage, replyMessage]
}
