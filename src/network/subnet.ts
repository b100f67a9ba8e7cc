import { BlockList, isIPv4 } from 'node:net'
import { networkOf } from './ip.ts'

/** Whose peers share an address without being one: this machine, private nets, link-local, carrier-grade NAT. */
const SHARED = new BlockList()
for (const [net, prefix] of [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16]
] as const) {
  SHARED.addSubnet(net, prefix, 'ipv4')
}
SHARED.addAddress('::1', 'ipv6')
SHARED.addSubnet('fc00::', 7, 'ipv6')
SHARED.addSubnet('fe80::', 10, 'ipv6')

/**
 * What counts as one network among publishers: the /24 of an IPv4 address, the /48 of an IPv6 one.
 *
 * @param address a multiaddr as text; undefined for a peer that isn't connected
 * @returns undefined for loopback, private addresses and what has none: those aren't counted
 */
export function subnetOf(address: string | undefined): string | undefined {
  const host = /^\/ip[46]\/([^/]+)/.exec(address ?? '')?.[1]
  if (host === undefined) return undefined
  const network = networkOf(host)
  const isV4 = isIPv4(network)
  if (SHARED.check(isV4 ? network : host, isV4 ? 'ipv4' : 'ipv6')) return undefined
  return network.split(isV4 ? '.' : ':', 3).join(isV4 ? '.' : ':')
}
