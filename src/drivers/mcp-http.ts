import { z } from 'zod'
import type { Driver } from './index.ts'
import { parseConfig } from './parse-config.ts'

/** The agent is an MCP server that somebody else runs, at a URL. */
export const mcpHttpDriver: Driver = {
  kind: 'mcp-http',
  parse: (config) => parseConfig(httpConfig, config, 'the configuration of an mcp-http agent'),
  async connect(config, context) {
    const { url, headers } = httpConfig.parse(config)
    // Only nodes with such agents pay for the SDK.
    const { openHttp } = await import('./mcp-endpoint.ts')
    return openHttp(new URL(url), headers, context)
  }
}

const httpConfig = z.object({
  url: z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL', abort: true })
    .refine((url) => !hasCredentials(new URL(url)), 'must carry no password: use headers'),
  /** Sent with every request, such as `authorization`. */
  headers: z.record(z.string(), z.string()).refine(isHeaders, 'must be names and values that HTTP allows').default({})
})

function hasCredentials({ username, password }: URL): boolean {
  return username !== '' || password !== ''
}

function isHeaders(headers: Record<string, string>): boolean {
  try {
    return new Headers(headers) instanceof Headers
  } catch {
    return false
  }
}
