import type { ApiKeyInfo, HeldKey } from '../../keys/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const listKeys: Verb = {
  usage: 'list',
  summary: 'list the API keys of this node; with --held those that it presents to peers',
  examples: ['keys list', 'keys list --held --json'],
  options: (command) => command.option('--held', 'keys that this node presents, by peer'),
  async run({ client, json }, { held }) {
    if (held === true) printHeld(await client.ask<readonly HeldKey[]>('GET', '/v1/held-keys'), json)
    else printOwn(await client.ask<readonly ApiKeyInfo[]>('GET', '/v1/keys'), json)
  }
}

function printOwn(keys: readonly ApiKeyInfo[], json: boolean): void {
  if (json) {
    print(toJson(keys))
    return
  }
  if (keys.length === 0) {
    note(`no API keys: make one with ${programName()} keys create NAME`)
    return
  }
  printTable(
    ['ID', 'NAME', 'STATE', 'SCOPES', 'EXPIRES', 'LAST USED', 'PIN'],
    keys.map(({ id, name, state, scopes, expiresAt, lastUsedAt = '-', pin, peer }) => [
      id,
      name,
      state,
      scopes.join(',') || '-',
      expiresAt,
      lastUsedAt,
      peer ?? (pin === 'off' ? 'off' : 'first use')
    ])
  )
}

function printHeld(keys: readonly HeldKey[], json: boolean): void {
  if (json) print(toJson(keys))
  else if (keys.length === 0) note(`no keys for peers: add one with ${programName()} keys use PEER FILE`)
  else {
    printTable(
      ['PEER', 'KEY', 'ADDED'],
      keys.map(({ peer, id, addedAt }) => [peer, id, addedAt])
    )
  }
}
