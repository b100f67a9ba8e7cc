/**
 * An MCP server with tools that go wrong. `--era legacy` speaks 2025 only, `--era strict` ends at any request before
 * `initialize`; else both eras. `--http` listens on a free port and prints it.
 */
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { type CallToolResult, createMcpHandler, inputRequired, Server, type Tool } from '@modelcontextprotocol/server'
import { StdioServerTransport, serveStdio } from '@modelcontextprotocol/server/stdio'

const { values } = parseArgs({
  options: { era: { type: 'string' }, http: { type: 'boolean' }, port: { type: 'string' }, version: { type: 'string' } }
})

const anything: Tool['inputSchema'] = { type: 'object' }
const tree: Tool['outputSchema'] = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://example.org/tree',
  type: 'object',
  properties: { root: { $ref: '#/$defs/node' } },
  required: ['root'],
  $defs: {
    node: {
      type: 'object',
      properties: { label: { type: 'string' }, children: { type: 'array', items: { $ref: '#/$defs/node' } } },
      required: ['label']
    }
  }
}
const tools: Tool[] = [
  { name: 'echo', description: 'Says it again', inputSchema: anything, annotations: { readOnlyHint: true } },
  { name: 'tree', title: 'A tree', inputSchema: anything, outputSchema: tree, annotations: { openWorldHint: false } },
  { name: 'bad name!', inputSchema: anything },
  ...['pid', 'crash', 'hang', 'cancelled', 'huge', 'fail', 'wrong', 'ask', 'grow'].map((name) => ({
    name,
    inputSchema: anything
  }))
]
let cancelled = 0
const changed = new Set<() => void>()

function build(): Server {
  const server = new Server(
    { name: 'odd', version: values.version ?? '1.2' },
    { capabilities: { tools: { listChanged: true } }, instructions: 'Tools that go wrong' }
  )
  // Three pages, whatever there is.
  server.setRequestHandler('tools/list', ({ params }) => {
    const from = Number(params?.cursor ?? 0)
    const size = Math.ceil(tools.length / 3)
    const rest = from + size < tools.length ? { nextCursor: String(from + size) } : {}
    return { tools: tools.slice(from, from + size), ...rest }
  })
  server.setRequestHandler('tools/call', ({ params }, { mcpReq }) =>
    call(params.name, params.arguments ?? {}, mcpReq.signal)
  )
  if (values.era !== undefined) changed.add(() => void server.sendToolListChanged())
  return server
}

function text(value: unknown): CallToolResult {
  return { content: [{ type: 'text', text: typeof value === 'string' ? value : JSON.stringify(value) }] }
}

async function call(name: string, input: Record<string, unknown>, signal: AbortSignal): Promise<CallToolResult> {
  switch (name) {
    case 'pid':
      return text(process.pid)
    case 'tree':
      return { ...text('a tree'), structuredContent: { root: { label: 'a', children: [{ label: 'b' }] } } }
    case 'crash':
      process.stderr.write('something \u001b[31mterrible\u001b[0m happened\n', () => process.exit(3))
      return new Promise(() => {})
    case 'hang':
      signal.addEventListener('abort', () => {
        cancelled += 1
      })
      return new Promise(() => {})
    case 'cancelled':
      return text(cancelled)
    case 'huge':
      return text('x'.repeat(Number(input['bytes'])))
    case 'fail':
      return { ...text(`failed: ${'é'.repeat(5000)}`), isError: true }
    case 'wrong':
      throw Object.assign(new Error('no such thing as that'), { code: -32_602 })
    case 'ask':
      return inputRequired({
        inputRequests: {
          name: inputRequired.elicit({ message: 'who?', requestedSchema: { type: 'object', properties: {} } })
        }
      }) as unknown as CallToolResult
    case 'grow':
      tools.push({ name: `extra_${tools.length}`, inputSchema: anything })
      for (const tell of changed) tell()
      return text('grown')
    default:
      return { ...text(input), structuredContent: input }
  }
}

if (values.http === true) {
  const handler = createMcpHandler(build)
  changed.add(() => handler.notify.toolsChanged())
  const answer = toNodeHandler(handler)
  const server = createServer((request, response) => void answer(request as Parameters<typeof answer>[0], response))
  server.listen(Number(values.port ?? 0), '127.0.0.1', () => {
    const address = server.address()
    if (typeof address === 'object') process.stdout.write(`${address?.port}\n`)
  })
} else if (values.era === undefined) {
  serveStdio(() => {
    const server = build()
    changed.add(() => void server.sendToolListChanged())
    return server
  })
} else {
  if (values.era === 'strict') {
    process.stdin.once('data', (chunk: Buffer) => {
      if (!chunk.toString().includes('"initialize"')) process.exit(1)
    })
  }
  await build().connect(new StdioServerTransport())
}
