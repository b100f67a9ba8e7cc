/** One half of a system in a process of its own: `node peer.ts serve|connect SYSTEM FOLDER [CONTACT]`, driven over IPC. */
import { readFileSync } from 'node:fs'
import type { Load, Measured } from './measure.ts'
import { measure } from './measure.ts'
import type { Contact, SystemName } from './system.ts'
import { loadSystem, Skip } from './system.ts'

/** What the parent asks for; answers come in the order of the questions. */
export type Question =
  | { readonly ask: 'load'; readonly load: Load }
  | { readonly ask: 'cpu' }
  | { readonly ask: 'stop' }

export type Answer =
  | { readonly kind: 'ready'; readonly contact: Contact; readonly streams: boolean; readonly itemsPerStream?: number }
  | { readonly kind: 'skip'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'measured'; readonly measured: Measured }
  | { readonly kind: 'cpu'; readonly cpuMicros: number }
  | { readonly kind: 'stopped' }

/** USER_HZ, in which /proc counts CPU time; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

// The parent is gone, however it went: so is the reason to run.
process.on('disconnect', () => process.exit())

const [role, name, folder = '', contact = '{}'] = process.argv.slice(2)

try {
  await run(name as SystemName)
} catch (err) {
  const reason = err instanceof Error ? err.message : String(err)
  if (!(err instanceof Skip)) console.error(err)
  tell({ kind: err instanceof Skip ? 'skip' : 'failed', reason })
}

async function run(systemName: SystemName): Promise<void> {
  const system = await loadSystem(systemName)
  if (role === 'serve') {
    const server = await system.serve(folder)
    listen({ close: () => server.close(), pids: server.pids ?? [] })
    tell({ kind: 'ready', contact: server.contact, streams: false })
    return
  }
  const client = await system.connect(JSON.parse(contact) as Contact, folder)
  listen({ load: (load) => measure(client, load), close: () => client.close(), pids: [] })
  const streams = client.stream !== undefined
  const { itemsPerStream } = system
  tell({ kind: 'ready', contact: {}, streams, ...(itemsPerStream === undefined ? {} : { itemsPerStream }) })
}

interface Half {
  readonly load?: (load: Load) => Promise<Measured>
  readonly close: () => Promise<void>
  readonly pids: readonly number[]
}

function listen({ load, close, pids }: Half): void {
  const answer = async (question: Question): Promise<Answer> => {
    if (question.ask === 'cpu') return { kind: 'cpu', cpuMicros: cpuMicros(pids) }
    if (question.ask === 'load' && load !== undefined) return { kind: 'measured', measured: await load(question.load) }
    await close()
    return { kind: 'stopped' }
  }
  process.on('message', (question: Question) => {
    answer(question).then(tell, (err: unknown) => {
      console.error(err)
      tell({ kind: 'failed', reason: err instanceof Error ? err.message : String(err) })
    })
  })
}

function cpuMicros(pids: readonly number[]): number {
  const { user, system } = process.cpuUsage()
  return pids.reduce((sum, pid) => sum + cpuMicrosOf(pid), user + system)
}

function cpuMicrosOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // proc(5): utime and stime are fields 14 and 15, and the second may contain spaces
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / TICKS_PER_SECOND
}

function tell(answer: Answer): void {
  process.send?.(answer)
}
