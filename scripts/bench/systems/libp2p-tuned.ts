/** Orientation: the same echo as raw libp2p on the encryption and muxer of our own nodes, which shows what the rest costs. */
import type * as noise from '../../../src/network/noise.ts'
import type * as yamux from '../../../src/network/yamux.ts'
import { built } from '../built.ts'
import { libp2pSystem } from '../raw-libp2p.ts'

const { tunedNoise } = await built<typeof noise>('network/noise.js')
const { tunedYamux } = await built<typeof yamux>('network/yamux.js')

export const system = libp2pSystem({ connectionEncrypters: [tunedNoise()], streamMuxers: [tunedYamux()] })
