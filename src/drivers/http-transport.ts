import { isJSONRPCRequest, type JSONRPCMessage, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { ANSWER_LOST } from './mcp-errors.ts'

/** The SDK's transport, which leaves a request waiting for ever when the stream for its answer ends without one. */
export class HttpTransport extends StreamableHTTPClientTransport {
  override send(message: JSONRPCMessage, options?: SendOptions): Promise<void> {
    if (!isJSONRPCRequest(message)) return super.send(message, options)
    const onRequestStreamEnd = () => {
      options?.onRequestStreamEnd?.()
      // Ignored when the answer has come already.
      this.onmessage?.({
        jsonrpc: '2.0',
        id: message.id,
        error: { code: -32_000, message: 'the connection broke', data: ANSWER_LOST }
      })
    }
    return super.send(message, { ...options, onRequestStreamEnd })
  }
}

type SendOptions = Parameters<StreamableHTTPClientTransport['send']>[1]
