import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import { abortable, MeshError } from '../errors.ts'
import { connectFunctions, parseFunctionAgent } from './function.ts'
import type { Driver } from './index.ts'
import { parseConfig } from './parse-config.ts'

/** The agent is what a file exports, as `default` or as `agent`. A changed file is read anew; what it imports is not. */
export const moduleDriver: Driver = {
  kind: 'module',
  parse: (config) => parseConfig(moduleConfig, config, 'the configuration of a module agent'),
  async connect(config, { signal }) {
    const { file } = moduleConfig.parse(config)
    const exported = await abortable(load(file), signal)
    const agent = exported['default'] ?? exported['agent']
    if (agent === undefined) {
      throw new MeshError('INVALID_ARGUMENT', `${file} exports no agent`, {
        hint: 'write `export const agent = { capabilities: [{ name, handler }] }`'
      })
    }
    return connectFunctions(parseFunctionAgent(agent, `the agent of ${file}`))
  }
}

const moduleConfig = z.object({
  file: z
    .string()
    .refine(isAbsolute, 'must be an absolute path')
    .refine((file) => /\.(?:[cm]?js|[cm]?ts)$/.test(file), 'must end in .js, .mjs or .ts')
})

async function load(file: string): Promise<Record<string, unknown>> {
  try {
    const { mtimeMs, size } = await stat(file)
    const url = pathToFileURL(file)
    // The loader keeps a module for ever under its URL: a changed file needs another one.
    url.search = `changed=${mtimeMs}-${size}`
    return await import(url.href)
  } catch (err) {
    const text = err instanceof Error ? `${err.name}: ${err.message}` : String(err)
    throw new MeshError('AGENT_UNAVAILABLE', `${file} can't be loaded: ${text}`, { cause: err })
  }
}
