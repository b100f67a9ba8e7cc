import { MeshError } from '../../errors.ts'
import type { Verb } from '../verb.ts'

export const check: Verb = {
  usage: 'check <agent> <capability>',
  summary: 'say what is missing before a capability can be called; asks nobody for permission',
  examples: ['check @files read_file'],
  async run() {
    throw new MeshError('INTERNAL', 'not built')
  }
}
