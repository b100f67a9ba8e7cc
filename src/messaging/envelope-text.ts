import { canonicalJson } from '../wire/index.ts'
import type { Envelope } from './messages.ts'

/**
 * The canonical JSON (RFC 8785) of an envelope whose body has it already: members are written in their order, which is known, for
 * to sort them anew costs as much as all else that is done to send a message.
 *
 * @param body canonical JSON of its body, undefined when it has none
 */
export function envelopeText(envelope: Omit<Envelope, 'body'>, body: string | undefined): string {
  const { blob, budget, corr, exp, from, id, kind, outcome, replyTo, sent, seq, to, trace, type } = envelope
  return `{${blob === undefined ? '' : `"blob":${canonicalJson(blob)},`}${body === undefined ? '' : `"body":${body},`}"budget":{${count('calls', budget.calls)}${count('cost', budget.cost)}"hops":${
    budget.hops
  }},${member('corr', corr)}"exp":${exp},"from":"${from}","id":"${id}","kind":"${kind}",${member('outcome', outcome)}${member(
    'replyTo',
    replyTo
  )}"sent":${sent},"seq":${seq},"to":"${to}",${member('trace', trace)}"type":${JSON.stringify(type)},"v":1}`
}

function member(name: string, value: string | undefined): string {
  return value === undefined ? '' : `"${name}":${JSON.stringify(value)},`
}

function count(name: string, value: number | undefined): string {
  return value === undefined ? '' : `"${name}":${value},`
}
