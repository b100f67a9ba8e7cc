import { isJSONRPCRequest, type JSONRPCMessage, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { boundedFetch } from './bounded-fetch.ts'
import { MAX_MCP_MESSAGE_BYTES } from './constants.ts'
import { ANSWER_LOST, ANSWER_TOO_LARGE } from './mcp-errors.ts'

/**
 * The SDK's transport, with bounds on what it reads, and without a trap: it leaves a request waiting for ever when the
 * stream for its answer ends without one.
 */
export class HttpTransport extends StreamableHTTPClientTransport {
  #overflowed = false

  constructor(url: URL, headers: Readonly<Record<string, string>>) {
    const overflow = () => {
      this.#overflowed = true
    }
    super(url, {
      requestInit: { headers: { ...headers } },
      fetch: boundedFetch(fetch, MAX_MCP_MESSAGE_BYTES, overflow)
    })
  }

  override send(message: JSONRPCMessage, options?: SendOptions): Promise<void> {
    if (!isJSONRPCRequest(message)) return super.send(message, options)
    const onRequestStreamEnd = () => {
      options?.onRequestStreamEnd?.()
      // The stream that overflows is the next to end.
      const data = this.#overflowed ? ANSWER_TOO_LARGE : ANSWER_LOST
      this.#overflowed = false
      // Ignored when the answer has come already.
      this.onmessage?.({ jsonrpc: '2.0', id: message.id, error: { code: -32_000, message: 'no answer', data } })
    }
    return super.send(message, { ...options, onRequestStreamEnd })
  }
}

type SendOptions = Parameters<StreamableHTTPClientTransport['send']>[1]
