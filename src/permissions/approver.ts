import { type ChildProcess, spawn } from 'node:child_process'
import { abortable, abortError, MeshError } from '../errors.ts'
import { parseJson } from '../wire/index.ts'
import { APPROVER_TIMEOUT_MS, MAX_APPROVER_OUTPUT_BYTES, MAX_APPROVERS } from './constants.ts'
import type { Approver, ApproverAnswer, PermissionRequest } from './index.ts'
import { approverAnswer } from './messages.ts'

interface HooksInit {
  readonly approver: Approver | undefined
  readonly command: readonly string[] | undefined
  /** The request as it is now; undefined when it is gone. */
  readonly get: (id: string) => PermissionRequest | undefined
  readonly onAnswer: (id: string, answer: ApproverAnswer, by: 'approver' | 'command') => Promise<void>
  readonly log: (text: string) => void
}

/** Asks what decides in the owner's place, a few requests at a time; whatever it leaves open stays the owner's. */
export interface Hooks {
  ask(id: string): void
  stop(): void
}

export function createHooks({ approver, command, get, onAnswer, log }: HooksInit): Hooks {
  const stopping = new AbortController()
  const waiting: string[] = []
  let running = 0

  const consult = async (id: string): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(APPROVER_TIMEOUT_MS)])
    for (const [by, hook] of hooks) {
      const request = get(id)
      if (request?.state !== 'pending') return
      try {
        const answer = await abortable(Promise.resolve(hook(request, { signal })), signal)
        if (answer !== undefined) return await onAnswer(id, checked(answer), by)
      } catch (err) {
        if (stopping.signal.aborted) return
        log(`permission request ${id} is left to the owner: the ${by} failed: ${messageOf(err)}`)
      }
    }
  }

  const next = (): void => {
    while (running < MAX_APPROVERS && !stopping.signal.aborted) {
      const id = waiting.shift()
      if (id === undefined) return
      running += 1
      void consult(id).finally(() => {
        running -= 1
        next()
      })
    }
  }

  const hooks: (readonly ['approver' | 'command', Approver])[] = [
    ...(approver === undefined ? [] : [['approver', async (...asked) => approver(...asked)] as const satisfies Hook]),
    ...(command === undefined ? [] : [['command', commandApprover(command)] as const satisfies Hook])
  ]
  return {
    ask(id) {
      if (hooks.length === 0) return
      waiting.push(id)
      next()
    },
    stop: () => stopping.abort()
  }
}

type Hook = readonly ['approver' | 'command', Approver]

/** Programs decide too, and may be wrong. */
function checked(answer: unknown): ApproverAnswer {
  const { success, data } = approverAnswer.safeParse(answer)
  if (success && data !== null) return data
  throw new MeshError('INVALID_ARGUMENT', 'its answer is neither {"allow": …} nor {"deny": …}')
}

/** Runs a command without a shell: the request as JSON on stdin, the answer as JSON on stdout. */
export function commandApprover([program = '', ...args]: readonly string[]): Approver {
  return async (request, { signal }) => {
    const output = await run([program, ...args], `${JSON.stringify(request)}\n`, signal)
    if (output.toString().trim() === '') return undefined
    const answer = parseJson(output)
    return answer === null ? undefined : checked(answer)
  }
}

function run([program = '', ...args]: readonly string[], input: string, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // A group of its own, so that what the command has started ends with it
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], detached: true })
    const chunks: Buffer[] = []
    let bytes = 0
    const onAbort = (): void => {
      reject(abortError(signal))
      killGroup(child)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    child.on('error', reject)
    child.on('close', (code, killedBy) => {
      signal.removeEventListener('abort', onAbort)
      if (code === 0) resolve(Buffer.concat(chunks))
      else reject(new MeshError('INVALID_ARGUMENT', `it ended with ${killedBy ?? `code ${code}`}`))
    })
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= MAX_APPROVER_OUTPUT_BYTES) {
        chunks.push(chunk)
        return
      }
      reject(new MeshError('TOO_LARGE', `it printed more than ${MAX_APPROVER_OUTPUT_BYTES} bytes`))
      killGroup(child)
    })
    // A command need not read what it is asked
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // ESRCH: nobody of the group is left
  }
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
