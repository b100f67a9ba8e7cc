export { callerOf } from '../callers.ts'

export const ALICE = `12D3KooW${'A'.repeat(44)}`
export const BOB = `12D3KooW${'B'.repeat(44)}`
