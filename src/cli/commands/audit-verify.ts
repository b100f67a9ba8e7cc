import { MeshError } from '../../errors.ts'
import { homeAt } from '../../home.ts'
import { verifyAuditLog } from '../../policy/index.ts'
import { print, printFields, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const verifyAudit: Verb = {
  usage: 'verify',
  summary: 'check that no decision of the log was changed or taken away; needs no node',
  examples: ['audit verify'],
  async run({ home, json }) {
    const report = await verifyAuditLog(homeAt(home).audit)
    const { ok, rows, chain, brokenAt, tornBytes } = report
    if (json) print(toJson(report))
    else {
      printFields([
        ['log', ok ? 'whole' : 'changed'],
        ['decisions', String(rows)],
        ['chain', chain],
        ['being written', tornBytes > 0 ? `${tornBytes} bytes` : undefined]
      ])
    }
    if (ok) return
    throw new MeshError('INVALID_CONFIG', `the log was changed before ${brokenAt?.file} line ${brokenAt?.line}`, {
      hint: 'keep a copy of the files, and look at who can write to the home'
    })
  }
}
