import type { MessageStory } from '../../index.ts'
import { print, printFields, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'
import { readable } from './send.ts'

export const showMessage: Verb = {
  usage: 'show <id>',
  summary: 'show a message and what has happened to it',
  examples: ['messages show 01JD8Q3N5X0000000000000000'],
  async run({ client, json }, _options, [id = '']) {
    const story = await client.ask<MessageStory>('GET', `/v1/messages/${encodeURIComponent(id)}`)
    if (json) return print(toJson(story))
    printFields([
      ['id', story.id],
      ['from', story.from],
      ['to', story.to],
      ['kind', story.kind],
      ['correlation', story.correlationId],
      ['state', story.state],
      ['sent', story.sentAt],
      ['expires', story.expiresAt],
      ['attempts', story.tries > 0 ? String(story.tries) : undefined],
      ['why', story.code === undefined && story.reason === undefined ? undefined : why(story)],
      [
        'events',
        story.events.map((event) =>
          `${event.at}  ${event.what}${event.isSigned ? ' (signed)' : ''} ${why(event)}`.trim()
        )
      ],
      ['reply', story.reply === undefined ? undefined : `${story.reply.outcome}: ${readable(story.reply.body)}`],
      ['content', story.blob && [`${story.blob.sha256}, ${story.blob.size} bytes`, ...howToGet(story)]],
      ['body', story.body === undefined ? undefined : readable(story.body)]
    ])
  }
}

function howToGet({ direction, from, blob }: MessageStory): string[] {
  if (direction === 'out') return []
  return [`get it with: ${programName()} blobs get ${blob?.sha256 ?? ''} FILE --from ${from.split('/')[0] ?? ''}`]
}

function why({ code, reason }: { readonly code?: string; readonly reason?: string }): string {
  return [code, reason].filter((part) => part !== undefined).join(': ')
}
