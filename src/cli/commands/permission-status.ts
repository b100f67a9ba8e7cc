import { MeshError } from '../../errors.ts'
import type { PermissionStatus } from '../../index.ts'
import { note, print, printFields, programName, progress, json as toJson } from '../output.ts'
import { type Context, queryString, type Verb } from '../verb.ts'

/** How a request stands at the node that it was made to. */
export interface AskedStatus extends PermissionStatus {
  readonly peer: string
}

export const permissionStatus: Verb = {
  usage: 'status <peer> <id>',
  summary: 'say how a request of this node stands at another',
  examples: [
    'permission status bob Zk3vYk1yT2uW9qL0a7bXcQ',
    'permission status 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy Zk3vYk1yT2uW9qL0a7bXcQ --wait'
  ],
  options: (command) => command.option('--wait', 'until it is decided, or its deadline passes'),
  async run(context, { wait }, [peer = '', id = '']) {
    printStatus(await (wait === true ? waitFor(context, peer, id) : askStatus(context, peer, id)), context.json)
  }
}

function askStatus({ client }: Context, peer: string, id: string, wait?: true): Promise<AskedStatus> {
  const route = `/v1/permissions/${encodeURIComponent(peer)}/${encodeURIComponent(id)}`
  return client.ask<AskedStatus>('GET', `${route}${queryString({ wait: wait === true ? 'true' : undefined })}`)
}

export function waitFor(context: Context, peer: string, id: string): Promise<AskedStatus> {
  const done = progress(() => 'waiting for the owner')
  return askStatus(context, peer, id, true).finally(done)
}

/** @throws {MeshError} FORBIDDEN when it wasn't allowed: the exit code tells */
export function printStatus(status: AskedStatus, json: boolean): void {
  const { peer, id, state, deadline, reason } = status
  if (json) print(toJson(status))
  else {
    printFields([
      ['id', id],
      ['peer', peer],
      ['state', state],
      ['deadline', state === 'pending' ? deadline : undefined],
      ['reason', reason]
    ])
  }
  if (state === 'pending') note(`wait for the answer: ${programName()} permission status ${peer} ${id} --wait`)
  else if (state !== 'allowed') {
    throw new MeshError('FORBIDDEN', reason ?? `the request is ${state}`, { hint: 'talk to the owner of that node' })
  }
}
