import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { MeshError } from '../errors.ts'
import { type PolicyDocument, policyDocument, type Rule } from './messages.ts'

/** What a new home starts with; who may see a record is further narrowed by the record's audience. */
export const INITIAL_DOCUMENT: PolicyDocument = {
  v: 1,
  rules: [
    { id: 'owner', effect: 'allow', who: 'level:owner', act: '*', res: '*' },
    { id: 'public-records', effect: 'allow', who: '*', act: 'record.read', res: 'agent:*' },
    {
      id: 'trusted-reads',
      effect: 'allow',
      who: 'level:trusted',
      act: '*.call',
      res: '*',
      when: { effects: ['none', 'read'] }
    },
    // As a fallback, so that whatever the owner allows by a rule isn't asked all the same
    { id: 'known-calls', effect: 'ask', who: 'level:known', act: '*.call', res: '*', fallback: true },
    { id: 'known-requests', effect: 'allow', who: 'level:known', act: 'permission.request', res: '*' },
    { id: 'known-messages', effect: 'allow', who: 'level:known', act: 'message.send', res: 'agent:owner' }
  ]
}

/** A policy and the text that it was read from. */
export interface Loaded {
  readonly document: PolicyDocument
  readonly text: string
}

/**
 * Reads the rules from a file; undefined when there is none.
 *
 * @throws {MeshError} INVALID_CONFIG when they aren't valid, IO when the file can't be read
 */
export async function readDocument(path: string): Promise<Loaded | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (err) {
    if (isMissing(err)) return undefined
    throw new MeshError('IO', `${path} cannot be read: ${messageOf(err)}`, { cause: err })
  }
  return { text, document: parseDocument(text, path) }
}

/** @throws {MeshError} INVALID_CONFIG when the file is gone */
export function mustBeThere(loaded: Loaded | undefined, path: string): Loaded {
  if (loaded !== undefined) return loaded
  throw new MeshError('INVALID_CONFIG', `${path} is gone`, { hint: 'restart the node to get a new one' })
}

function parseDocument(text: string, path: string): PolicyDocument {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (err) {
    throw broken(path, `is not JSON: ${messageOf(err)}`, err)
  }
  const parsed = policyDocument.safeParse(json)
  if (!parsed.success) throw broken(path, describeIssues(parsed.error.issues, ''), parsed.error)
  return parsed.data
}

function broken(path: string, what: string, cause: unknown): MeshError {
  return new MeshError('INVALID_CONFIG', `${path}: ${what}`, {
    cause,
    hint: 'correct the file; nothing of it is applied'
  })
}

/** @throws {MeshError} INVALID_ARGUMENT when rules given by code aren't valid */
export function parseRules(rules: unknown): readonly Rule[] {
  const parsed = policyDocument.shape.rules.safeParse(rules)
  if (parsed.success) return parsed.data
  throw new MeshError('INVALID_ARGUMENT', `not a policy rule: ${describeIssues(parsed.error.issues, 'rules')}`)
}

type Issue = z.core.$ZodIssue

/** Each with its place. */
export function problemsOf(issues: readonly Issue[]): readonly string[] {
  return issues.map((issue) => describeIssue(issue, ''))
}

const MAX_SHOWN_ISSUES = 3

function describeIssues(issues: readonly Issue[], root: string): string {
  const shown = issues.slice(0, MAX_SHOWN_ISSUES).map((issue) => describeIssue(issue, root))
  const others = issues.length - shown.length
  return shown.join('; ') + (others > 0 ? `; and ${others} more` : '')
}

function describeIssue(issue: Issue, root: string): string {
  const at = issue.path.reduce<string>((place, key) => {
    if (typeof key === 'number') return `${place}[${key}]`
    return place === '' ? String(key) : `${place}.${String(key)}`
  }, root)
  if (issue.code === 'invalid_union') {
    // A pattern or a list of them: the branch that took the value's type says what is wrong with it.
    const fitting = issue.errors.find(
      ([first]) => first !== undefined && !(first.code === 'invalid_type' && first.path.length === 0)
    )
    if (fitting?.[0] === undefined) return `${at}: must be a string or a list of strings`
    return describeIssue(fitting[0], at)
  }
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownMember(at, key)).join('; ')
  return at === '' ? issue.message : `${at}: ${issue.message}`
}

function unknownMember(at: string, key: string): string {
  return `${at === '' ? key : `${at}.${key}`}: there is no such member`
}

export async function createDocument(path: string): Promise<Loaded> {
  return { document: INITIAL_DOCUMENT, text: await writeDocument(path, INITIAL_DOCUMENT) }
}

/**
 * Replaces the file as a whole, on disk when it resolves; its mode stays, a new one is the owner's alone.
 *
 * @returns what was written
 * @throws {MeshError} IO; the file is as before then
 */
export async function writeDocument(path: string, document: PolicyDocument): Promise<string> {
  const text = `${JSON.stringify(document, null, 2)}\n`
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const mode = await stat(path).then(
      (found) => found.mode & 0o777,
      () => 0o600
    )
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.chmod(mode)
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return text
  } catch (err) {
    await rm(temporary, { force: true }).catch(() => {}) // the failure to report is the first one
    throw new MeshError('IO', `${path} cannot be written: ${messageOf(err)}`, { cause: err })
  }
}

/** A rename is durable only when the folder is. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function isMissing(err: unknown): boolean {
  return err instanceof Error && 'code' in err && err.code === 'ENOENT'
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
