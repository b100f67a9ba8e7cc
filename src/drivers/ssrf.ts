import { lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { MeshError } from '../errors.ts'

/** How far an endpoint may reach beyond public addresses; each includes those before it. */
export type Reach = 'public' | 'loopback' | 'private'

/** What looks a name up: as `dns.lookup` with `all`. */
export type Resolve = (
  hostname: string,
  options: { readonly all: true; readonly family?: number | 'IPv4' | 'IPv6' | undefined },
  done: (err: NodeJS.ErrnoException | null, addresses: { address: string; family: number }[]) => void
) => void

/** How far an endpoint may reach that its owner has written down so: its own machine if it is there, private nets by permission only. */
export function reachOf(url: URL, allowPrivate: boolean): Reach {
  if (allowPrivate) return 'private'
  return isLoopbackName(url.hostname) ? 'loopback' : 'public'
}

/**
 * Refuses a URL before anything is sent: an address that is out of reach, or plain text over a network that others share.
 * Names are checked when they are looked up.
 *
 * @throws {MeshError} FORBIDDEN
 */
export function checkUrl(url: URL, reach: Reach): void {
  const { hostname, protocol } = url
  const address = hostname.replace(/^\[(.*)\]$/, '$1')
  // `URL` has already made dotted decimals of every other way to write an IPv4 address.
  if (isIP(address) !== 0) checkAddress(address, reach)
  const isPlain = protocol === 'http:' || protocol === 'ws:'
  if (!isPlain && protocol !== 'https:' && protocol !== 'wss:')
    throw new MeshError('FORBIDDEN', `an endpoint can't be reached by ${protocol.slice(0, 20)}`)
  const isOwn = reach === 'private' || (reach === 'loopback' && isLoopbackName(hostname))
  if (isPlain && !isOwn) {
    throw new MeshError('FORBIDDEN', `${url.origin} is not encrypted`, {
      hint: 'use https or wss; without, an endpoint must be on this machine, or have `allowPrivate`'
    })
  }
}

/**
 * Looks names up for a socket and hands on only addresses that may be reached: what was checked is what is connected to, so
 * that a name can't be public for the check and private for the connection.
 *
 * @param resolve default: the system's
 */
export function guardedLookup(reach: Reach, resolve: Resolve = systemLookup): LookupFunction {
  return (hostname, options, done) => {
    resolve(hostname, { all: true, family: options.family }, (err, addresses) => {
      const fail = (reason: Error): void => done(reason, '', 0)
      if (err !== null) return fail(err)
      try {
        // One bad address spoils them all: a name that is public and private at once means no good.
        for (const { address } of addresses) checkAddress(address, reach)
      } catch (refusal) {
        return fail(refusal as Error) // checkAddress throws nothing else.
      }
      const [first] = addresses
      if (first === undefined) return fail(new MeshError('AGENT_UNAVAILABLE', 'the name has no address'))
      if (options.all === true) return done(null, addresses)
      done(null, first.address, first.family)
    })
  }
}

/** @throws {MeshError} FORBIDDEN */
function checkAddress(address: string, reach: Reach): void {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  const isRefused =
    NEVER.check(address, family) ||
    (reach !== 'private' && PRIVATE.check(address, family)) ||
    (reach === 'public' && LOOPBACK.check(address, family))
  if (!isRefused) return
  throw new MeshError('FORBIDDEN', 'the endpoint has an address that agents may not reach', {
    hint: 'for one on a private network, its owner sets `allowPrivate`'
  })
}

function isLoopbackName(hostname: string): boolean {
  const address = hostname.replace(/^\[(.*)\]$/, '$1')
  const version = isIP(address)
  if (version !== 0) return LOOPBACK.check(address, version === 6 ? 'ipv6' : 'ipv4')
  return /(?:^|\.)localhost\.?$/.test(hostname)
}

// https://www.iana.org/assignments/iana-ipv4-special-registry and …-ipv6-special-registry. A v4-mapped IPv6 address is
// checked as the IPv4 address that it is.
const LOOPBACK = blockList(['127.0.0.0/8', '::1/128'])

/** Not even by permission: nobody has an agent there, and clouds keep their credentials there. */
const NEVER = blockList([
  '0.0.0.0/8',
  '169.254.0.0/16', // link-local, with most clouds' metadata
  '100.100.100.200/32', // metadata of Alibaba Cloud
  '168.63.129.16/32', // Azure's host
  '192.0.0.192/32', // metadata of Oracle Cloud
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
  '::/128',
  'fd00:ec2::/32', // metadata of AWS
  'fd20:ce::/32', // metadata of Google Cloud
  'fe80::/10', // link-local
  'fec0::/10',
  'ff00::/8', // multicast
  // Addresses with an IPv4 address inside, which a gateway on the way may connect to
  '64:ff9b::/96',
  '64:ff9b:1::/48',
  '2001::/32',
  '2002::/16'
])

// IPv4-compatible addresses, deprecated since RFC 4291 §2.5.5.1: all of ::/96 but :: and ::1
NEVER.addRange('::2', '::ffff:ffff', 'ipv6')

const PRIVATE = blockList([
  '10.0.0.0/8',
  '100.64.0.0/10', // CGNAT
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '100::/64',
  '2001:2::/48',
  '2001:10::/28',
  '2001:20::/28',
  '2001:db8::/32',
  '3fff::/20',
  '5f00::/16',
  'fc00::/7' // ULA
])

function blockList(subnets: readonly string[]): BlockList {
  const list = new BlockList()
  for (const subnet of subnets) {
    const [address = '', prefix = ''] = subnet.split('/')
    list.addSubnet(address, Number(prefix), isIP(address) === 6 ? 'ipv6' : 'ipv4')
  }
  return list
}
