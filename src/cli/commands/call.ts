import { MeshError } from '../../errors.ts'
import type { Answer } from '../client.ts'
import { plain, print, progress, json as toJson } from '../output.ts'
import { type Context, duration, kindOption, type Verb } from '../verb.ts'

export const call: Verb = {
  usage: 'call <target> <capability> [input]',
  summary: 'call a capability of an agent; the input is JSON, - reads it from stdin, default {}',
  examples: [
    `call @files read_text_file '{"path":"README.md"}'`,
    'echo \'{"a":1,"b":2}\' | pryx-mesh call @maths@bob add - --json',
    `call @files write_file '{"path":"a.txt"}' --wait`
  ],
  options: (command) =>
    command
      .addOption(kindOption())
      .option('--version <range>', 'semver range that its version must be in')
      .option('--timeout <duration>', 'how long it may take', duration, 30_000)
      .option('--wait', 'when the owner must be asked: wait for the answer, until its deadline, and call again'),
  async run(context, { kind, version, timeout, wait }, [target, capability, argument]) {
    try {
      const input = await inputOf(argument)
      const body = { target, capability, input, kind, version, timeoutMs: timeout, wait }
      const done = progress(() => `waiting for ${target}`)
      await answer(context, await context.client.open('POST', '/v1/call', body).finally(done))
    } catch (err) {
      if (context.json && err instanceof MeshError) print(toJson({ ok: false, error: err }))
      throw err
    }
  }
}

/** More than a call can carry, also when it is indented; what is longer is no input, and need not fill the memory. */
const MAX_STDIN_BYTES = 16_777_216

/** @throws {MeshError} INVALID_ARGUMENT saying where it is no JSON, TOO_LARGE */
async function inputOf(argument: string | undefined): Promise<unknown> {
  const source = argument === '-' ? await stdin() : (argument ?? '{}')
  try {
    return JSON.parse(source)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `the input is not JSON: ${(err as SyntaxError).message}`, {
      cause: err,
      hint: `quote it for the shell, such as '{"path":"README.md"}'`
    })
  }
}

async function stdin(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_STDIN_BYTES) throw new MeshError('TOO_LARGE', `the input has more than ${MAX_STDIN_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

async function answer({ json }: Context, answered: Answer): Promise<void> {
  if ('items' in answered) {
    for await (const item of answered.items) print(toJson(item))
    return
  }
  const { result } = answered.body as { result: unknown }
  print(json ? toJson({ ok: true, result }) : readable(result))
}

/** For people on a terminal: the text of an MCP result, else indented JSON. For programs: JSON on a line. */
function readable(result: unknown): string {
  if (!process.stdout.isTTY) return toJson(result)
  const texts = mcpTexts(result)
  return plain(texts === undefined ? JSON.stringify(result, undefined, 2) : texts.join('\n'))
}

/** The texts of an MCP tool's result that holds nothing else. */
function mcpTexts(result: unknown): string[] | undefined {
  const { content } = (result ?? {}) as { content?: unknown }
  if (!Array.isArray(content) || content.length === 0) return undefined
  const parts = content as readonly { type?: unknown; text?: unknown }[]
  if (!parts.every((part) => part?.type === 'text' && typeof part.text === 'string')) return undefined
  return parts.map((part) => String(part.text))
}
