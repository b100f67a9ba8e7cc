import type { Entry } from './ledger.ts'

/** One sentence: what made the level, and what would change it. */
export function reasonOf({ level, setBy, changes }: Entry): string {
  const because = changes[0] === undefined ? '' : `: ${changes[0].reason}`
  if (setBy === 'default') return 'Nothing was decided yet; good calls over days make it known, or the owner says so.'
  if (setBy === 'owner') return `The owner set it to ${level}${because}; ${OWNERS_WORD[level]}.`
  return `Evidence moved it to ${level}${because}; ${BY_EVIDENCE[level] ?? 'only the owner changes it'}.`
}

const OWNERS_WORD: Readonly<Record<Entry['level'], string>> = {
  blocked: 'only the owner changes it',
  unknown: 'only the owner raises it',
  known: 'bad evidence can lower it',
  trusted: 'bad evidence can lower it to known',
  owner: 'only the owner changes it'
}

const BY_EVIDENCE: Readonly<Partial<Record<Entry['level'], string>>> = {
  unknown: 'good calls over days make it known again, or the owner says so',
  known: 'bad evidence can lower it, only the owner raises it'
}
