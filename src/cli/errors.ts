import type { ErrorCode } from '../errors.ts'

/** 1 failed · 2 wrong usage, what was asked never works as it is · 3 denied · 4 not found · 5 unreachable or timed out. */
export const EXIT_CODES: Readonly<Record<ErrorCode, 1 | 2 | 3 | 4 | 5>> = {
  INVALID_ARGUMENT: 2,
  INVALID_MESSAGE: 1,
  INVALID_INPUT: 2,
  INVALID_OUTPUT: 1,
  INVALID_RECORD: 1,
  INVALID_SCHEMA: 1,
  INVALID_CONFIG: 1,
  UNSUPPORTED_VERSION: 4,
  UNAUTHENTICATED: 3,
  FORBIDDEN: 3,
  PERMISSION_PENDING: 3,
  LIMIT_EXCEEDED: 3,
  DEFINITION_CHANGED: 3,
  NOT_FOUND: 4,
  AMBIGUOUS: 2,
  ALREADY_EXISTS: 1,
  TOO_LARGE: 1,
  BUSY: 1,
  TIMEOUT: 5,
  CANCELLED: 1,
  UNREACHABLE: 5,
  CONNECTION_LOST: 5,
  AGENT_UNAVAILABLE: 5,
  AGENT_ERROR: 1,
  HOME_IN_USE: 1,
  ADDRESS_IN_USE: 1,
  IO: 1,
  INTERNAL: 1
}

/**
 * What to do next, for errors that don't say it themselves; `pryx-mesh` stands for however the program was called. What
 * can't be asked is explained by the help of its command.
 */
export const HINTS: Readonly<Record<Exclude<ErrorCode, 'INVALID_ARGUMENT'>, string>> = {
  INVALID_MESSAGE: 'compare the versions: pryx-mesh status, here and on the other node',
  INVALID_INPUT: 'pryx-mesh agents show TARGET tells what the capability takes',
  INVALID_OUTPUT: "tell the agent's owner that it breaks its own output schema",
  INVALID_RECORD: "ask the other node's owner to restart it, with its clock set",
  INVALID_SCHEMA: 'correct the schema in the agent, then add it again',
  INVALID_CONFIG: 'repair the file, or move it away to start without it',
  UNSUPPORTED_VERSION: 'pryx-mesh agents show TARGET tells the versions it offers',
  UNAUTHENTICATED: 'get a new credential from the owner of that node, or log in again: pryx-mesh logins',
  FORBIDDEN:
    'ask the owner of that agent: pryx-mesh agents update NAME --allow PEERID, with your id from pryx-mesh status',
  PERMISSION_PENDING: 'call again with --wait, or once its owner has answered',
  LIMIT_EXCEEDED: 'try again later, or ask the owner of that agent for more: pryx-mesh permission request',
  DEFINITION_CHANGED: 'pryx-mesh pins show AGENT tells what changed; pryx-mesh pins approve AGENT accepts it',
  NOT_FOUND: 'pryx-mesh find shows what is there',
  AMBIGUOUS: 'give the full agent id, as pryx-mesh find shows it',
  ALREADY_EXISTS: 'choose another name, or change that one: pryx-mesh agents update NAME',
  TOO_LARGE: 'send less at once',
  BUSY: 'try again in a moment',
  TIMEOUT: 'try again, or give it longer with --timeout',
  CANCELLED: 'run it again to start over',
  UNREACHABLE: 'pryx-mesh peers shows who is connected; pryx-mesh connect MULTIADDR joins one',
  CONNECTION_LOST: 'try again; the work may have been done',
  AGENT_UNAVAILABLE: 'pryx-mesh agents list, on its node, shows why it is down',
  AGENT_ERROR: 'the message is the agent’s own: check the input with its owner',
  HOME_IN_USE: 'stop the other one with pryx-mesh stop, or choose another --home',
  ADDRESS_IN_USE: 'choose another address with --listen, such as /ip4/0.0.0.0/tcp/0',
  IO: 'check that the path exists and may be written, or choose another --home',
  INTERNAL: 'the terminal where the node runs shows more'
}
