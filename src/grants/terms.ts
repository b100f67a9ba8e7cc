import { MeshError } from '../errors.ts'
import { didOf } from './chain.ts'
import type { GrantTerms } from './index.ts'
import { grantTerms } from './messages.ts'

export type CheckedTerms = Omit<GrantTerms, 'depth'> & { readonly depth: number }

/** @param now milliseconds since 1970 @throws {MeshError} INVALID_ARGUMENT */
export function checkedTerms(terms: GrantTerms, now: number): CheckedTerms {
  const parsed = grantTerms.safeParse(withoutUndefined(terms))
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new MeshError('INVALID_ARGUMENT', `${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`)
  }
  const { expiresAt = Infinity, depth = 0 } = parsed.data
  if (expiresAt <= now) throw new MeshError('INVALID_ARGUMENT', 'the grant would have expired already')
  return { ...parsed.data, depth }
}

/** @throws {MeshError} INVALID_ARGUMENT */
export function checkHolder(holder: string, self: string): void {
  if (holder === self) throw new MeshError('INVALID_ARGUMENT', 'a node needs no grant of its own')
  try {
    didOf(holder)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(holder.slice(0, 80))} is not a PeerId`, { cause: err })
  }
}

export function blocked(holder: string): MeshError {
  return new MeshError('INVALID_ARGUMENT', `${holder} is blocked`, {
    hint: `let it in first: pryx-mesh trust set ${holder} unknown`
  })
}

export function full(what: string): MeshError {
  return new MeshError('BUSY', `there are ${what} already`, { hint: 'pryx-mesh grants revoke ID ends one' })
}

export function noGrant(id: string): MeshError {
  return new MeshError('NOT_FOUND', `this node has no grant ${id.slice(0, 80)}`, {
    hint: 'pryx-mesh grants list --all shows them'
  })
}

export function withoutUndefined<T extends object>(terms: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  // The entries that are left are those of T
  return Object.fromEntries(Object.entries(terms).filter(([, value]) => value !== undefined)) as never
}
