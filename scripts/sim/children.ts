/** A mesh takes a process for itself: memory, load and a crash are its own. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/**
 * Runs a file of this folder with a plan, and takes what it sends until it says that it is done or ends.
 *
 * @param what for the error
 * @throws when it ends otherwise
 */
export async function runChild<T>(file: string, plan: unknown, what: string): Promise<readonly T[]> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(plan)], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 2, 2, 'ipc'],
    // NaN, where there was nothing to measure, is not JSON
    serialization: 'advanced'
  })
  const results: T[] = []
  let isDone = false
  child.on('message', (message) => {
    if (message === 'done') isDone = true
    // The file and its reader agree on what it sends
    else results.push(message as T)
  })
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  if (!isDone) throw new Error(`${what} ended with ${signal ?? code}`)
  return results
}
