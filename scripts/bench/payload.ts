/** What is sent in every measurement, and the check that it came back whole. */

/** About what a tool call carries: 1,024 bytes of JSON. */
export const MESSAGE_BYTES = 1024

export interface Message {
  readonly id: number
  readonly from: string
  readonly method: string
  readonly params: {
    readonly count: number
    readonly flags: readonly (boolean | null)[]
    readonly tags: readonly string[]
    readonly text: string
  }
}

/** One item of a stream: about 230 bytes of JSON. */
export interface Item {
  readonly i: number
  readonly text: string
}

const FIRST_ID = 1_000_000
const LOREM = 'lorem ipsum dolor sit amet '
const ITEM_TEXT = 'x'.repeat(200)

const TEXT = LOREM.repeat(40).slice(0, MESSAGE_BYTES - JSON.stringify(message(FIRST_ID, '')).length)

/** JSON Schema of {@link Message}, for the systems that check what they carry. */
export const MESSAGE_SCHEMA = {
  type: 'object',
  required: ['id', 'from', 'method', 'params'],
  additionalProperties: false,
  properties: {
    id: { type: 'integer', minimum: 0 },
    from: { type: 'string', maxLength: 128 },
    method: { type: 'string', maxLength: 64 },
    params: {
      type: 'object',
      required: ['count', 'flags', 'tags', 'text'],
      additionalProperties: false,
      properties: {
        count: { type: 'integer' },
        flags: { type: 'array', items: { type: ['boolean', 'null'] }, maxItems: 16 },
        tags: { type: 'array', items: { type: 'string', maxLength: 64 }, maxItems: 16 },
        text: { type: 'string', maxLength: 4096 }
      }
    }
  }
}

export const COUNT_SCHEMA = {
  type: 'object',
  required: ['count'],
  additionalProperties: false,
  properties: { count: { type: 'integer', minimum: 1, maximum: 100_000 } }
}

export const ITEM_SCHEMA = {
  type: 'object',
  required: ['i', 'text'],
  additionalProperties: false,
  properties: { i: { type: 'integer', minimum: 0 }, text: { type: 'string', maxLength: 1024 } }
}

/** The nth message; ids have seven digits, so all are of one length. */
export function nthMessage(n: number): Message {
  return message(FIRST_ID + n, TEXT)
}

/** @throws when `echo` isn't the same message: other id, other length */
export function checkEcho(sent: Message, echo: unknown): void {
  const got = echo as Partial<Message> | null | undefined
  if (got?.id === sent.id && got.params?.text.length === sent.params.text.length && got.params.tags.length === 3) return
  throw new Error(`bad echo of message ${sent.id}: ${JSON.stringify(echo)?.slice(0, 200)}`)
}

export function nthItem(i: number): Item {
  return { i, text: ITEM_TEXT }
}

/** @throws when it isn't the item that is due */
export function checkItem(due: number, item: unknown): void {
  const got = item as Partial<Item> | null | undefined
  if (got?.i === due && got.text?.length === ITEM_TEXT.length) return
  throw new Error(`item ${due} was due, got ${JSON.stringify(item)?.slice(0, 200)}`)
}

function message(id: number, text: string): Message {
  return {
    id,
    from: '12D3KooWAbCdEfGhiJkLmNopQrStUvWxYz123456789abcdefghi',
    method: 'bench.echo',
    params: { count: 42, flags: [true, false, null], tags: ['alpha', 'beta', 'gamma'], text }
  }
}
