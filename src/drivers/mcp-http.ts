import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Driver } from './index.ts'
import { problems } from './problems.ts'

/** The agent is an MCP server that somebody else runs, at a URL. */
export const mcpHttpDriver: Driver = {
  kind: 'mcp-http',
  parse(config) {
    const parsed = httpConfig.safeParse(config)
    if (parsed.success) return parsed.data
    throw new MeshError(
      'INVALID_ARGUMENT',
      `the configuration of an mcp-http agent is not valid: ${problems(parsed.error)}`
    )
  },
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
