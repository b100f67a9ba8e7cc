import type { FindStep } from '../discovery/index.ts'
import { paint, plain } from './output.ts'

/** A step of a find, as a line for people. */
export function describeStep(step: FindStep): string {
  return `${paint('dim', `${String(step.ms).padStart(6)} ms`)}  ${plain(textOf(step))}`
}

function textOf(step: FindStep): string {
  switch (step.step) {
    case 'began': {
      const { catalogue, nodes, peers, routingTable, records, hints } = step
      const size = nodes === undefined ? 'of unknown size' : `of about ${nodes} nodes`
      return `began: mesh ${size}, catalogue ${catalogue}; ${peers} peers, ${routingTable} in the routing table, ${records} records and ${hints} hints known`
    }
    case 'source':
      return `${step.source}: ${step.says}`
    case 'holder': {
      const { peer, outcome, tookMs, path, closer, named, total, reason } = step
      const said =
        outcome === 'answered'
          ? `names ${named}${total === undefined ? '' : ` of ${total}`}, ${closer} closer`
          : outcome
      return `dht: ${peer} ${said} (path ${path}, ${tookMs} ms)${reason === undefined ? '' : `: ${reason}`}`
    }
    case 'owner': {
      const { peer, outcome, tookMs, source, records } = step
      const said = outcome === 'answered' ? (records === 0 ? 'offers no match' : `gives ${records} records`) : outcome
      return `${source}: asked ${peer}: ${said} (${tookMs} ms)`
    }
    case 'refused':
      return `refused: what ${step.peer} said: ${step.reason}`
    case 'found':
      return `found: ${step.name} of ${step.agent}, by ${step.source}`
    case 'ended':
      return `ended: ${step.why}, ${step.complete ? 'complete' : 'not complete'}; ${step.messages} messages, ${step.candidates} candidates`
  }
}
