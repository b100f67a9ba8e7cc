import ms from 'ms'
import { abortable, MeshError } from '../errors.ts'
import type { AgentDescription } from '../registry/index.ts'
import { CLOSE_TIMEOUT_MS } from './constants.ts'
import type { AgentConnection, Driver } from './index.ts'

/** A connection, and what it has said. */
export interface Live {
  readonly connection: AgentConnection
  description: AgentDescription
}

export interface LiveInit {
  readonly driver: Driver
  readonly name: string
  readonly config: unknown
  /** Aborted when the agent isn't wanted any more. */
  readonly signal: AbortSignal
  readonly timeoutMs: number
  readonly onChange: () => void
  readonly onLost: (reason: string, detail?: string) => void
}

/**
 * Connects an agent and asks what it offers.
 *
 * @throws {MeshError} AGENT_UNAVAILABLE, or what the signal was aborted with; nothing is left running then
 */
export async function connectLive({ driver, name, config, timeoutMs, ...init }: LiveInit): Promise<Live> {
  // Not AbortSignal.timeout: a driver may keep this signal, and must not see it fire once it is connected.
  const connecting = new AbortController()
  const late = new MeshError('AGENT_UNAVAILABLE', `the agent ${name} did not come up within ${ms(timeoutMs)}`)
  const timer = setTimeout(() => connecting.abort(late), timeoutMs)
  const giveUp = () => connecting.abort(init.signal.reason)
  init.signal.addEventListener('abort', giveUp, { once: true })
  if (init.signal.aborted) giveUp()
  const { signal } = connecting
  let connection: Promise<AgentConnection> | undefined
  try {
    connection = driver.connect(config, { agent: name, signal, onChange: init.onChange, onLost: init.onLost })
    const connected = await abortable(connection, signal)
    return { connection: connected, description: await described(connected, signal) }
  } catch (err) {
    // Not waited for when time is up: a driver that heeds no signal may still connect later, for nobody.
    const closed = connection?.then(close, () => {})
    if (!signal.aborted) await closed
    if (err instanceof MeshError) throw err
    throw new MeshError('AGENT_UNAVAILABLE', `the agent ${name} did not come up: ${textOf(err)}`, { cause: err })
  } finally {
    clearTimeout(timer)
    init.signal.removeEventListener('abort', giveUp)
  }
}

async function described(connection: AgentConnection, signal: AbortSignal): Promise<AgentDescription> {
  try {
    return await abortable(connection.describe({ signal }), signal)
  } catch (err) {
    if (signal.aborted) throw err
    throw new MeshError('AGENT_UNAVAILABLE', `the agent does not say what it offers: ${textOf(err)}`, { cause: err })
  }
}

/** Closes a connection, whatever its driver makes of that. */
export async function close(connection: AgentConnection): Promise<void> {
  try {
    await abortable(connection.close(), AbortSignal.timeout(CLOSE_TIMEOUT_MS))
  } catch {
    // It should not fail (see the interface); there is nothing more to do if it does.
  }
}

export function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
