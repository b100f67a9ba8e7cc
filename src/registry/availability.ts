import { z } from 'zod'
import {
  compileTime,
  createLocalTimes,
  isTimeZone,
  type LocalTimes,
  MAX_SHIFT_MINUTES,
  minutesUntil
} from '../policy/time.ts'
import { MAX_WINDOWS } from './constants.ts'

const CLOCK = /^(?:[01]\d|2[0-3]):[0-5]\d$/
const DAY = '(?:mon|tue|wed|thu|fri|sat|sun)'
const DAYS = new RegExp(`^${DAY}(?:-${DAY})?(?:,${DAY}(?:-${DAY})?)*$`)

/** A time in which an agent is there, as records tell it; a zone that a reader doesn't know says nothing to it. */
const window = z
  .object({
    /** `mon-fri`, `sat,sun`; default all. Of a window over midnight, the day on which it begins. */
    days: z.string().max(64).regex(DAYS, 'must be days such as mon-fri or sat,sun').exactOptional(),
    /** Inclusive; default `00:00`. */
    from: z.string().regex(CLOCK, 'must be a time such as 08:30').exactOptional(),
    /** Exclusive; default midnight. Not later than `from`: on the next day. */
    to: z.string().regex(CLOCK, 'must be a time such as 18:00').exactOptional(),
    /** IANA name; default `UTC`. */
    zone: z
      .string()
      .regex(/^[A-Za-z0-9_+/-]{1,64}$/)
      .exactOptional()
  })
  .refine(({ from = '00:00', to = '24:00' }) => from !== to, 'from and to are the same: it would never fit')

export const availability = z.array(window).min(1).max(MAX_WINDOWS)

/** What an owner may say: in zones that this node knows; none: always. */
export const ownAvailability = z
  .array(
    window.refine(({ zone = 'UTC' }) => isTimeZone(zone), {
      path: ['zone'],
      error: 'must be a time zone such as Europe/Berlin'
    })
  )
  .max(MAX_WINDOWS)

/** A time in which an agent is there. */
export type AvailabilityWindow = Readonly<z.infer<typeof window>>

/** When an agent is there; any of its windows will do. */
export interface Availability {
  /** @param nowMs milliseconds since 1970 */
  isOpen(nowMs: number): boolean
  /** The next moment at which it is open and wasn't a minute before; undefined when it never closes. */
  opensAt(nowMs: number): number | undefined
}

const MINUTE_MS = 60_000

/** Windows in zones that aren't known count as open: who doesn't know better asks. */
export function compileAvailability(windows: readonly AvailabilityWindow[]): Availability {
  const zones = createLocalTimes()
  const compiled = windows.map((each) => compileWindow(each, zones))
  const isOpen = (nowMs: number): boolean => compiled.some((each) => each.isOpen(nowMs))
  return {
    isOpen,
    opensAt(nowMs) {
      const starts = compiled.flatMap((each) => each.opensAt(nowMs) ?? [])
      return starts.length === 0 ? undefined : Math.min(...starts)
    }
  }
}

function compileWindow({ zone = 'UTC', ...rest }: AvailabilityWindow, zones: LocalTimes): Availability {
  if (!isTimeZone(zone)) return { isOpen: () => true, opensAt: () => undefined }
  const window = { ...rest, tz: zone }
  const isOpen = compileTime(window, zones)
  return {
    isOpen,
    opensAt(nowMs) {
      // By the clock on the wall first, which summer time may put forward or back until then
      for (const minutes of minutesUntil(window, zones)(nowMs)) {
        const about = Math.floor(nowMs / MINUTE_MS) + minutes
        const first = Math.max(about - MAX_SHIFT_MINUTES, Math.floor(nowMs / MINUTE_MS) + 1)
        for (let minute = first; minute <= about + MAX_SHIFT_MINUTES; minute += 1) {
          if (isOpen(minute * MINUTE_MS) && !isOpen((minute - 1) * MINUTE_MS)) return minute * MINUTE_MS
        }
      }
      return undefined
    }
  }
}
