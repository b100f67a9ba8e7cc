/** The official A2A SDK over JSON-RPC: message/send echo, and message/stream with a status update for each item. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { AgentCard, Message, SendMessageRequest } from '@a2a-js/sdk'
import { A2A_PROTOCOL_VERSION, AGENT_CARD_PATH, Role, TaskState } from '@a2a-js/sdk'
import { ClientFactory, ClientFactoryOptions } from '@a2a-js/sdk/client'
import type { AgentExecutor, ExecutionEventBus, RequestContext } from '@a2a-js/sdk/server'
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server'
import { agentCardHandler, jsonRpcHandler, UserBuilder } from '@a2a-js/sdk/server/express'
import express from 'express'
import { nthItem } from '../payload.ts'
import type { System } from '../system.ts'

const STREAM = 'stream '
/** Lets the SSE writer run, as a real agent's own waiting would. */
const ITEMS_PER_TURN = 10

const executor: AgentExecutor = {
  async execute(context, bus) {
    const asked = textOf(context.userMessage)
    if (asked.startsWith(STREAM)) return streamItems(Number(asked.slice(STREAM.length)), context, bus)
    bus.publish(AgentEvent.message(textMessage(JSON.stringify(JSON.parse(asked)), context.contextId, Role.ROLE_AGENT)))
    bus.finished()
  },
  async cancelTask() {}
}

export const system: System = {
  // The SDK copies a task's history with every event, so its cost grows with the square: 1,000 items would be
  // ten times slower an item, and 100 flatter it.
  itemsPerStream: 100,

  async serve() {
    const app = express()
    const server = createServer(app)
    server.keepAliveTimeout = 60_000
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const requestHandler = new DefaultRequestHandler(card(base), new InMemoryTaskStore(), executor)
    app.use(`/${AGENT_CARD_PATH}`, agentCardHandler({ agentCardProvider: requestHandler }))
    app.use('/a2a', jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }))
    return {
      contact: { base },
      close: async () => {
        server.close()
        server.closeAllConnections()
      }
    }
  },

  async connect({ base }) {
    const factory = new ClientFactory({ ...ClientFactoryOptions.default, preferredTransports: ['JSONRPC'] })
    const client = await factory.createFromUrl(String(base))
    return {
      call: async (message) => {
        const reply = await client.sendMessage(request(JSON.stringify(message)))
        return 'parts' in reply ? JSON.parse(textOf(reply)) : undefined
      },
      stream: async (count, onItem) => {
        for await (const { payload } of client.sendMessageStream(request(`${STREAM}${count}`))) {
          if (payload?.$case !== 'statusUpdate') continue
          const said = payload.value.status?.message
          if (said !== undefined) onItem(JSON.parse(textOf(said)))
        }
      },
      close: async () => {}
    }
  }
}

async function streamItems(count: number, context: RequestContext, bus: ExecutionEventBus): Promise<void> {
  const { taskId, contextId } = context
  const submitted = { state: TaskState.TASK_STATE_SUBMITTED, timestamp: new Date().toISOString(), message: undefined }
  bus.publish(
    AgentEvent.task({
      id: taskId,
      contextId,
      status: submitted,
      artifacts: [],
      history: [context.userMessage],
      metadata: undefined
    })
  )
  for (let i = 0; i < count; i++) {
    const state = i === count - 1 ? TaskState.TASK_STATE_COMPLETED : TaskState.TASK_STATE_WORKING
    const message = textMessage(JSON.stringify(nthItem(i)), contextId, Role.ROLE_AGENT)
    bus.publish(
      AgentEvent.statusUpdate({
        taskId,
        contextId,
        status: { state, timestamp: undefined, message },
        metadata: undefined
      })
    )
    if (i % ITEMS_PER_TURN === ITEMS_PER_TURN - 1) await new Promise((resolve) => setImmediate(resolve))
  }
}

function textOf(message: Message): string {
  const content = message.parts[0]?.content
  return content?.$case === 'text' ? content.value : ''
}

function textMessage(text: string, contextId: string, role: Role): Message {
  const part = {
    content: { $case: 'text' as const, value: text },
    metadata: undefined,
    filename: '',
    mediaType: 'text/plain'
  }
  return {
    messageId: randomUUID(),
    contextId,
    taskId: '',
    role,
    parts: [part],
    metadata: undefined,
    extensions: [],
    referenceTaskIds: []
  }
}

function request(text: string): SendMessageRequest {
  return { tenant: '', message: textMessage(text, '', Role.ROLE_USER), configuration: undefined, metadata: undefined }
}

function card(base: string): AgentCard {
  const modes = { inputModes: ['text'], outputModes: ['text'] }
  return {
    name: 'echo',
    description: 'Says it again',
    version: '1.0.0',
    supportedInterfaces: [
      { url: `${base}/a2a`, protocolBinding: 'JSONRPC', tenant: '', protocolVersion: A2A_PROTOCOL_VERSION }
    ],
    provider: { organization: 'bench', url: base },
    capabilities: { streaming: true, pushNotifications: false, extensions: [], extendedAgentCard: false },
    securitySchemes: {},
    securityRequirements: [],
    defaultInputModes: ['text'],
    defaultOutputModes: ['text'],
    skills: [
      {
        id: 'echo',
        name: 'echo',
        description: 'Says it again',
        tags: [],
        examples: [],
        ...modes,
        securityRequirements: []
      }
    ],
    documentationUrl: '',
    signatures: []
  }
}
