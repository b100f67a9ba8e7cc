import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type AvailabilityWindow, compileAvailability } from '../../src/registry/index.ts'
import { agentDefinition, agentRecord } from '../../src/registry/messages.ts'

const at = (text: string): number => Date.parse(text)
const BERLIN = { zone: 'Europe/Berlin' }

describe('the hours of an agent', () => {
  it.each<{ id: string; windows: AvailabilityWindow[]; now: string; isOpen: boolean; opensAt: string }>([
    {
      id: 'on a working day',
      windows: [{ days: 'mon-fri', from: '08:00', to: '18:00', ...BERLIN }],
      now: '2026-11-23T08:30:00Z',
      isOpen: true,
      opensAt: '2026-11-24T07:00:00Z'
    },
    {
      id: 'on Friday evening',
      windows: [{ days: 'mon-fri', from: '08:00', to: '18:00', ...BERLIN }],
      now: '2026-11-27T17:00:00Z',
      isOpen: false,
      opensAt: '2026-11-30T07:00:00Z'
    },
    {
      id: 'in the night before the clock is put forward',
      windows: [{ from: '08:00', to: '18:00', ...BERLIN }],
      now: '2026-03-28T20:00:00Z',
      isOpen: false,
      opensAt: '2026-03-29T06:00:00Z'
    },
    {
      id: 'in the night before the clock is put back',
      windows: [{ from: '08:00', to: '18:00', ...BERLIN }],
      now: '2026-10-24T20:00:00Z',
      isOpen: false,
      opensAt: '2026-10-25T07:00:00Z'
    },
    {
      id: 'that begin in the hour which is left out',
      windows: [{ from: '02:30', to: '04:00', ...BERLIN }],
      now: '2026-03-29T00:00:00Z',
      isOpen: false,
      opensAt: '2026-03-29T01:00:00Z'
    },
    {
      id: 'that begin twice in the hour which comes twice',
      windows: [{ from: '02:15', to: '02:45', ...BERLIN }],
      now: '2026-10-25T00:50:00Z',
      isOpen: false,
      opensAt: '2026-10-25T01:15:00Z'
    },
    {
      id: 'of one day a week, in the hour which is left out on the next',
      windows: [{ days: 'sun', from: '02:10', to: '02:20', ...BERLIN }],
      now: '2026-03-22T01:30:00Z',
      isOpen: false,
      opensAt: '2026-04-05T00:10:00Z'
    },
    {
      id: 'over midnight',
      windows: [{ days: 'fri', from: '22:00', to: '06:00' }],
      now: '2026-11-28T05:59:00Z',
      isOpen: true,
      opensAt: '2026-12-04T22:00:00Z'
    },
    {
      id: 'of two windows',
      windows: [
        { days: 'mon', from: '09:00', to: '10:00' },
        { days: 'mon', from: '12:00', to: '13:00' }
      ],
      now: '2026-11-23T10:00:00Z',
      isOpen: false,
      opensAt: '2026-11-23T12:00:00Z'
    }
  ])('$id', ({ windows, now, isOpen, opensAt }) => {
    const hours = compileAvailability(windows)
    expect(hours.isOpen(at(now))).toBe(isOpen)
    expect(new Date(hours.opensAt(at(now)) ?? 0).toISOString()).toBe(new Date(opensAt).toISOString())
  })

  it('in a zone that nobody knows never close', () => {
    const hours = compileAvailability([{ from: '08:00', to: '08:01', zone: 'Mars/Olympus' }])
    expect(hours.isOpen(at('2026-11-23T20:00:00Z'))).toBe(true)
    expect(hours.opensAt(0)).toBeUndefined()
  })

  it('of every day and hour never begin, as they never end', () => {
    const hours = compileAvailability([{ days: 'mon-sun' }])
    expect(hours.isOpen(at('2026-11-23T20:00:00Z'))).toBe(true)
    expect(hours.opensAt(at('2026-11-23T20:00:00Z'))).toBeUndefined()
  })

  it('begin when a clock that is looked at every minute says so', () => {
    const clock = fc
      .integer({ min: 0, max: 1_439 })
      .map((minute) => `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`)
    const zone = fc.constantFrom('Europe/Berlin', 'America/St_Johns', 'Australia/Lord_Howe', 'Asia/Kolkata', 'UTC')
    const days = fc.constantFrom('mon-sun', 'sat,sun', 'sun', 'mon-fri')
    const window = fc.record({ days, from: clock, to: clock, zone }).filter(({ from, to }) => from !== to)
    // Around the changes of the clocks on both halves of the earth
    const moment = fc
      .tuple(
        fc.constantFrom('2026-03-28', '2026-10-24', '2026-04-04', '2026-10-03', '2026-11-01'),
        fc.integer({ min: 0, max: 2_880 })
      )
      .map(([day, minutes]) => Date.parse(`${day}T00:00:00Z`) + minutes * 60_000)
    fc.assert(
      fc.property(window, moment, (each, now) => {
        const hours = compileAvailability([each])
        let expected = now + 60_000
        while (!hours.isOpen(expected) || hours.isOpen(expected - 60_000)) {
          expected += 60_000
        }
        expect(hours.opensAt(now)).toBe(expected)
      }),
      { numRuns: 60 }
    )
  })
})

describe('what may be said of hours', () => {
  const definition = { name: 'a', driver: 'function', config: null, tags: [], audience: 'public' }

  it.each([
    [[{ days: 'monday' }], false],
    [[{ from: '8:00' }], false],
    [[{ from: '08:00', to: '08:00' }], false],
    [[{ zone: 'Mars/Olympus' }], false],
    [Array.from({ length: 17 }, () => ({ days: 'mon' })), false],
    [[], true],
    [[{ days: 'mon-fri', from: '08:00', to: '18:00', zone: 'Europe/Berlin' }], true]
  ])('%j is fine for an owner: %s', (availability, isFine) => {
    expect(agentDefinition.safeParse({ ...definition, availability }).success).toBe(isFine)
  })

  it('a record may name zones that its reader does not know', () => {
    const { availability } = agentRecord.shape
    expect(availability.safeParse([{ zone: 'Mars/Olympus' }]).success).toBe(true)
    expect(availability.safeParse([{ zone: 'x'.repeat(65) }]).success).toBe(false)
    expect(availability.safeParse([]).success).toBe(false)
  })
})
