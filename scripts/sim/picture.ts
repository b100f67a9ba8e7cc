/** The growth as a picture: small charts over the number of nodes, in SVG written by hand. */
import type { CheckResult } from './checks/check.ts'
import { QUERIES_TO_FIRST } from './checks/growth.ts'
import type { SimResult } from './scenario.ts'

/** A size of mesh, and what was proved of any size. */
export interface Drawn extends SimResult {
  readonly proof: readonly CheckResult[]
}

interface Line {
  readonly label: string
  readonly value: (result: Drawn) => number
}

interface Chart {
  readonly title: string
  readonly unit: string
  readonly lines: readonly Line[]
  /** Of the axis, where 0 would hide what matters. */
  readonly from?: number
  /** Of the axis, when nothing is higher. */
  readonly to?: number
}

const CHARTS: readonly Chart[] = [
  {
    title: 'Time of a find',
    unit: 'ms',
    lines: [
      { label: 'first, p50', value: (r) => r.firstP50Ms },
      { label: 'first, p95', value: (r) => r.firstP95Ms },
      { label: 'all, p95', value: (r) => r.allP95Ms }
    ]
  },
  {
    title: 'Messages of a find',
    unit: 'messages',
    to: 10,
    lines: [
      { label: 'p50', value: (r) => r.messagesPerFindP50 },
      { label: 'p95', value: (r) => r.messagesPerFindP95 }
    ]
  },
  {
    title: 'Recall',
    unit: '%',
    from: 96,
    to: 100,
    lines: [
      { label: 'of all finds', value: (r) => r.recall * 100 },
      { label: 'floor', value: () => 99 }
    ]
  },
  {
    title: 'The DHT alone: to the first',
    unit: 'queries',
    to: 30,
    lines: [
      { label: 'p50', value: (r) => proved(r, 'own find', QUERIES_TO_FIRST) },
      { label: 'p95', value: (r) => proved(r, 'own find', 'queries to the first, p95') },
      { label: 'bound of p95', value: () => 25 }
    ]
  },
  {
    title: 'The DHT alone: a whole walk',
    unit: 'queries, p50',
    to: 80,
    lines: [
      { label: 'asked', value: (r) => proved(r, 'own find', 'queries of a whole walk, p50') },
      { label: 'bound', value: () => 75 }
    ]
  },
  {
    title: 'The DHT alone: found',
    unit: '%',
    from: 90,
    to: 100,
    lines: [
      { label: '30 % liars', value: (r) => proved(r, 'liars', '30 % liars: found, %') },
      { label: '20 sybils', value: (r) => proved(r, 'sybils', 'found as we publish, %') },
      { label: 'half gone', value: (r) => proved(r, 'churn', 'found after one more publication, %') }
    ]
  },
  {
    title: 'Background of a node',
    unit: 'messages/s',
    lines: [{ label: 'sent', value: (r) => r.messagesPerNodeSecond }]
  },
  {
    title: 'Connections, hops',
    unit: 'of a node, to an owner',
    lines: [
      { label: 'connections', value: (r) => r.connectionsPerNode },
      { label: 'hops, p95', value: (r) => r.hopsP95 }
    ]
  },
  {
    title: 'Memory of a node',
    unit: 'MB',
    lines: [
      { label: 'resident', value: (r) => r.rssPerNodeMb },
      { label: 'heap', value: (r) => r.heapPerNodeMb }
    ]
  }
]

const COLUMNS = 3
const CHART = { width: 300, height: 220 }
const PLOT = { left: 48, top: 44, width: 232, height: 128 }
const COLOURS = ['#1f6feb', '#d1570a', '#2a9d4a']
const TICKS = 4
const HEADER_HEIGHT = 34

