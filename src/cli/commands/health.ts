import ms from 'ms'
import type { HealthReport } from '../../health/index.ts'
import { hoursText } from '../agent.ts'
import { note, paint, plain, print, printFields, printTable, programName, json as toJson } from '../output.ts'
import { untilAborted, type Verb } from '../verb.ts'

export const health: Verb = {
  usage: 'health [id]',
  summary: 'show how agents and peers are, and why one is not well',
  examples: ['health', 'health calculator', 'health --watch --json'],
  options: (command) => command.option('--watch', 'go on with each change of a state, until Ctrl-C'),
  async run({ client, json, signal }, { watch }, [id]) {
    if (watch === true) {
      await untilAborted(signal, async () => {
        for await (const report of client.items<HealthReport, unknown>('GET', '/v1/health/watch')) {
          if (id === undefined || isOf(report, id)) print(json ? toJson(report) : line(report))
        }
      })
      return
    }
    if (id !== undefined) {
      const report = await client.ask<HealthReport>('GET', `/v1/health/${encodeURIComponent(id)}`)
      if (json) print(toJson(report))
      else printReport(report)
      return
    }
    const reports = await client.ask<readonly HealthReport[]>('GET', '/v1/health')
    if (json) print(toJson(reports))
    else if (reports.length === 0)
      note(`no agents, and no peers: add one with ${programName()} agents add NAME, or connect`)
    else
      printTable(
        ['STATE', 'AGENT OR PEER', 'SINCE', 'CALLS', 'FAILED', 'P50', 'P95', 'WHY'],
        reports.map((each) => [each.state, each.id, each.since, ...figures(each), each.reason ?? ''])
      )
  }
}

/** Its id, or a local agent's name. */
function isOf({ id }: HealthReport, wanted: string): boolean {
  return id === wanted || id.split('/')[1] === wanted.replace(/^@/, '')
}

function line({ since, state, id, reason }: HealthReport): string {
  return plain(`${since}  ${paint('bold', state.padEnd(8))}  ${id}${reason === undefined ? '' : `  ${reason}`}`)
}

function figures({ calls, errorRate, p50, p95 }: HealthReport): string[] {
  return [String(calls), `${Math.round(errorRate * 100)} %`, duration(p50), duration(p95)]
}

function duration(value: number | undefined): string {
  return value === undefined ? '-' : ms(Math.round(value))
}

function printReport(report: HealthReport): void {
  const { kind, id, state, since, reason, lastProbe, availability } = report
  const [calls, failed, p50, p95] = figures(report)
  const asked = lastProbe && `${lastProbe.at}, ${lastProbe.ok ? 'well' : 'not well'} after ${ms(lastProbe.ms)}`
  printFields([
    [kind, id],
    ['state', [state, ...(reason === undefined ? [] : [reason])]],
    ['since', since],
    ['last asked', asked],
    ['calls', `${calls} in five minutes, ${failed} failed`],
    ['took', p50 === '-' ? undefined : `half of them ${p50} at most, 95 of 100 ${p95}`],
    ['hours', availability?.windows.map(hoursText)],
    ['wakes', availability?.opensAt]
  ])
}
