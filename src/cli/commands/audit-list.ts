import { InvalidArgumentError, Option } from 'commander'
import { homeAt } from '../../home.ts'
import { type AuditRow, readAuditLog } from '../../policy/index.ts'
import { note, print, printTable, json as toJson } from '../output.ts'
import { count, type Verb } from '../verb.ts'

/** Rows shown unless the owner asks for more. */
const DEFAULT_LIMIT = 50

export const listAudit: Verb = {
  usage: 'list',
  summary: 'list the latest decisions, oldest first; needs no node',
  examples: ['audit list --effect deny', 'audit list --since 2026-11-01 --limit 1000 --json'],
  options: (command) =>
    command
      .option('--limit <number>', `how many of the latest (default: ${DEFAULT_LIMIT})`, count)
      .option('--peer <peer>', 'PeerId of the caller')
      .option('--action <action>', 'such as tool.call')
      .addOption(new Option('--effect <effect>', 'what was decided').choices(['allow', 'ask', 'deny']))
      .option('--since <time>', 'RFC 3339 time or date', since),
  async run({ home, json, signal }, { limit = DEFAULT_LIMIT, since: from, ...wanted }) {
    const rows: AuditRow[] = []
    for await (const row of readAuditLog(homeAt(home).audit)) {
      signal.throwIfAborted()
      if (!isWanted(row, wanted) || (from !== undefined && Date.parse(row.time) < Number(from))) continue
      rows.push(row)
      if (rows.length >= 2 * Number(limit)) rows.splice(0, rows.length - Number(limit))
    }
    const latest = rows.slice(-Number(limit))
    if (json) {
      print(toJson(latest))
      return
    }
    if (latest.length === 0) note('no such decisions')
    printTable(
      ['TIME', 'EFFECT', 'ACTION', 'RESOURCE', 'PEER', 'RULES', 'SHADOW'],
      latest.map(({ time, effect, action, resource, peer, rules, shadow }) => [
        time,
        effect,
        action,
        resource,
        peer,
        rules.join(','),
        shadow?.effect ?? ''
      ])
    )
  }
}

function isWanted(row: AuditRow, wanted: Record<string, unknown>): boolean {
  return (['peer', 'action', 'effect'] as const).every(
    (name) => wanted[name] === undefined || wanted[name] === row[name]
  )
}

function since(text: string): number {
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(time)) throw new InvalidArgumentError('Give a time such as 2026-11-01 or 2026-11-01T08:00:00Z.')
  return time
}
