import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { createDialler } from '../../src/drivers/http-dial.ts'
import { checkUrl, guardedLookup, type Reach, type Resolve, reachOf } from '../../src/drivers/ssrf.ts'

const forbidden = expect.objectContaining({ code: 'FORBIDDEN' })

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Answers with each list of addresses in turn, then with the last one for ever. */
function resolver(...answers: string[][]): Resolve & { readonly asked: string[] } {
  const asked: string[] = []
  const resolve: Resolve = (hostname, _options, done) => {
    const addresses = answers[Math.min(asked.length, answers.length - 1)] ?? []
    asked.push(hostname)
    done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    )
  }
  return Object.assign(resolve, { asked })
}

/** A dialler, and what it gets from a URL: the status, or the error. */
function dialling(reach: Reach, resolve?: Resolve) {
  const dialler = createDialler({ reach, resolve })
  onTestFinished(() => dialler.close())
  return async (
    url: string,
    method = 'GET',
    headers: (hop: URL) => Promise<Record<string, string>> = async () => ({})
  ) => {
    const response = await dialler.send({ method, url: new URL(url), headers, signal: AbortSignal.timeout(10_000) })
    response.destroy()
    return response.statusCode
  }
}

it.each([
  'https://127.0.0.1/',
  'https://0x7f.1/',
  'https://2130706433/',
  'https://0177.0.0.1/',
  'https://127.1/',
  'https://１２７.0.0.1/',
  'https://[::1]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::ffff:7f00:1]/',
  'https://[::127.0.0.1]/',
  'https://10.1.2.3/',
  'https://172.31.0.1/',
  'https://192.168.1.1/',
  'https://100.64.0.1/',
  'https://198.18.0.1/',
  'https://[fd12:3456::1]/',
  'https://[::ffff:192.168.1.1]/',
  'https://169.254.169.254/latest/meta-data/',
  'https://[fd00:ec2::254]/',
  'https://[fe80::1]/',
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://0.0.0.0/',
  'https://[::]/',
  'https://224.0.0.1/',
  'https://[ff02::1]/',
  'https://255.255.255.255/'
])('does not reach %s from an endpoint in public', (url) => {
  expect(() => checkUrl(new URL(url), 'public')).toThrow(forbidden)
})

it.each(['https://8.8.8.8/', 'https://172.32.0.1/', 'https://[2606:4700::1111]/', 'wss://example.org/'])(
  'reaches %s in public',
  (url) => {
    expect(() => checkUrl(new URL(url), 'public')).not.toThrow()
  }
)

it.each(['http://169.254.169.254/', 'http://[::ffff:169.254.169.254]/', 'http://[fe80::1]/', 'http://224.0.0.1/'])(
  'does not reach %s even by permission',
  (url) => {
    expect(() => checkUrl(new URL(url), 'private')).toThrow(forbidden)
  }
)

it.each(['http://10.0.0.1/', 'http://192.168.1.1/', 'ws://[fd12::1]/', 'http://127.0.0.1/', 'http://[::1]/'])(
  'reaches %s by permission',
  (url) => {
    expect(() => checkUrl(new URL(url), 'private')).not.toThrow()
  }
)

it.each(['http://example.org/', 'ws://example.org/', 'ftp://example.org/', 'file:///etc/passwd'])(
  'refuses %s, which is not encrypted',
  (url) => {
    expect(() => checkUrl(new URL(url), 'loopback')).toThrow(forbidden)
  }
)

it.each([
  { url: 'http://localhost:1/', reach: 'loopback' },
  { url: 'http://agent.localhost/', reach: 'loopback' },
  { url: 'http://127.0.0.1/', reach: 'loopback' },
  { url: 'http://[::1]/', reach: 'loopback' },
  { url: 'https://localhost.example.org/', reach: 'public' },
  { url: 'https://notlocalhost/', reach: 'public' },
  { url: 'https://192.168.1.1/', reach: 'public' }
])('takes $url for $reach', ({ url, reach }) => {
  expect(reachOf(new URL(url), false)).toBe(reach)
})

it.each(['127.0.0.1', '10.0.0.1', '::1', '::ffff:127.0.0.1', '169.254.169.254'])(
  'does not connect to a name whose address is %s',
  async (address) => {
    const send = dialling('public', resolver([address]))
    await expect(send('https://agent.example/')).rejects.toThrow(forbidden)
  }
)

it('does not connect to a name that has a public and a private address', async () => {
  const send = dialling('public', resolver(['93.184.216.34', '127.0.0.1']))
  await expect(send('https://agent.example/')).rejects.toThrow(forbidden)
})

it('connects to the address that was checked, and looks it up no second time', async () => {
  const port = await listen(createServer((_, response) => response.end()))
  const resolve = resolver(['127.0.0.1'], ['10.0.0.1'])
  expect(await dialling('private', resolve)(`http://agent.example:${port}/`)).toBe(200)
  expect(resolve.asked).toEqual(['agent.example'])
})

it('refuses a name that was public once and is private now', async () => {
  const resolve = resolver(['93.184.216.34'], ['127.0.0.1'])
  const lookup = guardedLookup('public', resolve)
  const once = () =>
    new Promise((settle, fail) =>
      lookup('agent.example', { all: true }, (err, addresses) => (err === null ? settle(addresses) : fail(err)))
    )
  expect(await once()).toEqual([{ address: '93.184.216.34', family: 4 }])
  await expect(once()).rejects.toThrow(forbidden)
})

it('says so when a name has no address', async () => {
  await expect(dialling('public', resolver([]))('https://agent.example/')).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE'
  })
})

it.each([
  { id: 'an address out of reach', location: 'https://10.0.0.1/' },
  { id: 'the metadata of a cloud', location: 'http://169.254.169.254/' },
  { id: 'plain text', location: 'http://example.org/' },
  { id: 'no URL', location: 'https://[' },
  { id: 'another kind of URL', location: 'file:///etc/passwd' }
])('does not follow a redirect to $id', async ({ location }) => {
  const port = await listen(createServer((_, response) => response.writeHead(302, { location }).end()))
  await expect(dialling('loopback')(`http://127.0.0.1:${port}/`)).rejects.toThrow(forbidden)
})

it('does not follow a redirect to a name whose address is out of reach', async () => {
  const port = await listen(
    createServer((_, response) => response.writeHead(302, { location: 'https://inside.example/' }).end())
  )
  const send = dialling('loopback', resolver(['192.168.0.1']))
  await expect(send(`http://127.0.0.1:${port}/`)).rejects.toThrow(forbidden)
})

it('follows three redirects, and asks for headers at each hop', async () => {
  const hops: string[] = []
  const port = await listen(
    createServer((request, response) => {
      const count = Number(request.url?.slice(1))
      if (count === 0) response.end()
      else response.writeHead(307, { location: `/${count - 1}` }).end()
    })
  )
  const send = dialling('loopback')
  const status = await send(`http://127.0.0.1:${port}/3`, 'POST', async (hop) => {
    hops.push(hop.pathname)
    return {}
  })
  expect([status, hops]).toEqual([200, ['/3', '/2', '/1', '/0']])
  await expect(send(`http://127.0.0.1:${port}/4`)).rejects.toThrow('redirects too often')
})

it('does not send a body again where a redirect would make it a GET', async () => {
  const port = await listen(createServer((_, response) => response.writeHead(302, { location: '/' }).end()))
  expect(await dialling('loopback')(`http://127.0.0.1:${port}/`, 'POST')).toBe(302)
})
