/**
 * `npm run bench -- [--only NAME] [--seconds S] [--reps N] [--json]`
 *
 * Measures pryx-mesh beside its peers and says which floors are met. Results on stdout, progress on stderr. Exits 1 when
 * something broke, not when a floor is missed: a machine may be slow.
 */
import { parseArgs } from 'node:util'
import { runFolder } from './children.ts'
import { benchFind } from './find.ts'
import { judge } from './floors.ts'
import { describeMachine, toJson, toText } from './report.ts'
import type { BenchContext, BenchName, BenchOutcome } from './result.ts'
import { BENCH_NAMES, skippedBy } from './result.ts'
import { benchStart } from './start.ts'
import { benchStatus } from './status.ts'
import { benchSteps } from './steps.ts'
import { benchCalls, benchStreams } from './traffic.ts'

const BENCHES: Readonly<Record<BenchName, (context: BenchContext) => Promise<BenchOutcome>>> = {
  call: benchCalls,
  stream: benchStreams,
  start: benchStart,
  find: benchFind,
  status: benchStatus,
  steps: benchSteps
}

const USAGE = `usage: npm run bench -- [--only ${BENCH_NAMES.join('|')}] [--seconds S] [--reps N] [--json]
  --only     this bench; may be given again
  --seconds  length of one run, default 1; every system runs once in each repetition
  --reps     repetitions, default 5
  --json     one JSON document on stdout`

const { values } = parse()
const names = values.only.length === 0 ? BENCH_NAMES : BENCH_NAMES.filter((name) => values.only.includes(name))
const seconds = Number(values.seconds)
const reps = Number(values.reps)
const isSane = names.length >= values.only.length && seconds > 0 && seconds <= 600 && Number.isInteger(reps) && reps > 0
if (!isSane) usage()

const folder = runFolder('pryx-mesh-bench')
const progress = (text: string): void => console.error(`bench: ${text}`)
const outcomes: BenchOutcome[] = []
for (const name of names) outcomes.push(await run(name))

const results = outcomes.flatMap((outcome) => outcome.results)
const skipped = outcomes.flatMap((outcome) => outcome.skipped)
const report = { machine: describeMachine(), reps, seconds, results, floors: judge(results, names), skipped }
if (skipped.some(({ broke }) => broke === true)) process.exitCode = 1
console.log(values.json ? toJson(report) : toText(report))

/** One bench that breaks doesn't take the others' results with it. */
async function run(name: BenchName): Promise<BenchOutcome> {
  try {
    return await BENCHES[name]({ seconds, reps, folder, progress })
  } catch (err) {
    return { results: [], skipped: [skippedBy(name, 'pryx-mesh', err)] }
  }
}

function parse() {
  try {
    return parseArgs({
      options: {
        only: { type: 'string', multiple: true, default: [] },
        seconds: { type: 'string', default: '1' },
        reps: { type: 'string', default: '5' },
        json: { type: 'boolean', default: false }
      }
    })
  } catch (err) {
    return usage(err instanceof Error ? err.message : undefined)
  }
}

function usage(problem?: string): never {
  if (problem !== undefined) console.error(problem)
  console.error(USAGE)
  process.exit(2)
}
