import { Worker } from 'node:worker_threads'
import { MeshError } from '../errors.ts'
import { MAX_WAITING, MAX_WORKERS, WORKER_HEAP_MB, WORKER_START_MS, WORKER_TIMEOUT_MS } from './constants.ts'
import { NOT_JSON, type Outcome, TOO_COSTLY, TOO_DEEP } from './failures.ts'

/** @internal */
export interface WorkerRequest {
  /** JSON of the reduced schema and its dialect. */
  readonly source: string
  readonly value: unknown
}

/** @internal */
export type WorkerAnswer = { readonly started: true } | { readonly started: false; readonly outcome: Outcome }

/** Threads for the checks that could hold up the node's own. Started when needed; they keep no process alive. */
export interface ValidationPool {
  /** @internal */
  validate(source: string, value: unknown): Promise<Outcome>
  /** Ends the threads; what waits fails with CANCELLED. */
  stop(): Promise<void>
}

export interface ValidationPoolInit {
  /** How long one check may take, in milliseconds; default 100. */
  readonly timeoutMs?: number
}

/** Makes the pool of a node: at most two threads, none until the first costly check. */
export function createValidationPool(init: ValidationPoolInit = {}): ValidationPool {
  return new WorkerPool(init.timeoutMs ?? WORKER_TIMEOUT_MS)
}

interface Job extends WorkerRequest {
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (err: MeshError) => void
}

/** A thread and what it is at. */
interface Lane {
  readonly worker: Worker
  job: Job | undefined
  timer: NodeJS.Timeout | undefined
}

class WorkerPool implements ValidationPool {
  readonly #timeoutMs: number
  readonly #waiting: Job[] = []
  readonly #lanes = new Set<Lane>()
  #isStopped = false

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  validate(source: string, value: unknown): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (this.#isStopped) throw stopping()
      if (this.#waiting.length >= MAX_WAITING) throw new MeshError('BUSY', 'too many costly schema checks are waiting')
      this.#waiting.push({ source, value, resolve, reject })
      this.#startNext()
    })
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    for (const { reject } of this.#waiting.splice(0)) reject(stopping())
    const lanes = [...this.#lanes]
    for (const lane of lanes) this.#drop(lane)?.reject(stopping())
    await Promise.all(lanes.map(({ worker }) => worker.terminate()))
  }

  #startNext(): void {
    if (this.#waiting.length === 0) return
    const lane = [...this.#lanes].find(({ job }) => job === undefined) ?? this.#addLane()
    const job = lane === undefined ? undefined : this.#waiting.shift()
    if (lane === undefined || job === undefined) return
    const { source, value } = job
    try {
      lane.worker.postMessage({ source, value } satisfies WorkerRequest)
    } catch (err) {
      job.resolve(err instanceof RangeError ? TOO_DEEP : NOT_JSON) // only what isn't data can't be sent
      return this.#startNext()
    }
    lane.job = job
    lane.worker.ref()
    lane.timer = setTimeout(() => {
      this.#kill(lane)?.reject(new MeshError('BUSY', 'the schema check did not start in time'))
    }, WORKER_START_MS)
  }

  #addLane(): Lane | undefined {
    if (this.#lanes.size >= MAX_WORKERS) return undefined
    const lane: Lane = { worker: startWorker(), job: undefined, timer: undefined }
    this.#lanes.add(lane)
    lane.worker.on('message', (answer: WorkerAnswer) => this.#onAnswer(lane, answer))
    lane.worker.on('error', (err) => {
      const job = this.#kill(lane)
      const isMemory = 'code' in err && err.code === 'ERR_WORKER_OUT_OF_MEMORY'
      if (isMemory) job?.resolve(TOO_COSTLY)
      else job?.reject(new MeshError('INTERNAL', 'the schema check failed', { cause: err }))
    })
    return lane
  }

  #onAnswer(lane: Lane, answer: WorkerAnswer): void {
    const { job } = lane
    if (job === undefined) return
    clearTimeout(lane.timer)
    if (!answer.started) {
      lane.job = undefined
      lane.worker.unref()
      job.resolve(answer.outcome)
      return this.#startNext()
    }
    // Timers come before messages: when this thread was held up itself, the answer may be there already.
    const check = () => lane.job === job && this.#kill(lane)?.resolve(TOO_COSTLY)
    lane.timer = setTimeout(() => setImmediate(check), this.#timeoutMs)
  }

  #kill(lane: Lane): Job | undefined {
    const job = this.#drop(lane)
    void lane.worker.terminate()
    this.#startNext()
    return job
  }

  #drop(lane: Lane): Job | undefined {
    clearTimeout(lane.timer)
    this.#lanes.delete(lane)
    const { job } = lane
    lane.job = undefined
    return job
  }
}

function startWorker(): Worker {
  const isSource = import.meta.filename.endsWith('.ts')
  const file = isSource ? new URL('./worker.ts', import.meta.url) : new URL('./worker.js', import.meta.url)
  const worker = new Worker(file, {
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MB }
  })
  worker.unref()
  return worker
}

const stopping = () => new MeshError('CANCELLED', 'the node is stopping')
