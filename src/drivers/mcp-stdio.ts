import { z } from 'zod'
import type { Driver } from './index.ts'
import { parseConfig } from './parse-config.ts'

/** The agent is an MCP server that this node starts and talks to over its stdin and stdout. */
export const mcpStdioDriver: Driver = {
  kind: 'mcp-stdio',
  parse: (config) => parseConfig(stdioConfig, config, 'the configuration of an mcp-stdio agent'),
  async connect(config, context) {
    const { command, args, cwd, env } = stdioConfig.parse(config)
    // Only nodes with such agents pay for the SDK.
    const { openChild } = await import('./mcp-child.ts')
    return openChild({ command, args, cwd, env }, context)
  }
}

const stdioConfig = z.object({
  command: z.string().min(1),
  args: z.array(z.string()).default([]),
  /** Default: the node's own. */
  cwd: z.string().optional(),
  /** Beside HOME, PATH and the like, which every child gets; nothing else of the node's environment does. */
  env: z.record(z.string(), z.string()).optional()
})
