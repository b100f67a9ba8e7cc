import { isIPv6 } from 'node:net'

/** What counts as one: the address, or the /56 of an IPv6 address, which is what one customer gets. */
export function networkOf(host: string): string {
  const address = host.replace(/^::ffff:(?=\d+\.)/, '')
  if (!isIPv6(address)) return address
  const [head = '', tail = ''] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === '' ? [] : tail.split(':')
  while (address.includes('::') && groups.length + rest.length < 8) groups.push('0')
  const [first = 0, second = 0, third = 0, fourth = 0] = [...groups, ...rest].map((group) => Number.parseInt(group, 16))
  return [first, second, third, fourth & 0xff00].map((group) => group.toString(16)).join(':')
}

export function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host.startsWith('::ffff:127.') || host === '::1'
}
