import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { MultiaddrConnection } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  CONNECTION_BURST_PER_IP,
  MAX_CONNECTIONS_PER_IP,
  MAX_PENDING_PER_IP,
  MAX_STREAMS_PER_PROTOCOL,
  RECONNECT_LATELY_MAX_MS,
  RECONNECT_LATELY_MS,
  RECONNECT_MAX_MS
} from '../../src/network/constants.ts'
import { createGater } from '../../src/network/gater.ts'
import { networkOf } from '../../src/network/ip.ts'
import { backoffMs, createReconnector } from '../../src/network/reconnect.ts'
import { ECHO, LOOPBACK_TCP, LOOPBACK_WS, soon, startNode, until } from './nodes.ts'

describe('the gater', () => {
  it('takes 8 handshakes from one address, more once they are done, and 8 connections', async () => {
    const { dial, upgrade } = gaterAt(() => 0)
    const pending = Array.from({ length: MAX_PENDING_PER_IP }, () => dial('192.0.2.1'))
    expect(pending.every(({ isDenied }) => !isDenied)).toBe(true)
    expect(dial('192.0.2.1').isDenied).toBe(true)
    expect(dial('192.0.2.2').isDenied).toBe(false)
    for (const { connection } of pending) upgrade(connection)
    expect(dial('192.0.2.1').isDenied).toBe(true) // 8 are open
    pending[0]?.connection.close()
    expect(dial('192.0.2.1').isDenied).toBe(false)
  })

  it('takes a burst of 16 and then one per second', () => {
    let now = 0
    const { dial } = gaterAt(() => now)
    const quick = (): boolean => {
      const { connection, isDenied } = dial('192.0.2.1')
      connection.close()
      return isDenied
    }
    expect(Array.from({ length: CONNECTION_BURST_PER_IP }, quick).includes(true)).toBe(false)
    expect(quick()).toBe(true)
    now += 1_000
    expect([quick(), quick()]).toEqual([false, true])
    now += 3_600_000
    expect(Array.from({ length: CONNECTION_BURST_PER_IP + 1 }, quick).filter((isDenied) => isDenied)).toEqual([true])
  })

  it('never counts below zero or for ever, whatever the order of events', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ what: fc.constantFrom('dial', 'upgrade', 'close'), which: fc.nat(20) })),
        (steps) => {
          let now = 0
          const { dial, upgrade } = gaterAt(() => (now += 10_000))
          const connections: FakeConnection[] = []
          for (const { what, which } of steps) {
            const connection = connections[which % (connections.length || 1)]
            if (what === 'dial') connections.push(dial('192.0.2.1').connection)
            else if (what === 'upgrade' && connection !== undefined) upgrade(connection)
            else connection?.close()
          }
          for (const connection of connections) connection.close()
          const after = Array.from({ length: MAX_PENDING_PER_IP }, () => dial('192.0.2.1').isDenied)
          expect(after).not.toContain(true)
          expect(dial('192.0.2.1').isDenied).toBe(true)
        }
      )
    )
  })

  it.each(['127.0.0.1', '127.3.2.1', '::1'])('lets loopback (%s) do as it likes', (host) => {
    const { dial } = gaterAt(() => 0)
    expect(Array.from({ length: 100 }, () => dial(host).isDenied)).not.toContain(true)
  })

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2233:4:5:6:7', '2001:db8:1:2200'],
    ['2001:db8:1:22ff::1', '2001:db8:1:2200'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['::1', '0:0:0:0']
  ])('counts %s as %s', (host, network) => {
    expect(networkOf(host)).toBe(network)
  })

  it(`refuses what is over ${MAX_CONNECTIONS_PER_IP} connections while others get in`, () => {
    const { dial, upgrade } = gaterAt(() => 0)
    for (let i = 0; i < MAX_CONNECTIONS_PER_IP; i++) upgrade(dial('2001:db8::1').connection)
    expect(dial('2001:db8:0:ff::9').isDenied).toBe(true)
    expect(dial('2001:db8:0:100::9').isDenied).toBe(false)
  })
})

describe('a flood of connections that never speak', () => {
  it.each([
    ['TCP', LOOPBACK_TCP],
    ['WebSocket', LOOPBACK_WS]
  ])(
    'keeps no honest node out over %s, and is thrown out itself',
    async (_name, listen) => {
      const target = await startNode({ listen: [listen] })
      const port = Number(target.address().split('/')[4])
      const flood = Array.from({ length: 100 }, () => silent(port))
      await Promise.all(flood.map((socket) => once(socket, 'connect')))
      const honest = await startNode({ listen: [listen] })
      await expect(honest.network.connect(target.address(), soon(2_000))).resolves.toBe(target.id)
      await until(() => flood.every(({ closed }) => closed)) // within 3 s
      expect(target.network.status().connections).toBe(1)
    },
    10_000
  )
})

describe('streams', () => {
  it('are reset beyond 8 of one protocol, and the connection stays', async () => {
    const [a, b] = [await startNode(), await startNode()]
    let served = 0
    await b.network.handle(ECHO, () => void served++)
    await a.network.connect(b.address())
    const opened = await Promise.allSettled(
      Array.from({ length: MAX_STREAMS_PER_PROTOCOL + 4 }, () => a.network.openStream(b.id, [ECHO], soon()))
    )
    const streams = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value.stream] : []))
    await until(() => streams.filter(({ status }) => status === 'open').length === MAX_STREAMS_PER_PROTOCOL)
    expect(served).toBe(MAX_STREAMS_PER_PROTOCOL)
    expect(a.network.isConnected(b.id)).toBe(true)
  })
})

