import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { DIALLED_IN } from '../registry/constants.ts'
import type { AgentDescription } from '../registry/index.ts'
import { descriptionOf, helloFrame } from './agent-frames.ts'
import { AgentSession, type Duplex } from './agent-session.ts'
import type { Driver } from './index.ts'
import { parseConfig } from './parse-config.ts'

/** An agent at an edge, which waits for the driver to take it up. */
export interface Visitor {
  readonly duplex: Duplex
  readonly description: AgentDescription
  /** Of the ids of calls and messages, so that they differ from those of the connection's other agents. */
  readonly idPrefix: string
  /** Beyond which it is too slow for another call. */
  readonly maxBufferedBytes: number
}

export interface DialledIn {
  readonly driver: Driver
  /**
   * Has a visitor ready for whenever the driver is asked to connect an agent of that name.
   *
   * @returns what takes it back
   * @throws {MeshError} BUSY while another one waits under that name
   */
  offer(name: string, visitor: Visitor): () => void
  /** What an agent says of itself, with the defaults filled in. @throws {MeshError} INVALID_ARGUMENT naming what is wrong */
  describe(said: unknown): AgentDescription
}

/**
 * Agents that connect to an edge of this node, where the other drivers' agents are connected by it.
 *
 * @see protocols/ws/1.0.0/README.md
 */
export function createDialledIn(): DialledIn {
  const visitors = new Map<string, Visitor>()
  return {
    driver: {
      kind: DIALLED_IN,
      isPassive: true,
      parse: (config) => parseConfig(inboundConfig, config ?? {}, 'the configuration of an inbound agent'),
      async connect(_config, { agent, onChange, onLost }) {
        const visitor = visitors.get(agent)
        if (visitor === undefined) throw new MeshError('AGENT_UNAVAILABLE', NOT_CONNECTED)
        visitors.delete(agent)
        return new AgentSession({ ...visitor, agent, onChange, onLost })
      }
    },
    offer(name, visitor) {
      if (visitors.has(name)) throw new MeshError('BUSY', `${name} is being registered just now`)
      visitors.set(name, visitor)
      return () => {
        if (visitors.get(name) === visitor) visitors.delete(name)
      }
    },
    describe: (said) => descriptionOf(parseConfig(spoken, said, 'the agent'))
  }
}

const NOT_CONNECTED = 'it has not connected'

const inboundConfig = z.strictObject({
  /** Whose name it is: only this caller may register it. Absent: whoever may register agents of the name. */
  by: z.string().min(1).max(512).exactOptional()
})

/** As the hello of an agent that is dialled. */
const spoken = helloFrame.omit({ type: true })
