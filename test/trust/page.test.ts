import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { TRUST_LEVELS } from '../../src/auth/index.ts'
import * as trust from '../../src/trust/index.ts'
import { lowerBound } from '../../src/trust/model.ts'

const PAGE = readFileSync('protocols/policy/trust.md', 'utf8')
const { DAY_MS, EVIDENCE, WEIGHTS } = trust

it.each([
  ...TRUST_LEVELS.map((level, rank) => `| \`${level}\` | ${rank} |`),
  ...EVIDENCE.map((kind) => `| \`${kind}\` | ${WEIGHTS[kind]}, ${kind === 'call:completed' ? 'good' : 'bad'} |`),
  `at most ${trust.MAX_GOOD_PER_DAY} count per peer and UTC day`,
  `A weight halves every ${trust.HALF_LIFE_MS / DAY_MS} days`,
  `Without evidence it is ${lowerBound(0, 0).toFixed(2)}; after 20 good interactions and no bad one ${lowerBound(20, 0).toFixed(2)}.`,
  `score ≥ ${trust.KNOWN_SCORE}, at least ${trust.KNOWN_MIN_INTERACTIONS} good interactions counted, at least ${trust.KNOWN_MIN_AGE_MS / DAY_MS} days`,
  `| \`known\` | \`unknown\` | score < ${trust.FALL_SCORE} and bad ≥ ${trust.FALL_MIN_BAD_WEIGHT} |`,
  `the last ${trust.MAX_CHANGES_PER_PEER} of each peer`,
  `At most ${trust.MAX_PEERS.toLocaleString('en')} peers`
])('the page says: %s', (statement) => {
  expect(PAGE).toContain(statement)
})
