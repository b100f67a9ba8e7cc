import { resolve } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import type { Edge } from '../../gateway/index.ts'
import { homeAt } from '../../home.ts'
import type { Node, NodeInit } from '../../index.ts'
import type { LanStatus } from '../../network/index.ts'
import { homeFlag, socketOf } from '../home.ts'
import { note, paint, print, printFields, programName, progress, json as toJson } from '../output.ts'
import { type Context, repeated, type Verb } from '../verb.ts'

export const start: Verb = {
  usage: 'start',
  summary: 'start the node, in the foreground, until Ctrl-C or stop',
  examples: ['start', 'start --name alice --listen /ip4/0.0.0.0/tcp/4001 --bootstrap /ip4/192.0.2.7/tcp/4001'],
  outlivesReader: true,
  options: (command) =>
    command
      .option('--name <name>', "what the node calls itself (default: the host's name)")
      .option(
        '--listen <multiaddr>',
        'where to listen (default: everywhere, TCP and WebSocket, free ports); repeat for more',
        repeated
      )
      .option('--bootstrap <multiaddr>', 'a peer to join by; repeat for more', repeated)
      .option('--mesh <name>', 'the mesh to be of: nodes of others are no peers (default: that of the home, else main)')
      .option(
        '--swarm-key <file>',
        'file with the key of a private mesh (pryx-mesh swarm-key): only nodes that have it connect',
        (file) => resolve(file)
      )
      .option(
        '--http <address>',
        'serve HTTP at this address, such as 127.0.0.1:8645; off this machine it needs edge.tls in config.json'
      )
      .option('--no-lan', 'neither find nor be found on the local network; listen on loopback only, unless --listen'),
  async run(context, options) {
    try {
      await runNode(context, options)
    } finally {
      // What a dependency left open must not keep the process of a stopped node alive
      setTimeout(() => process.exit(), LINGER_MS).unref()
    }
  }
}

const LINGER_MS = 1_000

async function runNode({ home, json, signal }: Context, options: Record<string, unknown>): Promise<void> {
  const done = progress(() => 'starting')
  const { http, ...init } = options
  const node = await startNode({ home, ...init, ...(http !== undefined && { metrics: true }), log: note }).finally(done)
  // What a library left unhandled, perhaps because of a peer, must not end everybody's node
  process.on('unhandledRejection', (reason) =>
    note(`unhandled: ${reason instanceof Error ? reason.stack : String(reason)}`)
  )
  const stopping = Promise.withResolvers<void>()
  const stopped = Promise.withResolvers<void>()
  // Nobody waits for it unless `stop` was asked for
  stopped.promise.catch(() => {})
  signal.addEventListener('abort', () => stopping.resolve(), { once: true })
  try {
    // Not by the face of the room, which brings the edges with it: most nodes have none
    const { openControl } = await import('../../gateway/control.ts')
    const onDefect = (cause: unknown): void =>
      note(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause))
    const edge = await openHttp(node, http, onDefect)
    const control = await openControl({
      node,
      path: socketOf(home),
      onDefect,
      onStop: () => {
        stopping.resolve()
        return stopped.promise
      }
    })
    if (signal.aborted) stopping.resolve()
    else announce(node, { home, json, http: edge?.url })
    await stopping.promise
    control.close()
    await edge?.close()
  } finally {
    await node.stop().then(stopped.resolve, (err) => {
      stopped.reject(err)
      throw err
    })
  }
}

/** The address of the command line goes before that of the configuration, whose certificate is used all the same. */
async function openHttp(node: Node, address: unknown, onDefect: (cause: unknown) => void): Promise<Edge | undefined> {
  const { settings } = node.edges
  const listen = typeof address === 'string' ? address : settings?.listen
  if (listen === undefined) return undefined
  // The owner finds it in the home before it is first shown
  await node.edges.ownerToken()
  const { createWsEdge, openEdge, WS_PATH } = await import('../../gateway/index.ts')
  const traces = tracesUrl(process.env)
  return openEdge({
    node,
    ...settings,
    ...(traces && { traces }),
    listen,
    upgrades: { [WS_PATH]: createWsEdge({ onDefect }) },
    onDefect
  })
}

/** As OpenTelemetry names them, so that it is said once for all programs. */
function tracesUrl(env: NodeJS.ProcessEnv): string | undefined {
  const { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint } = env
  return traces ?? (endpoint && `${endpoint.replace(/\/$/, '')}/v1/traces`)
}

async function startNode(init: NodeInit): Promise<Node> {
  // Loading doubles V8's young generation to 32 MB, which an idle node would keep: 15 MB of 145, measured
  setFlagsFromString('--semi-space-growth-factor=1')
  // The other verbs don't pay for the network
  const { createNode } = await import('../../index.ts')
  const node = await createNode(init)
  try {
    await node.start()
    setFlagsFromString('--semi-space-growth-factor=2')
    return node
  } catch (err) {
    // The reason it didn't start counts, not what stopping half a node says
    await node.stop().catch(() => {})
    throw err
  }
}

function announce(node: Node, { home, json, http }: { home: string; json: boolean; http: string | undefined }): void {
  const { id, did, name, addresses } = node
  if (json) {
    print(toJson({ ready: true, peerId: id, name, addresses, home, ...(http !== undefined && { http }) }))
    return
  }
  const program = programName()
  const flag = homeFlag(home)
  print(`${paint('bold', name)} is running`)
  printFields([
    ['id', id],
    ['did', did],
    ['home', home],
    ['mesh', node.status().mesh],
    ['addresses', addresses.length === 0 ? 'none' : addresses],
    ...(http === undefined
      ? []
      : [['HTTP', `${http}, for the owner with the token in ${homeAt(home).httpToken}`] as const]),
    ['LAN', LAN[node.status().lan]]
  ])
  const [address] = addresses.toSorted((one, other) => reach(other) - reach(one))
  if (address !== undefined) {
    print(
      `\nTo join it from ${reach(address) > 0 ? 'another machine' : 'this machine'}:\n  ${program} start${reach(address) > 0 ? '' : ' --home OTHER'} --bootstrap ${address}`
    )
  }
  print('\nNext, in another terminal:')
  print(`  ${program} agents add files${flag} --mcp-stdio 'npx -y @modelcontextprotocol/server-filesystem .'`)
  print(`  ${program} find${flag}`)
  print(`\nCtrl-C or ${program} stop${flag} ends it.`)
}

const LAN: Readonly<Record<LanStatus, string>> = {
  on: 'on: nodes of this network find each other',
  off: 'off',
  'no multicast route': 'this machine has no multicast route: use --bootstrap'
}

/** How far an address reaches: 0 this machine, 1 by WebSocket, 2 by TCP. */
function reach(address: string): number {
  if (/^\/(ip4\/127\.|ip6\/::1\/|ip6\/fe80:)/.test(address)) return 0
  return address.includes('/ws') ? 1 : 2
}
