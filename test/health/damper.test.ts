import fc from 'fast-check'
import { expect, it } from 'vitest'
import { FLAP_HALF_LIFE_MS } from '../../src/health/constants.ts'
import { Damper } from '../../src/health/damper.ts'

const noted = (damper: Damper, probes: string, now = 0): boolean | undefined => {
  for (const probe of probes) damper.note(probe === '+', now)
  return damper.isUp
}

it.each([
  ['', undefined],
  ['-', undefined],
  ['+', true],
  ['+-', true],
  ['+-+', true],
  ['+--', false],
  ['+-+-', false],
  ['+-++-', true],
  ['--', false],
  ['--++', false],
  ['--+-++', false],
  ['--+++', true],
  ['--+++-', true]
])('after the probes %s it is up: %s', (probes, isUp) => {
  expect(noted(new Damper(), probes)).toBe(isUp)
})

it('is down at once when that is certain, and up at once when that is, the first time', () => {
  const damper = new Damper()
  damper.vouch(0)
  damper.fall(10)
  expect(damper.isUp).toBe(false)
  damper.vouch(20)
  expect(damper.isUp).toBe(true)
})

it('has to wait after the second fall in a minute, less the longer ago the first was', () => {
  const damper = new Damper()
  damper.vouch(0)
  damper.fall(0)
  damper.vouch(1_000)
  damper.fall(1_000)
  const heldMs = damper.heldMs(1_000)
  expect(heldMs).toBeGreaterThan(55_000)
  expect(heldMs).toBeLessThanOrEqual(FLAP_HALF_LIFE_MS)
  damper.vouch(2_000)
  expect(damper.isUp).toBe(false)
  expect(noted(damper, '+', 1_000 + heldMs - 1)).toBe(false)
  expect(noted(damper, '+', 1_000 + heldMs)).toBe(true)

  const patient = new Damper()
  patient.vouch(0)
  patient.fall(0)
  patient.vouch(1)
  patient.fall(600_000)
  expect(patient.heldMs(600_000)).toBeLessThan(200)
})

it('takes a fall of what is down already for nothing', () => {
  const damper = new Damper()
  for (let n = 0; n < 100; n += 1) damper.fall(0)
  expect(damper.heldMs(0)).toBe(0)
})

type Step = readonly ['good' | 'bad' | 'fall' | 'vouch', number]

it('is never up while it is held, never held for more than five minutes, and comes up when all goes well', () => {
  const step = fc.tuple(fc.constantFrom('good', 'bad', 'fall', 'vouch'), fc.integer({ min: 0, max: 30_000 }))
  fc.assert(
    fc.property(fc.array(step as fc.Arbitrary<Step>, { maxLength: 300 }), (steps) => {
      const damper = new Damper()
      let now = 0
      for (const [what, gap] of steps) {
        now += gap
        const { isUp: wasUp } = damper
        if (what === 'fall') damper.fall(now)
        else if (what === 'vouch') damper.vouch(now)
        else damper.note(what === 'good', now)
        expect(damper.heldMs(now)).toBeLessThanOrEqual(300_000)
        const hasRisen = wasUp === false && damper.isUp === true
        expect(hasRisen && damper.heldMs(now) > 0).toBe(false)
      }
      expect(noted(damper, '+++', now + 300_000)).toBe(true)
    })
  )
})

it('comes and goes once a minute at most, however fast what it watches does', () => {
  const damper = new Damper()
  let rises = 0
  for (let now = 0; now < 3_600_000; now += 250) {
    const { isUp: wasUp } = damper
    if ((now / 250) % 2 === 0) damper.vouch(now)
    else damper.fall(now)
    if (wasUp !== true && damper.isUp === true) rises += 1
  }
  expect(rises).toBeGreaterThan(30)
  expect(rises).toBeLessThanOrEqual(61)
})
