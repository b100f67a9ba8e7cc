import { randomFillSync } from 'node:crypto'

/** Crockford's base 32, in order of their codes: so texts sort as the numbers do. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const RANDOM_DIGITS = 16

/**
 * Makes ULIDs (https://github.com/ulid/spec): 48 bits of time, 80 of chance; within a millisecond each is the one before
 * plus one, so that their order is the order of their making, also when the clock steps back.
 */
export function createUlids(clock: () => number): () => string {
  const digits = new Uint8Array(RANDOM_DIGITS)
  let last = -1
  let time = ''
  return () => {
    const now = clock()
    if (now > last) {
      last = now
      time = encodeTime(now)
      randomFillSync(digits)
      for (let at = 0; at < RANDOM_DIGITS; at += 1) digits[at] = (digits[at] ?? 0) & 31
    } else if (!increment(digits)) {
      // 2^80 in one millisecond don't happen; the next millisecond is as good
      last += 1
      time = encodeTime(last)
    }
    let random = ''
    for (const digit of digits) random += ALPHABET[digit]
    return time + random
  }
}

function encodeTime(ms: number): string {
  let rest = ms
  let text = ''
  for (let at = 0; at < 10; at += 1) {
    text = ALPHABET[rest % 32] + text
    rest = Math.floor(rest / 32)
  }
  return text
}

/** @returns false on overflow, which leaves zeros */
function increment(digits: Uint8Array): boolean {
  for (let at = digits.length - 1; at >= 0; at -= 1) {
    const digit = digits[at] ?? 0
    if (digit < 31) {
      digits[at] = digit + 1
      return true
    }
    digits[at] = 0
  }
  return false
}
