/** Raw libp2p, the floor: one stream, JSON frames, the frames of one loop turn in one send; stock TCP, Noise and Yamux. */
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { libp2pSystem } from '../raw-libp2p.ts'

export const system = libp2pSystem({ connectionEncrypters: [noise()], streamMuxers: [yamux()] })
