import type { Group } from '../verb.ts'
import { approvePins } from './pins-approve.ts'
import { forgetPins } from './pins-forget.ts'
import { listPins } from './pins-list.ts'
import { showPins } from './pins-show.ts'

export const pins: Group = {
  name: 'pins',
  summary: 'remote capabilities as they were first used: list, show, approve, forget',
  example: 'pins list',
  verbs: [listPins, showPins, approvePins, forgetPins]
}
