import type { Binding, Caller, TrustLevel } from '../auth/index.ts'
import type { Rule } from './messages.ts'

const RANK: Readonly<Record<TrustLevel, number>> = { blocked: 0, unknown: 1, known: 2, trusted: 3, owner: 4 }

type Fits = (caller: Caller) => boolean

interface Names {
  readonly isAny: boolean
  readonly lowest: number
  readonly peers: ReadonlySet<string>
  readonly aliases: ReadonlySet<string>
  readonly owners: ReadonlySet<string>
  readonly scopes: ReadonlySet<string>
  readonly issuers: ReadonlySet<string>
}

export interface CompiledWho {
  /** `'binding'` when only the binding of what was proven doesn't suit the rule. */
  judge(caller: Caller): 'fits' | 'who' | 'binding'
  readonly scopes: readonly string[]
}

/**
 * What is known of the caller itself counts with the caller's binding; a scope or issuer, with that of the credential.
 *
 * A plain bearer token can be presented by whoever has seen it: it counts only where a rule lists `none`. A deny without
 * a condition on bindings looks at all of them, so that a weaker credential never escapes it.
 */
export function compileWho(rule: Rule): CompiledWho {
  const names = readNames(list(rule.who))
  const bindings = rule.when?.binding
  const suits = (binding: Binding): boolean =>
    bindings === undefined ? binding !== 'none' || rule.effect === 'deny' : bindings.includes(binding)
  const isNamed = compileNamed(names)
  const { scopes, issuers } = names
  const looksAtCredentials = scopes.size > 0 || issuers.size > 0
  return {
    scopes: [...scopes],
    judge(caller) {
      const named = isNamed(caller)
      if (named && suits(caller.binding)) return 'fits'
      if (!looksAtCredentials) return named ? 'binding' : 'who'
      const fitting = caller.credentials.filter(
        (credential) =>
          credential.scopes.some((scope) => scopes.has(scope)) ||
          (credential.issuer !== undefined && issuers.has(credential.issuer))
      )
      if (fitting.some(({ binding }) => suits(binding))) return 'fits'
      return named || fitting.length > 0 ? 'binding' : 'who'
    }
  }
}

function compileNamed({ isAny, lowest, peers, aliases, owners }: Names): Fits {
  if (isAny) return () => true
  return ({ trust, peer, alias, owner }) =>
    RANK[trust] >= lowest ||
    peers.has(peer) ||
    (alias !== undefined && aliases.has(alias)) ||
    (owner !== undefined && owners.has(owner))
}

function readNames(all: readonly string[]): Names {
  const after = (prefix: string) =>
    new Set(all.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : [])))
  const levels = after('level:')
  const ranks = Object.entries(RANK).flatMap(([level, rank]) => (levels.has(level) ? [rank] : []))
  return {
    isAny: all.includes('*'),
    lowest: Math.min(...ranks),
    peers: new Set(all),
    aliases: after('alias:'),
    owners: after('owner:'),
    scopes: after('scope:'),
    issuers: after('issuer:')
  }
}

export function list(value: string | readonly string[]): readonly string[] {
  return typeof value === 'string' ? [value] : value
}
