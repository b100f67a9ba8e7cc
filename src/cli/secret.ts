import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'
import { MeshError } from '../errors.ts'

/** Longer than any key, invite or token; a wrong file is not read to its end. */
const MAX_SECRET_BYTES = 16_384

/**
 * Reads a secret, which must not stand in the arguments of a process: those can be seen by every user of the machine.
 *
 * @param file a path; `-` is stdin; when undefined a terminal is asked, without echo, and else stdin is read
 * @param prompt what to ask for on a terminal
 * @throws {MeshError} INVALID_ARGUMENT when there is nothing, or more than 16 KiB; IO; CANCELLED on Ctrl-C
 */
export async function readSecret(file: string | undefined, prompt: string): Promise<string> {
  const asked = file === undefined && process.stdin.isTTY
  const text = asked ? await askSilently(prompt) : await readAll(file)
  const secret = text.trim()
  if (secret !== '') return secret
  throw new MeshError('INVALID_ARGUMENT', 'nothing was given', {
    hint: 'give a FILE, or - and the secret on stdin, or type it when asked'
  })
}

async function readAll(file = '-'): Promise<string> {
  const source = file === '-' ? process.stdin : createReadStream(file)
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of source) {
      const part = Buffer.from(chunk)
      bytes += part.length
      if (bytes > MAX_SECRET_BYTES) break
      chunks.push(part)
    }
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err)
    throw new MeshError('IO', `cannot read ${file === '-' ? 'stdin' : file}: ${why}`, { cause: err })
  }
  if (bytes > MAX_SECRET_BYTES) throw new MeshError('INVALID_ARGUMENT', `more than ${MAX_SECRET_BYTES} bytes`)
  return Buffer.concat(chunks).toString('utf8')
}

async function askSilently(prompt: string): Promise<string> {
  process.stderr.write(`${prompt}: `)
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true })
  const stopped = new AbortController()
  lines.once('SIGINT', () => stopped.abort()).once('close', () => stopped.abort())
  try {
    return await lines.question('', { signal: stopped.signal })
  } catch (err) {
    throw new MeshError('CANCELLED', 'nothing was typed', { cause: err })
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}
