import type { Group } from '../verb.ts'
import { addAgent } from './agents-add.ts'
import { listAgents } from './agents-list.ts'
import { removeAgent } from './agents-remove.ts'
import { showAgent } from './agents-show.ts'
import { updateAgent } from './agents-update.ts'

export const agents: Group = {
  name: 'agents',
  summary: 'the agents of this node: list, show, add, update, remove',
  example: 'agents list',
  verbs: [listAgents, showAgent, addAgent, updateAgent, removeAgent]
}
