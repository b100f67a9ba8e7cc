import type { FindOptions, FindResults, FindStep, FindSummary, Node } from '../index.ts'
import { MAX_STEPS } from './constants.ts'

/** A find, and what there is to say at its end. */
export interface Finding {
  readonly results: FindResults
  /** Resolves when the results have been read. */
  readonly end: () => Promise<FindSummary & { readonly steps?: readonly FindStep[] }>
}

/** @param explain whether the end tells the steps too, at most MAX_STEPS */
export function beginFind(node: Node, { explain, ...options }: FindOptions & { explain?: 'true' | 'false' }): Finding {
  const steps: FindStep[] = []
  const onStep = (step: FindStep): void => {
    if (steps.length < MAX_STEPS) steps.push(step)
  }
  const isExplained = explain === 'true'
  const results = node.find({ ...options, ...(isExplained && { onStep }) })
  // When it fails, so does the iteration, which tells the client
  results.summary.catch(() => {})
  return { results, end: async () => ({ ...(await results.summary), ...(isExplained && { steps }) }) }
}
