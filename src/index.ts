/**
 * A node of the mesh: gives agents a signed identity, finds those of others by what they can do, and calls them.
 *
 * @packageDocumentation
 * @example
 * const node = await createNode({ home: '/srv/mesh' })
 * await node.start()
 * await node.agents.add({ name: 'clock', capabilities: [{ name: 'now', handler: () => new Date().toISOString() }], allow: 'any' })
 * for await (const { agent, capability } of node.find({ kind: 'tool', name: 'db.*' })) console.log(agent, capability.name)
 * const answer = await node.call('@clock', 'now')
 */
export type { AgentInit, AgentPatch, Agents, FunctionCapability, Handler, LocalAgent, RegisterInit } from './agents.ts'
export type {
  Binding,
  Caller,
  CertificatePin,
  Credential,
  CredentialMethod,
  EdgeClaim,
  MtlsInit,
  PeerCertificate,
  Session,
  TrustLevel
} from './auth/index.ts'
export type { BlobHold, BlobInfo, BlobRef, Blobs, FetchOptions, PutOptions } from './blobs/index.ts'
export type { AgentAddress, Compatibility, Missing } from './calls/index.ts'
export type {
  Change,
  DiscoveryStatus,
  FindOptions,
  FindResults,
  FindSource,
  FindStep,
  FindSummary,
  Found,
  Missing as MissingAgent,
  Step
} from './discovery/index.ts'
export type {
  AgentConnection,
  AgentState,
  Driver,
  DriverContext,
  Duplex,
  InvokeContext,
  Visitor
} from './drivers/index.ts'
export type {
  AnswerKey,
  Answers,
  EdgeInvocation,
  EdgeProtocol,
  EdgeSettings,
  Edges,
  KeptAnswer
} from './edges/index.ts'
export { ERROR_CODES, type ErrorBody, type ErrorCode, MeshError, type MeshErrorOptions } from './errors.ts'
export type { Emit, MeshEventName, MeshEvents, MeshListener } from './events.ts'
export type { Grant, GrantQuestion, Grants, GrantTerms, GrantUse } from './grants/index.ts'
export type { CallNotes, Health, HealthReport, HealthState, StatusInfo } from './health/index.ts'
export type { ApiKeyInfo, ApiKeyInit, ApiKeys, HeldKey } from './keys/index.ts'
export type {
  Envelope,
  Mailboxes,
  MessageBudget,
  MessageContext,
  MessageEvent,
  MessageFilter,
  MessageHandler,
  MessageInfo,
  MessageInit,
  MessageStory,
  Messaging,
  MessagingCounts,
  Reply,
  SendOptions,
  Sent,
  ServedMailbox,
  UsedMailbox
} from './messaging/index.ts'
export {
  createSwarmKey,
  type DhtStatus,
  type HolderStatus,
  type HoldVerdict,
  type LanStatus,
  type NetworkStatus,
  type PeerInfo
} from './network/index.ts'
export {
  type AuthInit,
  type CallOptions,
  createNode,
  type ExchangedToken,
  type ExchangeOptions,
  type MessageOptions,
  type Node,
  type NodeInit,
  type NodeMessages,
  type NodeStatus
} from './node.ts'
export type { IssuerInit, Login, LoginFlow, LoginInit, LoginStep, Logins, Tokens } from './oauth/index.ts'
export type { Invite, InviteInit, Pair, Pairing } from './pairing/index.ts'
export type {
  Answer,
  Approver,
  ApproverAnswer,
  PermissionRequest,
  PermissionStatus,
  Permissions,
  Question
} from './permissions/index.ts'
export type {
  Decision,
  Explanation,
  Facts,
  Policy,
  PolicyDocument,
  PolicyRequest,
  Reservation,
  Rule
} from './policy/index.ts'
export type { AgentDefinition, AgentDescription, AvailabilityWindow, CapabilityDefinition } from './registry/index.ts'
export type {
  AgentRecord,
  Capability,
  CapabilityKind,
  CapabilityRef,
  Query,
  RecordRef,
  SignedRecord
} from './registry/messages.ts'
export type { RequestOptions } from './rpc/index.ts'
export type { Pin, Pins, ShortName } from './tools/index.ts'
export type { EvidenceKind, PeerTrust, Standing, Trust, TrustReport } from './trust/index.ts'
