import { progress } from '../output.ts'
import { count, kindOption, longDuration, type Verb } from '../verb.ts'
import { type AskedStatus, printStatus, waitFor } from './permission-status.ts'

export const requestPermission: Verb = {
  usage: 'request <target> <capability>',
  summary: "ask an agent's owner for the right to call a capability, before it is needed",
  examples: [
    'permission request @files read_file --for 1h --calls 100 --reason "nightly report"',
    'permission request @files read_file --for 1h --wait --json'
  ],
  options: (command) =>
    command
      .addOption(kindOption())
      .option('--for <duration>', 'for how long', longDuration)
      .option('--calls <count>', 'for how many calls', count)
      .option('--reason <text>', 'why, for the owner to read')
      .option('--wait', 'until it is decided, or its deadline passes'),
  async run(context, { kind, for: forMs, calls: uses, reason, wait }, [target = '', capability]) {
    const body = { target, capability, kind, forMs, uses, reason }
    const done = progress(() => `asking the node of ${target}`)
    const asked = await context.client.ask<AskedStatus>('POST', '/v1/permissions/request', body).finally(done)
    const isOpen = wait === true && asked.state === 'pending'
    printStatus(isOpen ? await waitFor(context, asked.peer, asked.id) : asked, context.json)
  }
}
