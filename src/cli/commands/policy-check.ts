import { readFile } from 'node:fs/promises'
import { MeshError } from '../../errors.ts'
import { checkPolicy } from '../../policy/index.ts'
import { plain, print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const checkPolicyFile: Verb = {
  usage: 'check <file>',
  summary: 'say everything that is wrong with a policy file; needs no node',
  examples: ['policy check policy.json'],
  async run({ json }, _options, [file = '']) {
    const problems = checkPolicy(await readTextFile(file))
    if (json) print(toJson({ ok: problems.length === 0, problems }))
    else if (problems.length === 0) print(`${plain(file)}: ok`)
    if (problems.length === 0) return
    throw new MeshError('INVALID_CONFIG', `${file}: ${problems.join('\n')}`, { hint: 'correct the file' })
  }
}

/** @throws {MeshError} NOT_FOUND, IO */
export async function readTextFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    const isMissing = err instanceof Error && 'code' in err && err.code === 'ENOENT'
    throw new MeshError(isMissing ? 'NOT_FOUND' : 'IO', `${path} cannot be read`, {
      cause: err,
      hint: 'check the path'
    })
  }
}
