import type { Change, FindStep, FindSummary, Found, Missing } from '../../discovery/index.ts'
import { MeshError } from '../../errors.ts'
import { createClient } from '../client.ts'
import { headline, note, paint, plain, print, progress, json as toJson } from '../output.ts'
import { describeStep } from '../steps.ts'
import { addQueryOptions, type Context, count, duration, queryString, untilAborted, type Verb } from '../verb.ts'

export const find: Verb = {
  usage: 'find',
  summary: 'find capabilities across the mesh',
  examples: [
    "find --kind tool --name 'fs.*' --version ^1",
    'find --text weather --json',
    'find --name db.query --explain',
    'find --tag gpu --watch'
  ],
  options: (command) =>
    addQueryOptions(command)
      .option('--timeout <duration>', 'how long to look (default: 5s; with --watch until Ctrl-C)', duration)
      .option('--limit <number>', 'stop after so many', count)
      .option('--explain', 'then tell how it was looked for: whom was asked, what each said, what was refused and why')
      .option('--watch', 'go on, and tell what comes, changes and goes'),
  async run(context, { watch, explain, timeout, limit, ...query }) {
    if (watch === true && explain === true) {
      throw new MeshError('INVALID_ARGUMENT', '--explain tells of one find, --watch never ends')
    }
    const found =
      watch === true
        ? await follow(context, query, { timeout, limit })
        : await search(context, query, { timeout, limit, explain })
    if (found === 0 && !(watch === true && context.signal.aborted)) {
      throw new MeshError('NOT_FOUND', 'nothing found', {
        hint: 'ask for less, wait longer with --timeout, or see pryx-mesh peers'
      })
    }
  }
}

interface Bounds {
  readonly timeout: unknown
  readonly limit: unknown
  readonly explain?: unknown
}

type End = FindSummary & { readonly steps?: readonly FindStep[] }

async function search(
  { client, json }: Context,
  query: Record<string, unknown>,
  { timeout, limit, explain }: Bounds
): Promise<number> {
  let found = 0
  const asked = { ...query, timeoutMs: timeout, limit, ...(explain === true && { explain: 'true' }) }
  const done = progress(() => `searching, ${found} found`)
  try {
    const items = client.items<Found, End>('GET', `/v1/find${queryString(asked)}`)
    let next = await items.next()
    for (; next.done !== true; next = await items.next()) {
      found++
      done()
      print(json ? toJson(exact(next.value)) : row(next.value))
    }
    conclude(next.value, json)
  } finally {
    done()
  }
  return found
}

/** What there is to say beside the results; with `--json` the steps are lines too, told apart by `step`. */
function conclude({ complete, count, estimate, missing = [], steps = [] }: End, json: boolean): void {
  for (const step of steps) print(json ? toJson(step) : describeStep(step))
  for (const each of missing)
    note(json ? toJson({ missing: each }) : `${paint('yellow', 'missing:', process.stderr)} ${missed(each)}`)
  if (json) return
  const whole = complete ? 'complete' : 'not complete: there may be more'
  note(`${count} found; ${whole}${estimate > count ? `, about ${estimate} agents offer it` : ''}`)
}

function missed({ agent, name, reason, others }: Missing): string {
  const what = plain(`${name} of ${agent}`)
  if (reason === 'gone') return `${what}, which was called before, is not offered any more`
  return `${what}, which was called before, is offered under another key only: ${plain(others.join(', '))}`
}

async function follow(context: Context, query: Record<string, unknown>, { timeout, limit }: Bounds): Promise<number> {
  const { home, json } = context
  let found = 0
  const until = timeout === undefined ? [] : [AbortSignal.timeout(Number(timeout))]
  const signal = AbortSignal.any([context.signal, ...until])
  await untilAborted(signal, async () => {
    const changes = createClient({ home, signal }).items<Change, unknown>('GET', `/v1/watch${queryString(query)}`)
    for await (const change of changes) {
      found++
      print(
        json
          ? toJson({ ...exact(change), change: change.change })
          : `${paint(COLOURS[change.change], change.change.padEnd(7))}  ${row(change)}`
      )
      if (found === limit) break
    }
  })
  return found
}

/** The line of a result as it is documented, whatever else the node tells. */
function exact({ agent, peer, capability, source, record: { seq, expiresAt }, verifiedAt }: Found): Found {
  return { agent, peer, capability, source, record: { seq, expiresAt }, verifiedAt }
}

const COLOURS = { added: 'green', changed: 'yellow', gone: 'red' } as const

/** Rows come one by one, so their columns have a usual width, not the widest one's. */
function row({ agent, capability, source }: Found): string {
  const { kind, name, version, description } = capability
  const cells = [kind, `${name}@${version}`, agent, source, headline(description)].map(plain)
  if (!process.stdout.isTTY) return cells.join('\t')
  const [type = '', title = '', ...rest] = cells
  return [type.padEnd(5), paint('bold', title.padEnd(28)), ...rest].join('  ').trimEnd()
}
