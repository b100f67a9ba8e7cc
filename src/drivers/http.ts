import { type EndpointComponents, openEndpointAuth } from './endpoint-auth.ts'
import { httpConfig } from './http-config.ts'
import type { Driver } from './index.ts'
import { parseConfig } from './parse-config.ts'
import { checkUrl, reachOf } from './ssrf.ts'

/**
 * The agent is an HTTP endpoint: a request per call.
 *
 * @see protocols/agents/http.md
 */
export function createHttpDriver(components: EndpointComponents): Driver {
  return {
    kind: 'http',
    parse: (config) => parseConfig(httpConfig, config, 'the configuration of an http agent'),
    async connect(given, { signal }) {
      const config = httpConfig.parse(given)
      const url = new URL(config.url)
      const reach = reachOf(url, config.allowPrivate)
      checkUrl(url, reach)
      // Only nodes with such agents pay for it.
      const { HttpEndpoint } = await import('./http-endpoint.ts')
      const access = await openEndpointAuth(config.auth, reach, components)
      const endpoint = new HttpEndpoint({ config, reach, access, components })
      try {
        await endpoint.health({ signal })
        return endpoint
      } catch (err) {
        await endpoint.close()
        throw err
      }
    }
  }
}
