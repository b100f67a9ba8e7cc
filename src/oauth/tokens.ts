import { unfinished } from '../unfinished.ts'
import type { Tokens, TokensInit } from './index.ts'

export function createTokens(init: TokensInit): Tokens {
  return unfinished<Tokens>({
    metadata: { resource: init.identity.did, issuers: [] },
    verifier: { method: 'oauth', verify: () => Promise.reject(new Error('not built')) }
  })
}
