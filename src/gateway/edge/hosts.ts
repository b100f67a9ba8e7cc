import type { IncomingMessage } from 'node:http'
import { BlockList, isIPv6 } from 'node:net'
import { MeshError } from '../../errors.ts'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

/** Whether an IP address is this machine's own; a name other than `localhost` never is. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false
  if (address === 'localhost') return true
  return loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

export interface Listen {
  readonly host: string
  readonly port: number
}

/** Reads `127.0.0.1:8645`, `[::1]:0` or `localhost:8645`. @throws {MeshError} INVALID_CONFIG */
export function readListen(text: string): Listen {
  const [, v6, name = '', digits] = /^(?:\[([0-9a-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  const host = v6 ?? name
  if (digits !== undefined && port <= 65_535 && (v6 === undefined || isIPv6(v6))) return { host, port }
  throw new MeshError('INVALID_CONFIG', `${JSON.stringify(text.slice(0, 80))} is no address to listen on`, {
    hint: 'write an IP address and a port, such as 127.0.0.1:8645 or [::1]:8645; port 0 takes a free one'
  })
}

/** Where the edge is, as clients write it. */
export interface Hosts {
  /** The origin that a request is for; undefined when its `Host` is none of ours: somebody's name points here by mistake or on purpose. */
  originOf(request: IncomingMessage): string | undefined
  /** `own` when a page of ours sent it, `other` when a page of somebody whom the owner lets in; undefined when nobody may. */
  judgeOrigin(origin: string): 'own' | 'other' | undefined
}

export interface HostsInit {
  readonly listen: Listen
  readonly isTls: boolean
  /** Further names: `host`, `host:port`, or an origin such as `https://mesh.example.org` behind a proxy. */
  readonly hosts: readonly string[]
  readonly origins: readonly string[]
}

/** @throws {MeshError} INVALID_CONFIG */
export function createHosts({ listen, isTls, hosts, origins }: HostsInit): Hosts {
  const scheme = isTls ? 'https' : 'http'
  const local = isLoopback(listen.host) ? ['localhost', '127.0.0.1', '[::1]'] : []
  const names = [bracketed(listen.host), ...local].map((name) => `${scheme}://${name}:${listen.port}`)
  const given = hosts.map((entry) => readOrigin(entry.includes('://') ? entry : withPort(entry, scheme, listen.port)))
  /** Host → origin. Without the port that its scheme implies, as clients write it. */
  const known = new Map([...names.map(readOrigin), ...given].map((origin) => [new URL(origin).host, origin]))
  const own = new Set(known.values())
  const others = new Set(origins.map(readOrigin))
  return {
    originOf({ headers: { host }, rawHeaders }) {
      if (host === undefined || countHosts(rawHeaders) !== 1) return undefined
      // As most clients write it, without the work of reading it
      return known.get(host) ?? known.get(withoutDefaultPort(host.toLowerCase(), scheme))
    },
    judgeOrigin: (origin) => (own.has(origin) ? 'own' : others.has(origin) ? 'other' : undefined)
  }
}

/** What is wrong with the host or origin of a request. */
export function refusalOf(request: IncomingMessage, hosts: Hosts): 421 | 403 | undefined {
  if (hosts.originOf(request) === undefined) return 421
  const { origin } = request.headers
  return origin === undefined || hosts.judgeOrigin(origin) !== undefined ? undefined : 403
}

function countHosts(rawHeaders: readonly string[]): number {
  let count = 0
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]
    if (name?.length === 4 && name.toLowerCase() === 'host') count += 1
  }
  return count
}

function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}

function withPort(entry: string, scheme: string, port: number): string {
  return /:\d+$/.test(entry) ? `${scheme}://${entry}` : `${scheme}://${entry}:${port}`
}

function withoutDefaultPort(host: string, scheme: string): string {
  return host.replace(scheme === 'https' ? /:443$/ : /:80$/, '')
}

function readOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && /^https?:$/.test(url.protocol) && `${url.origin}/` === url.href) return url.origin
  throw new MeshError('INVALID_CONFIG', `${JSON.stringify(text.slice(0, 80))} is no host or origin`, {
    hint: 'write it as mesh.example.org, mesh.example.org:8645 or https://mesh.example.org'
  })
}
