import type { EventItem } from '../../gateway/index.ts'
import { paint, plain, print, json as toJson } from '../output.ts'
import { queryString, repeated, untilAborted, type Verb } from '../verb.ts'

export const events: Verb = {
  usage: 'events',
  summary: 'print what happens on the node, until Ctrl-C',
  examples: ['events', 'events --json --type peer:join --type peer:leave'],
  options: (command) => command.option('--type <name>', 'events of this type only; repeat for more', repeated),
  async run({ client, json, signal }, { type }) {
    await untilAborted(signal, async () => {
      for await (const item of client.items<EventItem, unknown>('GET', `/v1/events${queryString({ type })}`)) {
        print(json ? toJson(item) : `${item.at}  ${paint('bold', item.event)}  ${plain(toJson(item.detail))}`)
      }
    })
  }
}