describe('reconnecting', () => {
  it.each([
    { id: 'a minute', downSince: Number.NEGATIVE_INFINITY, bound: RECONNECT_MAX_MS },
    { id: '15 s to a peer that was connected lately', downSince: performance.now(), bound: RECONNECT_LATELY_MAX_MS }
  ])('waits between 0 and a bound that doubles up to $id', ({ downSince, bound }) => {
    fc.assert(
      fc.property(fc.nat(5_000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempts, random) => {
        const wait = backoffMs({ attempts, downSince }, () => random)
        expect(wait).toBeGreaterThanOrEqual(0)
        expect(wait).toBeLessThanOrEqual(bound)
      })
    )
    const longest = [0, 1, 2, 5, 6, 7, 100].map((attempts) => backoffMs({ attempts, downSince }, () => 1))
    expect(longest).toEqual([1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000].map((ms) => Math.min(ms, bound)))
  })

  it('goes on for ever, at once when the peer is seen, and not after stop', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    let dials = 0
    let isUp = false
    const reconnector = createReconnector({
      dial: async () => {
        dials++
        if (!isUp) throw new Error('not there')
        return 'peer'
      },
      isConnected: () => isUp,
      random: () => 1
    })
    reconnector.keep({ peer: 'peer', addresses: [] })
    reconnector.keep({ peer: 'peer', addresses: ['/again'] })
    await vi.advanceTimersByTimeAsync(RECONNECT_LATELY_MS)
    const lately = dials
    expect(lately).toBeGreaterThan(40)
    expect(lately).toBeLessThan(50)
    await vi.advanceTimersByTimeAsync(3_600_000)
    expect(dials - lately).toBeGreaterThan(55)
    expect(dials - lately).toBeLessThan(65)
    isUp = true
    reconnector.seen('peer')
    await vi.advanceTimersByTimeAsync(0)
    const connectedAfter = dials
    await vi.advanceTimersByTimeAsync(600_000)
    expect(dials).toBe(connectedAfter)
    isUp = false
    reconnector.lost('peer')
    await vi.advanceTimersByTimeAsync(2_000)
    expect(dials).toBeGreaterThan(connectedAfter)
    reconnector.stop()
    const stoppedAfter = dials
    await vi.advanceTimersByTimeAsync(600_000)
    expect(dials).toBe(stoppedAfter)
  })

  it('keeps a peer that was connected lately while something waits for it, and no other', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const dialled: unknown[] = []
    const up = new Set<string>()
    const reconnector = createReconnector({
      dial: async ({ peer = '' }) => {
        dialled.push(peer)
        if (!up.has(peer)) throw new Error('not there')
        return peer
      },
      isConnected: (peer) => up.has(peer),
      random: () => 1
    })
    onTestFinished(() => reconnector.stop())
    const dials = async (ms: number): Promise<number> => {
      dialled.length = 0
      await vi.advanceTimersByTimeAsync(ms)
      return dialled.length
    }
    reconnector.wanted('stranger')
    for (const peer of ['wanted', 'left alone', 'blocked']) reconnector.lost(peer)
    expect(await dials(30_000)).toBe(0)
    for (const peer of ['wanted', 'wanted', 'blocked']) reconnector.wanted(peer)
    reconnector.forget('blocked')
    reconnector.wanted('blocked')
    expect(await dials(60_000)).toBeGreaterThan(4)
    expect(new Set(dialled)).toEqual(new Set(['wanted']))
    // Back, it is nobody's to keep any more, until it is lost and wanted again
    up.add('wanted')
    expect(await dials(RECONNECT_LATELY_MAX_MS)).toBe(0)
    up.clear()
    reconnector.lost('wanted')
    expect(await dials(60_000)).toBe(0)
    reconnector.wanted('wanted')
    expect(await dials(RECONNECT_LATELY_MS)).toBeGreaterThan(30)
    expect(await dials(3_600_000)).toBe(0)
    reconnector.wanted('wanted')
    expect(await dials(60_000)).toBe(0)
  })

  it('backs off from a peer that throws it out each time', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    let dials = 0
    const reconnector = createReconnector({
      dial: async () => {
        dials++
        setTimeout(() => reconnector.lost('peer'), 1)
        return 'peer'
      },
      isConnected: () => false,
      random: () => 1
    })
    reconnector.keep({ peer: undefined, addresses: ['/ip4/192.0.2.1/tcp/1'] })
    await vi.advanceTimersByTimeAsync(600_000)
    reconnector.stop()
    expect(dials).toBeLessThan(50)
  })
})

interface FakeConnection extends EventTarget {
  status: string
  close(): void
}

/** A gater and the two ends of what libp2p does with it. */
function gaterAt(clock: () => number) {
  const gater = createGater({ clock, isBlocked: () => false })
  return {
    dial: (host: string) => {
      const remoteAddr = multiaddr(host.includes(':') ? `/ip6/${host}/tcp/1` : `/ip4/${host}/tcp/1`)
      const connection: FakeConnection = Object.assign(new EventTarget(), {
        remoteAddr,
        status: 'open',
        close(this: FakeConnection) {
          this.status = 'closed'
          this.dispatchEvent(new Event('close'))
        }
      })
      const isDenied = gater.denyInboundConnection?.(connection as unknown as MultiaddrConnection) === true
      return { connection, isDenied }
    },
    upgrade: (connection: FakeConnection) => {
      void gater.denyInboundUpgradedConnection?.({} as never, connection as unknown as MultiaddrConnection)
    }
  }
}

function silent(port: number): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.resume()
  onTestFinished(() => void socket.destroy())
  return socket
}
