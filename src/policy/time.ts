import type { TimeWindow } from './messages.ts'

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const MINUTE_MS = 60_000
const DAY_MINUTES = 1_440
/** Clocks are put forward or back by so much at most. */
export const MAX_SHIFT_MINUTES = 180

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

/** Local time of one zone. */
interface LocalTime {
  /** 0 is Sunday. */
  readonly day: number
  /** Since local midnight. */
  readonly minute: number
}

/** Local time, worked out once a minute for each zone: Intl takes microseconds, and knows about summer time. */
export function createLocalTimes(): (tz: string) => (nowMs: number) => LocalTime {
  const zones = new Map<string, (nowMs: number) => LocalTime>()
  return (tz) => {
    const known = zones.get(tz)
    if (known !== undefined) return known
    const zone = localTimeOf(tz)
    zones.set(tz, zone)
    return zone
  }
}

function localTimeOf(timeZone: string): (nowMs: number) => LocalTime {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23'
  })
  let minuteSince1970 = Number.NaN
  let local: LocalTime = { day: 0, minute: 0 }
  return (nowMs) => {
    const minute = Math.floor(nowMs / MINUTE_MS)
    if (minute === minuteSince1970) return local
    const parts = new Map(format.formatToParts(nowMs).map(({ type, value }) => [type, value]))
    local = {
      day: DAYS.indexOf((parts.get('weekday') ?? '').toLowerCase()),
      minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute'))
    }
    minuteSince1970 = minute
    return local
  }
}

export type LocalTimes = ReturnType<typeof createLocalTimes>

/** @returns tells whether a moment, in milliseconds since 1970, is in the window */
export function compileTime(window: TimeWindow, zones: LocalTimes): (nowMs: number) => boolean {
  const localTime = zones(window.tz ?? 'UTC')
  const days = window.days === undefined ? new Set(DAYS.keys()) : readDays(window.days)
  const from = readClock(window.from ?? '00:00')
  const to = window.to === undefined || window.to === '00:00' ? DAY_MINUTES : readClock(window.to)
  return (nowMs) => {
    const { day, minute } = localTime(nowMs)
    if (from < to) return minute >= from && minute < to && days.has(day)
    return minute >= from ? days.has(day) : minute < to && days.has((day + 6) % 7)
  }
}

/**
 * @returns minutes on the local clock from a moment to the window's beginnings around it and in the three weeks after it, in
 *   their order; a little before it too, as clocks that are put back come by again
 */
export function minutesUntil(window: TimeWindow, zones: LocalTimes): (nowMs: number) => readonly number[] {
  const localTime = zones(window.tz ?? 'UTC')
  const days = window.days === undefined ? new Set(DAYS.keys()) : readDays(window.days)
  const from = readClock(window.from ?? '00:00')
  return (nowMs) => {
    const { day, minute } = localTime(nowMs)
    const ahead = Array.from({ length: 24 }, (_, n) => n - 1).filter((n) => days.has((day + n + 7) % 7))
    return ahead.map((n) => n * DAY_MINUTES + from - minute).filter((minutes) => minutes >= -MAX_SHIFT_MINUTES)
  }
}

function readClock(text: string): number {
  return Number(text.slice(0, 2)) * 60 + Number(text.slice(3))
}

function readDays(text: string): Set<number> {
  const days = new Set<number>()
  for (const part of text.split(',')) {
    const [first = 0, last = first] = part.split('-').map((name) => DAYS.indexOf(name))
    for (let day = first; ; day = (day + 1) % 7) {
      days.add(day)
      if (day === last) break
    }
  }
  return days
}
