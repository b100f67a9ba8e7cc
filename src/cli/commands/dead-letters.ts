import type { MessageInfo } from '../../index.ts'
import { note, print, printTable, json as toJson } from '../output.ts'
import { count, type Group, queryString, type Verb } from '../verb.ts'

const listDeadLetters: Verb = {
  usage: 'list',
  summary: 'list messages that agents of this node could not handle',
  examples: ['dead-letters list', 'dead-letters list --agent planner --json'],
  options: (command) =>
    command
      .option('--agent <name>', 'of this agent')
      .option('--peer <peer>', 'only from this node: PeerId or alias')
      .option('--limit <count>', 'at most so many (default: 100)', count)
      .option('--after <id>', 'go on after this one'),
  async run({ client, json }, filter) {
    const found = await client.ask<MessageInfo[]>('GET', `/v1/dead-letters${queryString(filter)}`)
    if (json) return print(toJson(found))
    if (found.length === 0) return note('no dead letters')
    printTable(
      ['ID', 'FROM', 'TO', 'TRIES', 'SENT', 'WHY'],
      found.map(({ id, from, to, tries, sentAt, reason }) => [id, from, to, String(tries), sentAt, reason ?? ''])
    )
  }
}

const replayDeadLetter: Verb = {
  usage: 'replay <id>',
  summary: 'give a dead letter to its agent again',
  examples: ['dead-letters replay 01JD8Q3N5X0000000000000000'],
  async run({ client, json }, _options, [id = '']) {
    const done = await client.ask<unknown>('POST', `/v1/dead-letters/${encodeURIComponent(id)}/replay`)
    print(json ? toJson(done) : `${id} is handled again`)
  }
}

const dropDeadLetter: Verb = {
  usage: 'drop <id>',
  summary: 'forget a dead letter',
  examples: ['dead-letters drop 01JD8Q3N5X0000000000000000'],
  async run({ client, json }, _options, [id = '']) {
    const done = await client.ask<unknown>('DELETE', `/v1/dead-letters/${encodeURIComponent(id)}`)
    print(json ? toJson(done) : `${id} dropped`)
  }
}

export const deadLetters: Group = {
  name: 'dead-letters',
  summary: 'messages that agents of this node could not handle: list, replay, drop',
  example: 'dead-letters list',
  verbs: [listDeadLetters, replayDeadLetter, dropDeadLetter]
}
