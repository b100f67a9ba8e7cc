/**
 * The edges of a node: they translate to and from it, and decide nothing.
 *
 * @packageDocumentation
 * @example
 * const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => { … } })
 * // curl --unix-socket ~/.pryx-mesh/control.sock http://mesh/v1/status
 */
export { type Control, openControl } from './control.ts'
export { type Edge, type EdgeInit, openEdge, type Upgrade, type UpgradeHandler } from './edge/edge.ts'
export { HTTP_STATUS } from './errors.ts'
export type { ControlError, ControlLine, EventItem } from './messages.ts'
export { createWsEdge, WS_PATH, type WsEdgeInit } from './ws/ws-edge.ts'
