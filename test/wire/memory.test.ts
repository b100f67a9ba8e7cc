import { expect, it } from 'vitest'
import { free } from '../../src/wire/index.ts'

it.each([
  { id: 'large memory', bytes: new Uint8Array(64 * 1024), left: 0 },
  { id: 'large memory of which these are the end', bytes: new Uint8Array(64 * 1024).subarray(12), left: 0 },
  { id: 'memory that a pool may share', bytes: Buffer.from('small'), left: 5 },
  { id: 'memory that threads share', bytes: new Uint8Array(new SharedArrayBuffer(64 * 1024)), left: 64 * 1024 }
])('frees $id, or leaves it: $left bytes are left', ({ bytes, left }) => {
  free(bytes)
  expect(bytes.length).toBe(left)
  free(bytes)
  expect(bytes.length).toBe(left)
})
