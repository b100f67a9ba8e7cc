import type { MessageInfo } from '../../index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { count, queryString, repeated, type Verb } from '../verb.ts'
import { readable } from './send.ts'

export const inbox: Verb = {
  usage: 'inbox',
  summary: 'list messages to you, or to an agent of this node, and mark them as read',
  examples: ['inbox', 'inbox --all --json', 'inbox --read 01JD8Q3N5X0000000000000000'],
  options: (command) =>
    command
      .option('--all', 'also those that were read or handled')
      .option('--agent <name>', 'of a local agent (default: owner)')
      .option('--peer <peer>', 'only from this node: PeerId or alias')
      .option('--limit <count>', 'at most so many (default: 100)', count)
      .option('--after <id>', 'go on after this one')
      .option('--read <id>', 'mark as read; repeat for more', repeated),
  async run({ client, json }, { all, read, ...filter }) {
    if (read !== undefined) {
      // Collected by `repeated`
      const done: MessageInfo[] = []
      for (const id of read as readonly string[])
        done.push(await client.ask<MessageInfo>('POST', `/v1/messages/${encodeURIComponent(id)}/read`))
      if (json) print(toJson(done))
      else for (const { id } of done) print(`${id} read`)
      return
    }
    const query = queryString({ ...filter, ...(all === true ? { state: 'all' } : {}) })
    const found = await client.ask<MessageInfo[]>('GET', `/v1/inbox${query}`)
    if (json) return print(toJson(found))
    if (found.length === 0) return note('no messages wait')
    printTable(
      ['ID', 'FROM', 'KIND', 'STATE', 'SENT', 'TEXT'],
      found.map(({ id, from, kind, state, sentAt, body }) => [id, from, kind, state, sentAt, short(readable(body))])
    )
    note(`all of one: ${programName()} messages show ID; done with it: ${programName()} inbox --read ID`)
  }
}

const MAX_SHOWN = 80

function short(text: string): string {
  const line = text.replaceAll('\n', ' ')
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN - 1)}…` : line
}
