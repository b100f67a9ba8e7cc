import { resolve } from 'node:path'
import type { BlobRef } from '../../blobs/index.ts'
import { MeshError } from '../../errors.ts'
import type { MessageStory, Sent } from '../../index.ts'
import { note, plain, print, programName, progress, json as toJson } from '../output.ts'
import { duration, longDuration, queryString, type Verb } from '../verb.ts'

export const send: Verb = {
  usage: 'send <target> [text]',
  summary: 'send a durable message to an agent, or to the owner of a node; - or nothing reads the text from stdin',
  examples: [
    'send @owner@laptop "the build is green"',
    `send @planner --data '{"task":"tidy up"}' --request --wait`,
    'pryx-mesh send @archive@store - --expires 7d < report.txt',
    'send @archive@store --file report.pdf --type application/pdf'
  ],
  options: (command) =>
    command
      .option('--data <json>', 'JSON in place of a text')
      .option('--file <path>', 'a file in place of a text: it is fetched by SHA-256')
      .option('--type <type>', 'content type')
      .option('--request', 'expect one reply')
      .option('--wait', 'wait until it is processed; with --request until the reply, and print it')
      .option('--timeout <duration>', 'how long to wait (default: 10m)', duration)
      .option('--expires <duration>', 'how long it is tried, up to 30d (default: 24h)', longDuration)
      .option('--max-hops <count>', 'how often what comes of it may be passed on (default: 8)', whole)
      .option('--max-calls <count>', 'how many messages handlers may send because of it', whole)
      .option('--max-cost <units>', 'what handlers may charge for it', whole)
      .option('--from <agent>', 'the local agent that sends (default: owner)')
      .option('--correlation <id>', 'an id of your own that goes with it'),
  async run({ client, json }, options, [target = '', argument]) {
    const { data, file, type, request, wait, timeout, expires, from, correlation } = options
    const { maxHops: hops, maxCalls: calls, maxCost: cost } = options
    const isBounded = [hops, calls, cost].some((each) => each !== undefined)
    const content =
      typeof file === 'string'
        ? { blob: await client.ask<BlobRef>('POST', '/v1/blobs', { path: resolve(file) }) }
        : await contentOf(data as string | undefined, argument)
    const sent = await client.ask<Sent>('POST', '/v1/messages', {
      target,
      ...content,
      ...(type === undefined ? {} : { type }),
      from,
      correlationId: correlation,
      expectsReply: request,
      expiresIn: expires,
      ...(isBounded ? { budget: { hops, calls, cost } } : {})
    })
    if (wait !== true) {
      if (json) print(toJson(sent))
      else {
        print(sent.id)
        note(`on its way; what becomes of it: ${programName()} messages show ${sent.id}`)
      }
      return
    }
    const until = request === true ? 'reply' : 'processed'
    const done = waiting(target, sent.id, until)
    const query = queryString({ until, timeoutMs: timeout ?? DEFAULT_WAIT_MS })
    const story = await client.ask<MessageStory>('GET', `/v1/messages/${sent.id}/wait${query}`).finally(done)
    if (json) print(toJson(story))
    else if (story.reply === undefined) print(`${sent.id} processed`)
    else print(readable(story.reply.body))
    if (story.reply !== undefined && story.reply.outcome !== 'result') throw failure(story.reply)
  }
}

function whole(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new MeshError('INVALID_ARGUMENT', `${plain(text)} is no whole number from 0`)
}

/** Agents are done by then, or down; a human has looked. */
const DEFAULT_WAIT_MS = 10 * 60_000
/** Who waits longer wants to know for what. */
const EXPLAIN_AFTER_MS = 3_000

/** Tells what is waited for. @returns what ends that */
function waiting(target: string, id: string, until: 'reply' | 'processed'): () => void {
  const done = progress(() => `waiting for ${target}`)
  const isOwner = /(^@|\/)owner(@|$)/.test(target)
  const what = `${isOwner ? 'the owner there' : target} ${until === 'reply' ? 'replies' : isOwner ? 'has read it' : 'has handled it'}`
  const timer = setTimeout(() => {
    note(`waiting until ${plain(what)}; Ctrl-C ends the waiting, not the message: ${programName()} messages show ${id}`)
  }, EXPLAIN_AFTER_MS)
  return () => {
    clearTimeout(timer)
    done()
  }
}

const MAX_STDIN_BYTES = 1_048_576

async function contentOf(
  data: string | undefined,
  argument: string | undefined
): Promise<{ body: unknown; type?: string }> {
  if (data === undefined)
    return { body: argument === undefined || argument === '-' ? await stdin() : argument, type: 'text/plain' }
  try {
    return { body: JSON.parse(data) }
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `--data is not JSON: ${(err as SyntaxError).message}`, {
      cause: err,
      hint: `quote it for the shell, such as '{"task":"tidy up"}'`
    })
  }
}

async function stdin(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_STDIN_BYTES) throw new MeshError('TOO_LARGE', `the text has more than ${MAX_STDIN_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

/** A text as it is, anything else as JSON. */
export function readable(body: unknown): string {
  return typeof body === 'string' ? plain(body) : body === undefined ? '' : toJson(body)
}

function failure({ outcome, body }: NonNullable<MessageStory['reply']>): MeshError {
  if (outcome === 'expired') return new MeshError('TIMEOUT', 'no reply came in time')
  const { code = 'AGENT_ERROR', message = 'the request failed' } = (body ?? {}) as { code?: string; message?: string }
  const known = MeshError.fromBody({ code: String(code), message: plain(String(message)) })
  return known.code === 'INTERNAL' ? new MeshError('AGENT_ERROR', known.message) : known
}