export function drawGrowth(results: readonly Drawn[], caption: string): string {
  const width = COLUMNS * CHART.width
  const height = HEADER_HEIGHT + Math.ceil(CHARTS.length / COLUMNS) * CHART.height
  const charts = CHARTS.map((chart, i) => {
    const [x, y] = [(i % COLUMNS) * CHART.width, HEADER_HEIGHT + Math.floor(i / COLUMNS) * CHART.height]
    return `<g transform="translate(${x} ${y})">${drawChart(chart, results)}</g>`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="22" font-size="13" fill="#24292f">${escape(caption)}</text>`,
    ...charts,
    '</svg>',
    ''
  ].join('\n')
}

function proved({ nodes, proof }: Drawn, check: string, what: string): number {
  const result = proof.find((each) => each.name === check && each.nodes === nodes)
  return result?.measures.find((measure) => measure.what === what)?.value ?? Number.NaN
}

function drawChart(chart: Chart, results: readonly Drawn[]): string {
  const sizes = results.map((result) => result.nodes)
  const values = chart.lines.flatMap((line) => results.map(line.value)).filter(Number.isFinite)
  const from = Math.min(chart.from ?? 0, ...(chart.from === undefined ? [] : values.map(Math.floor)))
  const to = niceTop(Math.max(chart.to ?? 0, ...values), from)
  // The sizes about double: on a logarithmic axis they stand evenly, and proportional growth bends upwards.
  const [low, high] = [Math.log(Math.min(...sizes)), Math.log(Math.max(...sizes))]
  const x = (nodes: number): number =>
    PLOT.left + (high === low ? 0.5 : (Math.log(nodes) - low) / (high - low)) * PLOT.width
  const y = (value: number): number => PLOT.top + (1 - (value - from) / (to - from)) * PLOT.height
  const lines = chart.lines.map((line, i) => drawLine(line, results, { x, y }, COLOURS[i] ?? '#000000'))
  return [title(chart), axes(sizes, { from, to }, { x, y }), ...lines, legend(chart)].join('\n')
}

interface Scale {
  readonly x: (nodes: number) => number
  readonly y: (value: number) => number
}

function title({ title: text, unit }: Chart): string {
  return `<text x="${PLOT.left}" y="16" font-weight="bold" fill="#24292f">${escape(text)} <tspan font-weight="normal" fill="#57606a">(${escape(unit)})</tspan></text>`
}

function axes(sizes: readonly number[], range: { from: number; to: number }, { x, y }: Scale): string {
  const bottom = PLOT.top + PLOT.height
  const rows = Array.from({ length: TICKS + 1 }, (_, i) => {
    const value = range.from + ((range.to - range.from) * i) / TICKS
    return [
      `<line x1="${PLOT.left}" x2="${PLOT.left + PLOT.width}" y1="${px(y(value))}" y2="${px(y(value))}" stroke="${i === 0 ? '#57606a' : '#e3e6ea'}"/>`,
      `<text x="${PLOT.left - 6}" y="${px(y(value) + 4)}" text-anchor="end" fill="#57606a">${number(value)}</text>`
    ].join('')
  })
  const columns = sizes.map(
    (nodes) => `<text x="${px(x(nodes))}" y="${bottom + 15}" text-anchor="middle" fill="#57606a">${nodes}</text>`
  )
  const name = `<text x="${PLOT.left + PLOT.width / 2}" y="${bottom + 30}" text-anchor="middle" fill="#57606a">nodes</text>`
  return [...rows, ...columns, name].join('\n')
}

function drawLine({ value }: Line, results: readonly Drawn[], { x, y }: Scale, colour: string): string {
  const points = results
    .filter((result) => Number.isFinite(value(result)))
    .map((result) => [px(x(result.nodes)), px(y(value(result)))])
  const dots = points.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`)
  return `<polyline points="${points.map((point) => point.join()).join(' ')}" fill="none" stroke="${colour}" stroke-width="1.8"/>${dots.join('')}`
}

function legend({ lines }: Chart): string {
  let at = PLOT.left
  const entries = lines.map(({ label }, i) => {
    const entry = `<rect x="${at}" y="25" width="10" height="3" fill="${COLOURS[i] ?? '#000000'}"/><text x="${at + 14}" y="30" fill="#24292f" font-size="10">${escape(label)}</text>`
    at += 24 + label.length * 5.2
    return entry
  })
  return entries.join('')
}

/** A round number above the highest value, that divides well. */
function niceTop(highest: number, from: number): number {
  const span = Math.max(highest - from, 1e-9)
  const unit = 10 ** Math.floor(Math.log10(span))
  const step = [1, 2, 4, 5, 8, 10].find((factor) => factor * unit >= span * 0.9999) ?? 10
  return from + step * unit
}

function px(value: number): string {
  return value.toFixed(1)
}

function number(value: number): string {
  return String(Number(value.toPrecision(3)))
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
