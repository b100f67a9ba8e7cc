/** Results as a table for people, or one JSON document for programs. */
import { cpus, release, totalmem, type } from 'node:os'
import type { Judged } from './floors.ts'
import { ratio } from './floors.ts'
import type { BenchName, Result, Skipped } from './result.ts'
import type { SystemName } from './system.ts'

export interface Report {
  readonly machine: {
    readonly cpu: string
    readonly cores: number
    readonly memoryGb: number
    readonly node: string
    readonly os: string
  }
  readonly reps: number
  readonly seconds: number
  readonly results: readonly Result[]
  readonly floors: readonly Judged[]
  readonly skipped: readonly Skipped[]
}

export function describeMachine(): Report['machine'] {
  const all = cpus()
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGb: Math.round(totalmem() / 1e9),
    node: process.version,
    os: `${type()} ${release()}`
  }
}

export function toJson(report: object): string {
  // Six digits are more than was measured.
  return JSON.stringify(report, (_key, value: unknown) =>
    typeof value === 'number' ? Number(value.toPrecision(6)) : value
  )
}

export function toText({ machine, reps, seconds, results, floors, skipped }: Report): string {
  const of = (bench: BenchName): Result[] => results.filter((result) => result.bench === bench)
  const parts = [`${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Node ${machine.node}, ${machine.os}`]
  const runs = `two processes on loopback, medians of ${reps} interleaved runs of ${seconds} s`
  const add = (title: string, rows: readonly (readonly string[])[]): void => {
    if (rows.length > 1) parts.push(`${title}\n${align(rows)}`)
  }
  add(`call: 1 KiB JSON each way; ${runs}`, trafficRows(of('call')))
  add(`stream: small JSON items, one stream at a time; ${runs}`, trafficRows(of('stream')))
  add('start: spawn to ready', startRows(of('start')))
  add('find', findRows(of('find')))
  add('status: the answer of the control socket', findRows(of('status')))
  add('messages: 1 KiB on disk at both sides, 64 in flight', messageRows(of('messages')))
  add('agents: 1,000 agents that have dialled in', agentRows(of('agents')))
  add('blob: 256 MiB, ours from file to file and checked, the others from memory to memory', blobRows(of('blob')))
  add('steps: what a call costs beside the transport', stepRows(of('steps')))
  add('floors', floorRows(floors))
  if (skipped.length > 0)
    parts.push(skipped.map(({ bench, system, reason }) => `${bench}: no ${system}: ${reason}`).join('\n'))
  return parts.join('\n\n')
}

function trafficRows(results: readonly Result[]): string[][] {
  const isCall = results[0]?.bench === 'call'
  const head = ['in flight', 'system', isCall ? 'calls/s' : 'items/s', 'p50 ms', 'p99 ms', 'CPU µs', 'pryx-mesh is']
  const rows = results.map((result) => [
    String(result.inFlight),
    result.itemsPerStream === undefined ? result.system : `${result.system} (${result.itemsPerStream} items a stream)`,
    Math.round(result.perSecond).toLocaleString('en'),
    result.p50Ms.toFixed(2),
    result.p99Ms.toFixed(2),
    (result.cpuMicros ?? Number.NaN).toFixed(1),
    ratioText(results, result)
  ])
  return [head, ...rows]
}

function ratioText(results: readonly Result[], { bench, inFlight, system }: Result): string {
  if (system === ('pryx-mesh' satisfies SystemName)) return ''
  const value = ratio(bench, inFlight, system, 'runs')(results)
  return value === undefined ? '' : `${value.toFixed(2)}×`
}

function startRows(results: readonly Result[]): string[][] {
  const rows = results.map((result) => [
    result.what ?? '',
    result.p50Ms.toFixed(0),
    result.p99Ms.toFixed(0),
    result.rssMb?.toFixed(0) ?? ''
  ])
  return [['', 'p50 ms', 'max ms', 'idle RSS MB'], ...rows]
}

function findRows(results: readonly Result[]): string[][] {
  const rows = results.map((result) => [
    result.what ?? '',
    result.p50Ms.toFixed(2),
    (result.p95Ms ?? Number.NaN).toFixed(2)
  ])
  return [['', 'p50 ms', 'p95 ms'], ...rows]
}

function messageRows(results: readonly Result[]): string[][] {
  const rows = results.map((result) => [
    result.what ?? '',
    Math.round(result.perSecond).toLocaleString('en'),
    result.p50Ms.toFixed(2),
    result.p99Ms.toFixed(2),
    (result.lagMs ?? Number.NaN).toFixed(1)
  ])
  return [['', '/s', 'p50 ms', 'p99 ms', 'loop lag p99 ms'], ...rows]
}

function agentRows(results: readonly Result[]): string[][] {
  const rows = results.map((result) => [
    result.what ?? '',
    (result.heldKb ?? Number.NaN).toFixed(1),
    result.p50Ms.toFixed(2),
    result.p99Ms.toFixed(2)
  ])
  return [['', 'KB', 'ping p50 ms', 'p99 ms'], ...rows]
}

function blobRows(results: readonly Result[]): string[][] {
  const rows = results.map((result) => [
    result.system,
    (result.perSecond / 1e6).toFixed(0),
    result.p50Ms.toFixed(0),
    ratioText(results, result)
  ])
  return [['system', 'MB/s', 'p50 ms', 'pryx-mesh is'], ...rows]
}

function stepRows(results: readonly Result[]): string[][] {
  return [['', 'µs'], ...results.map((result) => [result.what ?? '', (result.p50Ms * 1000).toFixed(2)])]
}

function floorRows(floors: readonly Judged[]): string[][] {
  const rows = floors.map(({ bench, name, value, unit, most, bound, met }) => [
    `${bench}: ${name}`,
    value === undefined ? '–' : amount(value, unit),
    `${most === true ? '≤' : '≥'} ${amount(bound, unit)}`,
    met === undefined ? 'not measured' : met ? 'met' : 'missed'
  ])
  return [['', 'measured', 'floor', ''], ...rows]
}

function amount(value: number, unit: Judged['unit']): string {
  return unit === '×' ? `${value.toPrecision(3)}×` : `${value.toFixed(value < 100 ? 1 : 0)} ${unit}`
}

/** Words to the left, numbers to the right. */
export function align(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const isWords = widths.map((_, column) => rows.slice(1).some((row) => /^[^\d\s–<≥≤]/.test(row[column] ?? '')))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        isWords[column] === true ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)
      )
      .join('  ')
  return rows.map((row) => `  ${line(row).trimEnd()}`).join('\n')
}
