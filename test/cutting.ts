import { tcp } from '@libp2p/tcp'
import type { NodeInit } from '../src/index.ts'

type Transports = NonNullable<NodeInit['transports']>
type Tcp = ReturnType<ReturnType<typeof tcp>>

/** TCP whose connections, those that a node dialled, can be cut at any moment; `cut` tells whether there was one. */
export function cuttable(): { readonly transports: Transports; cut(): boolean } {
  const dialled = new Set<Awaited<ReturnType<Tcp['dial']>>>()
  return {
    transports: [
      (components) => {
        const transport = tcp()(components)
        const dial = transport.dial.bind(transport)
        transport.dial = async (...args) => {
          const connection = await dial(...args)
          dialled.add(connection)
          return connection
        }
        return transport
      }
    ],
    cut() {
      const open = [...dialled].filter(({ status }) => status === 'open')
      for (const connection of open) connection.abort(new Error('cut by the test'))
      dialled.clear()
      return open.length > 0
    }
  }
}
