import { existsSync, globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, it } from 'vitest'
import * as auth from '../../src/auth/constants.ts'
import * as blobs from '../../src/blobs/constants.ts'
import * as calls from '../../src/calls/constants.ts'
import { CALL } from '../../src/calls/constants.ts'
import * as discovery from '../../src/discovery/constants.ts'
import { hintsProtocol } from '../../src/discovery/dht-hints-endpoint.ts'
import * as hints from '../../src/discovery/hint-constants.ts'
import { recordsProtocol } from '../../src/discovery/records.ts'
import * as edges from '../../src/edges/constants.ts'
import * as edge from '../../src/gateway/edge/constants.ts'
import * as ws from '../../src/gateway/ws/constants.ts'
import * as health from '../../src/health/constants.ts'
import * as messaging from '../../src/messaging/constants.ts'
import * as mailbox from '../../src/messaging/mailbox/constants.ts'
import * as network from '../../src/network/constants.ts'
import * as holder from '../../src/network/holder-constants.ts'
import * as oauth from '../../src/oauth/constants.ts'
import * as pairing from '../../src/pairing/constants.ts'
import * as permissions from '../../src/permissions/constants.ts'
import { openPolicy } from '../../src/policy/index.ts'
import * as registry from '../../src/registry/constants.ts'
import * as rpc from '../../src/rpc/constants.ts'
import * as schema from '../../src/schema/constants.ts'
import * as wire from '../../src/wire/constants.ts'

const ROOT = 'protocols'
const PAGES = globSync(`${ROOT}/**/*.md`)
const page = (path: string): string => readFileSync(`${ROOT}/${path}`, 'utf8')

/** As GitHub makes them. */
function anchorsOf(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
  )
}

const LINKS = PAGES.flatMap((path) =>
  [...readFileSync(path, 'utf8').matchAll(/\]\(((?!https?:)[^)\s]+)\)/g)].map(([, link = '']) => ({ path, link }))
)

it.each(LINKS)('$path links to $link, which is there', ({ path, link }) => {
  const [file = '', anchor] = link.split('#')
  const target = file === '' ? path : posix.join(posix.dirname(path), file)
  expect(existsSync(target)).toBe(true)
  const anchors = target.endsWith('.md') ? anchorsOf(readFileSync(target, 'utf8')) : []
  expect([undefined, ...anchors]).toContain(anchor)
})

const KIB = 1024
const MIB = KIB * KIB
const MINUTE = 60_000
const count = (value: number): string => value.toLocaleString('en')

/** What a page says, made of the constants it must agree with. */
const STATEMENTS: ReadonlyArray<{ page: string; says: string }> = [
  { page: 'blob/1.0.0/README.md', says: `\`${blobs.BLOB_PROTOCOL}\`` },
  { page: 'blob/1.0.0/README.md', says: `at most ${count(blobs.MAX_BLOB_BYTES)} of them` },
  { page: 'blob/1.0.0/README.md', says: `of at most ${count(blobs.MAX_BLOB_FRAME_BYTES)} bytes` },
  { page: 'blob/1.0.0/README.md', says: `nothing moves for ${blobs.IDLE_MS / 1_000} s` },
  { page: 'blob/1.0.0/README.md', says: `may have ${blobs.MAX_TRANSFERS_PER_PEER} transfers at a time` },
  { page: 'call/1.0.0/README.md', says: `until it is ${count(calls.MAX_AHEAD_BYTES)} bytes ahead` },
  { page: 'call/1.0.0/README.md', says: `for ${calls.DETACHED_MS / 1_000} s the caller may come back` },
  { page: 'call/1.0.0/README.md', says: `at least ${count(calls.KEPT_BYTES)} bytes before it` },
  {
    page: 'call/1.0.0/README.md',
    says: `at most ${calls.MAX_DETACHED_PER_PEER} streams that nobody reads\nand ${count(calls.MAX_REPLAY_BYTES_PER_PEER)} bytes, of all ${count(calls.MAX_REPLAY_BYTES)} bytes`
  },
  {
    page: 'call/1.0.0/README.md',
    says: `at most ${calls.RESUME_FIRST_WAIT_MS} ms, doubled at each attempt up to ${calls.RESUME_LONGEST_WAIT_MS / 1_000} s`
  },
  {
    page: 'hello/1.0.0/README.md',
    says: `at most ${auth.MAX_HELLO_FEATURES}, written as the names of protocols. In this version \`${auth.STREAM_RESUME}\``
  },
  { page: 'http/README.md', says: `may be ${edge.PROOF_WINDOW_MS / 1_000} s from the node's clock` },
  { page: 'http/README.md', says: `A key may use ${count(edge.MAX_PROOFS_PER_KEY)} proofs` },
  { page: 'http/README.md', says: `After ${edge.MAX_REFUSED_PER_ADDRESS} refused credentials within a minute` },
  { page: 'http/README.md', says: `for ${edges.KEPT_ANSWER_MS / 3_600_000} hours, across restarts` },
  { page: 'http/README.md', says: `more than ${count(edges.MAX_KEPT_ANSWER_BYTES)} bytes: \`TOO_LARGE\`` },
  {
    page: 'http/README.md',
    says: `${edges.MAX_ANSWERS_PER_CALLER} keys of a caller, ${count(edges.MAX_ANSWERS)} in all`
  },
  {
    page: 'http/README.md',
    says: `| headers | ${count(edge.EDGE_LIMITS.maxHeaderBytes)} bytes, within ${edge.EDGE_LIMITS.headersTimeoutMs / 1_000} s |`
  },
  {
    page: 'http/README.md',
    says: `| body | ${count(edge.EDGE_LIMITS.maxBodyBytes)} bytes, within ${edge.EDGE_LIMITS.requestTimeoutMs / 1_000} s, at least ${edge.EDGE_LIMITS.minBytesPerSecond} B/s after ${edge.EDGE_LIMITS.slowGraceMs / 1_000} s |`
  },
  { page: 'http/README.md', says: `| requests of one caller at once | ${edges.MAX_RUNNING_PER_CALLER} |` },
  {
    page: 'http/README.md',
    says: `${count(edge.EDGE_LIMITS.maxConnections)}; ${edge.EDGE_LIMITS.maxConnectionsPerAddress} of one address, but for this machine; kept ${edge.EDGE_LIMITS.keepAliveMs / 1_000} s`
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `\`${hintsProtocol.id}\``
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `frames ≤ ${hintsProtocol.maxFrameBytes / KIB} KiB, default deadline ${hintsProtocol.timeoutMs / 1_000} s,\nat most ${hintsProtocol.maxInFlight} requests running`
  },
  { page: 'hints/1.0.0/README.md', says: `At most ${hints.MAX_DHT_HINT_BYTES} bytes; numbers` },
  { page: 'hints/1.0.0/README.md', says: `number of versions, at most ${hints.MAX_HINT_VERSIONS}` },
  {
    page: 'hints/1.0.0/README.md',
    says: `the ${hints.HINT_DOMAIN.length + 1} bytes \`${hints.HINT_DOMAIN}\` and line feed`
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `at most ${hints.MAX_HINT_LIFETIME_MS / 3_600_000} hours and ${registry.MAX_CLOCK_SKEW_MS / MINUTE} minutes later`
  },
  { page: 'hints/1.0.0/README.md', says: `1 to ${hints.MAX_PUT_HINTS} | \`{"results"` },
  { page: 'hints/1.0.0/README.md', says: `1 to ${hints.MAX_WITHDRAWN_KEYS} | \`{"withdrawn"` },
  {
    page: 'hints/1.0.0/README.md',
    says: `more than ${holder.MAX_KEYS_PER_WINDOW} keys of this publisher within a minute, or more than ${holder.MAX_PUTS_PER_WINDOW} puts`
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `the publisher has ${holder.MAX_KEYS_PER_PUBLISHER} keys here, its subnet ${holder.MAX_ENTRIES_PER_SUBNET} entries under the key, or the holder ${count(holder.MAX_ENTRIES)} in all`
  },
  { page: 'hints/1.0.0/README.md', says: `at most ${holder.MAX_ENTRIES_PER_ANSWER} entries together` },
  {
    page: 'hints/1.0.0/README.md',
    says: `(0 to ${holder.MAX_SAMPLED_PER_KEY + holder.MAX_BEST_PER_KEY}) those from the n-th on`
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `at most ${hints.MAX_CLOSER_PEERS} nodes that the holder knows nearest to the key, nearest first, with at most ${hints.MAX_CLOSER_ADDRESSES} [addresses](#addresses): `
  },
  {
    page: 'hints/1.0.0/README.md',
    says: `a provider record after ${network.PROVIDER_VALIDITY_MS / 3_600_000} hours`
  },
  { page: 'hints/1.0.0/README.md', says: `at most ${hints.MAX_PROVIDER_ADDRESSES} of them` },
  { page: 'hints/1.0.0/README.md', says: `at most ${hints.MAX_ADDRESS_LENGTH} characters` },
  { page: 'hints/1.0.0/README.md', says: `**${holder.MAX_SAMPLED_PER_KEY} of a key**` },
  { page: 'hints/1.0.0/README.md', says: `**And ${holder.MAX_BEST_PER_KEY} with the highest versions**` },
  { page: 'mailbox/1.0.0/README.md', says: mailbox.MAILBOX.id },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `default deadline ${mailbox.MAILBOX.timeoutMs / 1_000} s,\nat most ${mailbox.MAILBOX.maxInFlight} requests running`
  },
  { page: 'mailbox/1.0.0/README.md', says: `at most ${count(mailbox.MAX_STATEMENT_BYTES)} characters` },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `0 to ${mailbox.MAX_MAILBOXES}, each with at most ${mailbox.MAX_MAILBOX_ADDRESSES} addresses`
  },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `${mailbox.STATEMENT_LIFETIME_MS / 86_400_000} days after it was made, which is done anew when half of that is over. Beyond ${(2 * mailbox.STATEMENT_LIFETIME_MS) / 86_400_000} days`
  },
  { page: 'mailbox/1.0.0/README.md', says: `${count(mailbox.MAX_STATEMENTS)} of them at most` },
  { page: 'mailbox/1.0.0/README.md', says: `at most ${mailbox.MAX_ASKED_FOR_ANOTHER} connected peers` },
  { page: 'mailbox/1.0.0/README.md', says: `JSON of at most ${count(mailbox.MAX_PLAIN_BYTES)} bytes` },
  { page: 'mailbox/1.0.0/README.md', says: `at most ${count(mailbox.MAX_SEALED_BYTES)} characters` },
  { page: 'mailbox/1.0.0/README.md', says: `may forget it after ${mailbox.MAX_KEPT_MS / 86_400_000} days` },
  { page: 'mailbox/1.0.0/README.md', says: `| for one recipient | ${mailbox.MAX_KEPT_BYTES_PER_RECIPIENT / MIB} MiB` },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `| of one depositor | ${mailbox.MAX_KEPT_BYTES_PER_DEPOSITOR / MIB} MiB, ${count(mailbox.MAX_KEPT_ITEMS_PER_DEPOSITOR)} items |`
  },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `| in all | ${mailbox.MAX_KEPT_BYTES / MIB} MiB, ${count(mailbox.MAX_KEPT_ITEMS)} items, for ${count(mailbox.MAX_SERVED)} recipients |`
  },
  { page: 'mailbox/1.0.0/README.md', says: `nothing was delivered for ${mailbox.DEPOSIT_AFTER_MS / 1_000} s` },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `at most ${mailbox.MAX_COLLECT_ITEMS} items and ${count(mailbox.MAX_COLLECT_BYTES)} characters`
  },
  {
    page: 'mailbox/1.0.0/README.md',
    says: `every ${mailbox.COLLECT_INTERVAL_MS / MINUTE} min, and when the`
  },
  { page: 'mailbox/1.0.0/README.md', says: `looked at again after ${mailbox.COLLECT_AGAIN_MS / 1_000} s` },
  { page: 'message/1.0.0/README.md', says: messaging.MESSAGE.id },
  { page: 'message/1.0.0/README.md', says: `at most ${count(messaging.MAX_BODY_BYTES)} bytes` },
  { page: 'message/1.0.0/README.md', says: `At most ${count(messaging.MAX_ENVELOPE_BYTES)} bytes` },
  { page: 'message/1.0.0/README.md', says: `| ${count(messaging.MAX_SIGNATURE_BYTES)} characters |` },
  {
    page: 'message/1.0.0/README.md',
    says: `1 to ${messaging.MAX_BATCH_MESSAGES} messages, together with the signatures at most ${count(messaging.MAX_BATCH_BYTES)} bytes`
  },
  {
    page: 'message/1.0.0/README.md',
    says: `1 to ${messaging.MAX_RECEIPTS} items, at most ${count(messaging.MAX_RECEIPTS_BYTES)} characters`
  },
  { page: 'message/1.0.0/README.md', says: `keeps at most ${messaging.MAX_BATCHES_IN_FLIGHT} requests under way` },
  { page: 'message/1.0.0/README.md', says: `after ${messaging.MAX_TRIES} attempts the message is a dead letter` },
  {
    page: 'message/1.0.0/README.md',
    says: `| ${count(messaging.MAX_UNHANDLED_PER_PEER)} messages, ${messaging.MAX_UNHANDLED_BYTES_PER_PEER / MIB} MiB |`
  },
  {
    page: 'message/1.0.0/README.md',
    says: `| ${count(messaging.MAX_QUEUED_PER_PEER)}, ${messaging.MAX_QUEUED_BYTES_PER_PEER / MIB} MiB |`
  },
  {
    page: 'message/1.0.0/README.md',
    says: `| ${count(messaging.MAX_QUEUED)}, ${messaging.MAX_QUEUED_BYTES / MIB} MiB |`
  },
  {
    page: 'ws/1.0.0/README.md',
    says: `at most ${count(ws.MAX_WS_FRAME_BYTES)} bytes, of the node ${count(ws.MAX_WS_NODE_FRAME_BYTES - ws.MAX_WS_FRAME_BYTES)} more`
  },
  { page: 'ws/1.0.0/README.md', says: `subprotocol \`${ws.WS_PROTOCOL}\`` },
  { page: 'ws/1.0.0/README.md', says: `in its first frame, within ${ws.WS_LIMITS.authTimeoutMs / 1_000} s` },
  { page: 'ws/1.0.0/README.md', says: `ends (${ws.WS_CLOSE.UNAUTHORIZED}) within ${ws.WS_LIMITS.sweepMs / 1_000} s` },
  { page: 'ws/1.0.0/README.md', says: `for ${ws.WS_LIMITS.resumeMs / 1_000} s its agents stay up` },
  {
    page: 'ws/1.0.0/README.md',
    says: `confirms after ${ws.WS_CONFIRM_FRAMES} frames or ${ws.WS_CONFIRM_BYTES / KIB} KiB`
  },
  { page: 'ws/1.0.0/README.md', says: `ahead of ${ws.WS_HIGH_WATER_BYTES / KIB} KiB that such a client` },
  {
    page: 'ws/1.0.0/README.md',
    says: `at most ${ws.MAX_WS_KEPT_BYTES / MIB} MiB for a session and ${ws.MAX_WS_KEPT_TOTAL_BYTES / MIB} MiB in all`
  },
  {
    page: 'ws/1.0.0/README.md',
    says: `| ${count(ws.WS_LIMITS.maxConnections)}; without credentials yet ${ws.WS_LIMITS.maxWaiting} | 503 |`
  },
  { page: 'ws/1.0.0/README.md', says: `| agents of a connection | ${ws.MAX_WS_AGENTS} |` },
  { page: 'ws/1.0.0/README.md', says: `those that are away too | ${count(registry.MAX_DIALLED_IN)}, or as` },
  {
    page: 'http/README.md',
    says: `| ${count(registry.MAX_DIALLED_IN)}; \`edge.maxAgents\` up to ${count(registry.MAX_PEER_RECORDS - registry.MAX_AGENTS)} |`
  },
  { page: 'ws/1.0.0/README.md', says: `of an agent | ${ws.MAX_WS_PENDING} each |` },
  { page: 'ws/1.0.0/README.md', says: `| unread by an agent | ${ws.WS_BUSY_BYTES / MIB} MiB |` },
  { page: 'ws/1.0.0/README.md', says: `| unread by a client | ${ws.WS_LIMITS.maxWriteQueueBytes / MIB} MiB |` },
  {
    page: 'ws/1.0.0/README.md',
    says: `pinged every ${ws.WS_LIMITS.pingMs / 1_000} s, ${ws.WS_LIMITS.deadMs / 1_000} s |`
  },
  { page: 'ws/1.0.0/README.md', says: `of at most ${ws.MAX_WS_COLLECTED_BYTES / MIB} MiB. With` },
  { page: 'hello/1.0.0/logins.md', says: `At most ${count(oauth.MAX_ISSUED_TOKEN_LENGTH)} characters` },
  {
    page: 'hello/1.0.0/logins.md',
    says: `${oauth.LOGIN_REQUEST_TIMEOUT_MS / 1_000} s for each request, ${count(oauth.MAX_LOGIN_ANSWER_BYTES)} bytes`
  },
  { page: 'hello/1.0.0/logins.md', says: `The owner has ${oauth.LOGIN_TIMEOUT_MS / MINUTE} minutes` },
  {
    page: 'hello/1.0.0/logins.md',
    says: `${oauth.RENEW_BEFORE_MS / 1_000} s before its end and ${oauth.RENEW_SHARE * 100} % of its life, ± ${oauth.RENEW_JITTER * 100} %`
  },
  {
    page: 'hello/1.0.0/logins.md',
    says: `after ${oauth.MIN_LOGIN_BACKOFF_MS / 1_000}, 2, 4 … ${oauth.MAX_LOGIN_BACKOFF_MS / 1_000} s`
  },
  { page: 'hello/1.0.0/logins.md', says: `| logins of a node | ${oauth.MAX_LOGINS} |` },
  {
    page: 'hello/1.0.0/logins.md',
    says: `| peers, resources and scopes of a login | ${oauth.MAX_LOGIN_PEERS} each |`
  },
  { page: 'hello/1.0.0/logins.md', says: `| tokens presented to one peer | ${oauth.MAX_TOKENS_PER_PEER} |` },
  { page: 'README.md', says: `${count(wire.MAX_CONTROL_BYTES)} bytes for \`hello\`, ${count(wire.MAX_MESSAGE_BYTES)}` },
  { page: 'hello/1.0.0/mtls.md', says: `at most ${count(auth.MAX_CERTIFICATE_BYTES)} bytes` },
  {
    page: 'hello/1.0.0/mtls.md',
    says: `1 to ${auth.MAX_AUTHORITIES} authorities, at most ${auth.MAX_CA_FILE_BYTES / MIB} MiB`
  },
  { page: 'README.md', says: `nest at most ${wire.MAX_JSON_DEPTH} deep` },
  {
    page: 'README.md',
    says: `| ${auth.HELLO.maxInFlight} (\`hello\`), ${recordsProtocol.maxInFlight} (\`records\`, \`hints\`), ${CALL.maxInFlight} (\`call\`)`
  },
  {
    page: 'README.md',
    says: `default ${recordsProtocol.timeoutMs / 1000} s (\`records\`, \`hints\`), ${CALL.timeoutMs / 1000} s (\`call\`), ${auth.HELLO.timeoutMs / 1000} s (others)`
  },
  { page: 'README.md', says: `| channels of one peer and protocol | ${rpc.MAX_CHANNELS_PER_PEER} |` },
  {
    page: 'README.md',
    says: `| ${network.MAX_STREAMS_PER_CONNECTION}; ${network.MAX_STREAMS_PER_PROTOCOL} inbound per protocol |`
  },
  { page: 'README.md', says: `| ${rpc.INITIAL_CREDIT_BYTES / KIB} KiB at first` },
  { page: 'README.md', says: `doesn't stream | ${rpc.MAX_COLLECTED_BYTES / MIB} MiB |` },
  {
    page: 'README.md',
    says: `${wire.MAX_WRITE_QUEUE_BYTES / MIB} MiB a channel, ${network.MAX_CONNECTION_WRITE_BYTES / MIB} MiB a connection`
  },
  {
    page: 'README.md',
    says: `${registry.MAX_RECORD_BYTES / KIB} KiB, ${registry.MAX_CAPABILITIES} capabilities, life ${registry.MAX_RECORD_LIFETIME_MS / MINUTE / 60} h`
  },
  {
    page: 'README.md',
    says: `| ${count(registry.MAX_PEER_RECORDS)}, ${discovery.MAX_PEER_BYTES / MIB} MiB | refused |`
  },
  {
    page: 'README.md',
    says: `| ${schema.MAX_SCHEMA_BYTES / KIB} KiB, ${schema.MAX_SCHEMA_DEPTH} levels, ${count(schema.MAX_SUBSCHEMAS)} subschemas |`
  },
  {
    page: 'README.md',
    says: `${network.MAX_CONNECTIONS}; from one IPv4 address or IPv6 /56: ${network.MAX_CONNECTIONS_PER_IP} open, ${network.MAX_PENDING_PER_IP} in their handshake, ${network.CONNECTION_BURST_PER_IP} at once and then ${network.CONNECTIONS_PER_SECOND_PER_IP} a second`
  },
  {
    page: 'README.md',
    says: `${network.INBOUND_UPGRADE_TIMEOUT_MS / 1000} s for an inbound handshake, ${network.NEGOTIATION_TIMEOUT_MS / 1000} s`
  },
  {
    page: 'README.md',
    says: `within ${network.TWIN_MS / 1000} s are taken for two dials at once: after ${network.DUPLICATE_GRACE_MS / 1000} s`
  },
  { page: 'README.md', says: `binary messages of at most ${network.MAX_WEBSOCKET_MESSAGE_BYTES / MIB} MiB` },
  { page: 'README.md', says: `up to ${registry.MAX_CLOCK_SKEW_MS / MINUTE} minutes ahead` },
  { page: 'channel/1.0.0/README.md', says: `1 to ${count(rpc.MAX_TIMEOUT_MS)};` },
  { page: 'channel/1.0.0/README.md', says: `default ${count(rpc.INITIAL_CREDIT_BYTES)}` },
  {
    page: 'channel/1.0.0/README.md',
    says: `above ${wire.WRITE_HIGH_WATER_BYTES / MIB} MiB queued, until below ${wire.WRITE_LOW_WATER_BYTES / KIB} KiB`
  },
  {
    page: 'channel/1.0.0/README.md',
    says: `heard nothing for ${rpc.HEARTBEAT_MS / 1000} s sends a \`ping\`, every ${rpc.HEARTBEAT_MS / 1000} s, and after ${(rpc.HEARTBEAT_MS * rpc.MAX_SILENT_BEATS) / 1000} s more`
  },
  { page: 'channel/1.0.0/README.md', says: `in steps of ${rpc.CREDIT_STEP_BYTES / KIB} KiB` },
  { page: 'channel/1.0.0/README.md', says: `within about ${rpc.DEADLINE_RESOLUTION_MS} ms` },
  { page: 'channel/1.0.0/README.md', says: `at most ${rpc.MAX_CHANNELS_PER_PEER} channels` },
  { page: 'hello/1.0.0/README.md', says: `\`${auth.HELLO.id}\`` },
  { page: 'hello/1.0.0/README.md', says: `1 to ${auth.MAX_NODE_NAME_LENGTH} characters, none of Unicode's` },
  { page: 'hello/1.0.0/README.md', says: `at most ${auth.MAX_HELLO_PROTOCOLS} names` },
  { page: 'hello/1.0.0/README.md', says: `at most ${auth.MAX_HELLO_METHODS}, written` },
  { page: 'hello/1.0.0/oauth.md', says: `at most ${count(oauth.MAX_TOKEN_BYTES)} characters` },
  { page: 'hello/1.0.0/oauth.md', says: `not more than ${oauth.CLOCK_TOLERANCE_SECONDS} s ahead` },
  { page: 'hello/1.0.0/oauth.md', says: `at most ${oauth.MAX_TOKEN_SCOPES} scopes` },
  {
    page: 'hello/1.0.0/oauth.md',
    says: `at most ${oauth.MAX_LOGIN_ANSWER_BYTES / KIB} KiB, each within ${oauth.ISSUER_REQUEST_TIMEOUT_MS / 1000} s`
  },
  { page: 'hello/1.0.0/oauth.md', says: `used for ${oauth.ISSUER_KEYS_TTL_MS / MINUTE} minutes` },
  { page: 'hello/1.0.0/oauth.md', says: `not within ${oauth.ISSUER_COOLDOWN_MS / 1000} s` },
  { page: 'hello/1.0.0/oauth.md', says: `used for ${oauth.INTROSPECTION_TTL_MS / 1000} s, never` },
  { page: 'hello/1.0.0/oauth.md', says: `not asked again for ${oauth.ISSUER_RETRY_MS / 1000} s` },
  { page: 'hello/1.0.0/oauth.md', says: `${oauth.MAX_INTROSPECTIONS} questions about opaque tokens` },
  { page: 'pair/1.0.0/README.md', says: `\`${pairing.PAIR.id}\`` },
  { page: 'pair/1.0.0/README.md', says: `at most ${pairing.PAIR.maxInFlight} requests running` },
  { page: 'pair/1.0.0/README.md', says: `At most ${count(pairing.MAX_TOKEN_LENGTH)} characters` },
  { page: 'pair/1.0.0/README.md', says: `at most ${pairing.MAX_INVITE_ADDRESSES} multiaddrs` },
  {
    page: 'pair/1.0.0/README.md',
    says: `good for ${pairing.DEFAULT_INVITE_MS / MINUTE} minutes if nothing else is said, ${pairing.MIN_INVITE_MS / 1000} second to ${pairing.MAX_INVITE_MS / 1440 / MINUTE} days; at most ${pairing.MAX_INVITES} wait`
  },
  {
    page: 'pair/1.0.0/README.md',
    says: `after ${pairing.MAX_REDEEMS} requests of one peer within a minute, and when the inviter has ${count(pairing.MAX_PAIRS)} pairs. ${pairing.MAX_BAD_PROOFS} wrong macs`
  },
  { page: 'pair/1.0.0/README.md', says: `remembered for ${pairing.KEEP_INVITE_MS / 60 / MINUTE} hours` },
  { page: 'pair/1.0.0/README.md', says: `/ ${pairing.EPOCH_MS / 1440 / MINUTE} days⌋` },
  { page: 'pair/1.0.0/README.md', says: `accepted for ${pairing.EPOCH_OVERLAP_MS / 60 / MINUTE} hours after its end` },
  { page: 'pair/1.0.0/README.md', says: `within ${pairing.PROOF_WINDOW_MS / 1000} s of its clock` },
  { page: 'pair/1.0.0/README.md', says: `kept for ${(2 * pairing.PROOF_WINDOW_MS) / 1000} s` },
  { page: 'pair/1.0.0/README.md', says: `type \`${pairing.OWNER_TYPE}\`` },
  { page: 'pair/1.0.0/README.md', says: `holds for ${pairing.STATEMENT_MS / 1440 / MINUTE} days from` },
  { page: 'pair/1.0.0/README.md', says: `at most ${pairing.MAX_STATEMENTS} such` },
  { page: 'pair/1.0.0/README.md', says: `at most ${pairing.MAX_STATEMENT_SKEW_MS / MINUTE} minutes ahead` },
  { page: 'call/1.0.0/README.md', says: `\`${CALL.id}\`` },
  { page: 'call/1.0.0/README.md', says: `takes longer than ${schema.WORKER_TIMEOUT_MS / 1000} s` },
  { page: 'permission/1.0.0/README.md', says: `\`${permissions.PERMISSION.id}\`` },
  {
    page: 'permission/1.0.0/README.md',
    says: `default deadline ${permissions.PERMISSION.timeoutMs / 1000} s, at most ${permissions.PERMISSION.maxInFlight} requests`
  },
  {
    page: 'permission/1.0.0/README.md',
    says: `| ${permissions.MAX_OPEN_PER_PEER} of one caller, ${count(permissions.MAX_OPEN)} in all;`
  },
  { page: 'permission/1.0.0/README.md', says: `by default ${permissions.DEFAULT_TTL_MS / MINUTE} minutes` },
  {
    page: 'permission/1.0.0/README.md',
    says: `\`FORBIDDEN\` for ${permissions.DENIAL_HOLDS_MS / MINUTE} minutes`
  },
  { page: 'permission/1.0.0/README.md', says: `or ${permissions.ONCE_MS / MINUTE / 60} h |` },
  { page: 'permission/1.0.0/README.md', says: `(1 to ${count(permissions.MAX_WAIT_MS)}, default` },
  { page: 'permission/1.0.0/README.md', says: `at most ${permissions.MAX_WAITS_PER_PEER} waits` },
  { page: 'permission/1.0.0/README.md', says: `at most ${permissions.MAX_REASON_LENGTH} characters` },
  { page: 'permission/1.0.0/README.md', says: `the last ${count(permissions.MAX_KEPT)} answered` },
  { page: 'status/1.0.0/README.md', says: `\`${health.STATUS.id}\`` },
  {
    page: 'status/1.0.0/README.md',
    says: `frames ≤ ${health.STATUS.maxFrameBytes / KIB} KiB, default deadline ${health.STATUS.timeoutMs / 1000} s, at most ${health.STATUS.maxInFlight} requests running`
  },
  { page: 'status/1.0.0/README.md', says: `at most ${health.MAX_NONCE_LENGTH} characters` },
  {
    page: 'status/1.0.0/README.md',
    says: `beyond ${health.STATUS_BURST} requests of one peer at once and then ${health.STATUS_PER_SECOND} a second`
  },
  {
    page: 'status/1.0.0/README.md',
    says: `${health.MAX_PEERS} at most: ${health.MIN_PROBE_INTERVAL_MS / 1000} s after a change, twice that each time nothing changes, ${health.MAX_PROBE_INTERVAL_MS / 1000} s at last`
  },
  {
    page: 'status/1.0.0/README.md',
    says: `more than ${health.DEGRADED_ERROR_RATE * 100} % of at least ${health.MIN_CALLS} calls of the last ${(health.WINDOW_SLICE_MS * health.WINDOW_SLICES) / MINUTE} minutes failed, until it is less than ${health.WELL_ERROR_RATE * 100} %`
  },
  {
    page: 'status/1.0.0/README.md',
    says: `${health.FAILURES_FOR_DOWN} of ${health.PROBES_JUDGED} probes failed`
  },
  {
    page: 'status/1.0.0/README.md',
    says: `halved every ${health.FLAP_HALF_LIFE_MS / 1000} s, is down to 1, at most ${(Math.log2(health.MAX_FLAP_PENALTY) * health.FLAP_HALF_LIFE_MS) / MINUTE} minutes`
  },
  { page: 'records/1.0.0/README.md', says: `at most ${registry.MAX_WINDOWS} windows` },
  { page: 'records/1.0.0/README.md', says: `\`${discovery.RECORDS_PROTOCOL}\`` },
  { page: 'records/1.0.0/README.md', says: `(1 to ${discovery.MAX_PAGE_RECORDS}, default` },
  { page: 'records/1.0.0/README.md', says: `about ${count(discovery.MAX_PAGE_BYTES / KIB)} KiB` },
  { page: 'records/1.0.0/README.md', says: `(1 to ${count(discovery.MAX_SNAPSHOT_HINTS)}, default` },
  { page: 'records/1.0.0/README.md', says: `At most ${count(registry.MAX_RECORD_BYTES)} characters` },
  { page: 'records/1.0.0/README.md', says: `exactly \`${registry.RECORD_TYPE}\`` },
  { page: 'records/1.0.0/README.md', says: `at most ${count(registry.MAX_DESCRIPTION_LENGTH)} characters` },
  { page: 'records/1.0.0/README.md', says: `1 to ${registry.MAX_NAME_LENGTH} characters of` },
  { page: 'records/1.0.0/README.md', says: `at most ${registry.MAX_TAGS} of` },
  {
    page: 'records/1.0.0/README.md',
    says: `a life of ${registry.RECORD_TTL_MS / MINUTE} minutes and renews after ${registry.RECORD_RENEW_MS / MINUTE}`
  },
  {
    page: 'records/1.0.0/README.md',
    says: `(${count(discovery.MAX_FLOOR_PEERS)} peers, ${discovery.MAX_PEER_FLOORS} agents of each)`
  },
  { page: 'records/1.0.0/README.md', says: `nodes ask for ${discovery.WATCH_REQUEST_MS / MINUTE} minutes` },
  { page: 'records/1.0.0/README.md', says: `about every ${discovery.SNAPSHOT_MS / MINUTE} minutes` },
  {
    page: 'records/1.0.0/README.md',
    says: `for ${discovery.RETRY_MS / 1000} s at first and ${discovery.MAX_SILENT_MS / 1000} s at last`
  },
  { page: 'records/1.0.0/README.md', says: `beyond ${count(discovery.PUSH_BURST)} at once` },
  { page: 'topics/1/README.md', says: `\`${discovery.CATALOGUE_TOPIC}\`` },
  { page: 'topics/1/README.md', says: `\`${discovery.CAPABILITY_PREFIX}/<kind>/<first segment>\`` },
  { page: 'topics/1/README.md', says: `at most **${discovery.MAX_HINT_BYTES} bytes**` },
  { page: 'topics/1/README.md', says: `at most ${discovery.MAX_TOPICS} topics a node` },
  {
    page: 'topics/1/README.md',
    says: `sends ${discovery.ANNOUNCE_BURST} announcements at once, then one per ${discovery.ANNOUNCE_INTERVAL_MS / MINUTE} minutes`
  },
  {
    page: 'topics/1/README.md',
    says: `${discovery.RECEIVE_FACTOR * discovery.ANNOUNCE_BURST} at once and one per ${discovery.ANNOUNCE_INTERVAL_MS / discovery.RECEIVE_FACTOR / MINUTE} minutes`
  },
  {
    page: 'topics/1/README.md',
    says: `Per author: ${discovery.RECEIVE_FACTOR ** 2 * discovery.ANNOUNCE_BURST * discovery.MAX_PEER_HINTS} at once, then`
  },
  { page: 'topics/1/README.md', says: `up to ${count(discovery.MAX_HINTS)} in all` },
  {
    page: 'topics/1/README.md',
    says: `at most ${discovery.MAX_PEER_HINTS} by subject and ${count(discovery.MAX_GIVER_HINTS)} by giver`
  },
  { page: 'topics/1/README.md', says: `fewer than ${discovery.RENDEZVOUS_PEERS} of them` },
  { page: 'topics/1/README.md', says: `**\`${network.KAD_PROTOCOL}\`**` },
  { page: 'topics/1/README.md', says: `| ${network.PROVIDER_VALIDITY_MS / MINUTE / 60} hours, applied by the holder` },
  {
    page: 'topics/1/README.md',
    says: `${network.KAD_DISJOINT_PATHS} disjoint paths of ${network.KAD_ALPHA} requests; a request ${network.KAD_REQUEST_MIN_MS / 1000} to ${network.KAD_REQUEST_MAX_MS / 1000} s`
  },
  { page: 'topics/1/README.md', says: `at most ${network.MAX_PROVIDERS_PER_ANSWER}, chosen at random` },
  { page: 'topics/1/README.md', says: `at most ${discovery.MAX_PROVIDER_KEYS} keys` },
  {
    page: 'topics/1/README.md',
    says: `N at most ${count(discovery.CATALOGUE_NODES)} (no walk yet: ${discovery.CATALOGUE_TABLE_PEERS} peers in the table) | N above ${count(discovery.CATALOGUE_NODES * discovery.CATALOGUE_SLACK)}, or more than ${discovery.BUSY_PER_SECOND} messages a second for ${discovery.BUSY_MS / MINUTE} minutes`
  },
  {
    page: 'topics/1/README.md',
    says: `all that answer of the ${discovery.PUBLISH_WIDTH} nodes nearest to the key; a provider record at the ${discovery.PROVIDER_RECORDS} nearest`
  },
  {
    page: 'topics/1/README.md',
    says: `${discovery.PUBLISH_PATHS} path of ${discovery.PUBLISH_ALPHA} requests, ${discovery.PUBLISH_WIDTH} wide, at most ${discovery.MAX_PUBLISH_MESSAGES} messages; at most ${discovery.PUBLISH_BURST + MINUTE / discovery.PUBLISH_EVERY_MS} keys a minute`
  },
  {
    page: 'topics/1/README.md',
    says: `${discovery.FIND_WIDTH} wide; ${discovery.FIRST_WAVE_MESSAGES} messages for who needs one, at most ${discovery.MAX_READ_MESSAGES} for a key`
  },
  {
    page: 'topics/1/README.md',
    says: `every ${discovery.STEADY_PUBLISH_MS / MINUTE / 60} hours once it has run for a day`
  },
  {
    page: 'topics/1/README.md',
    says: `${discovery.HINT_LIFETIME_MS / MINUTE / 60} hours, and ${discovery.STEADY_HINT_LIFETIME_MS / MINUTE / 60} hours once`
  },
  { page: 'topics/1/README.md', says: `With n above ${count(discovery.SHARD_SIZE)} a provider` },
  { page: 'topics/1/README.md', says: `up to ${discovery.MAX_SHARDS_READ} shards` },
  { page: 'topics/1/README.md', says: `at ${discovery.REGION_POINTS} random places beside it` },
  { page: 'topics/1/README.md', says: `⌊log₂(N / ${discovery.REGION_NODES})⌋ bits` },
  { page: 'topics/1/README.md', says: `\`${network.MDNS_SERVICE}\`` },
  { page: 'topics/1/README.md', says: `at the start and every ${network.MDNS_INTERVAL_MS / 1000} s` },
  { page: 'topics/1/README.md', says: `after ${network.MDNS_YIELD_MS} ms` },
  { page: 'topics/1/README.md', says: `At most ${network.MAX_LAN_DIALS} such dials` },
  {
    page: 'topics/1/README.md',
    says: `with \`${network.TOPIC_PREFIX}\` and has at most ${network.MAX_TOPIC_LENGTH} characters`
  },
  {
    page: 'topics/1/README.md',
    says: `at most ${network.MAX_GOSSIP_RPC_BYTES / MIB} MiB and ${network.MAX_GOSSIP_RPC_ENTRIES} entries`
  }
]

it.each(STATEMENTS)('$page says, as the code does: $says', ({ page: path, says }) => {
  expect(page(path)).toContain(says)
})

it('the example of a record is the first signed vector, part by part', () => {
  const [vector] = JSON.parse(page('records/1.0.0/vectors/signed.json')) as Array<{ jws: string }>
  const [header = '', payload = '', signature = ''] = (vector?.jws ?? '').split('.')
  const text = page('records/1.0.0/README.md')
  const lines = [
    Buffer.from(header, 'base64url').toString(),
    Buffer.from(payload, 'base64url').toString(),
    `${header}.${payload}`,
    Buffer.from(signature, 'base64url').toString('hex'),
    signature
  ]
  for (const line of lines) expect(text).toContain(`\n    ${line}\n`)
})

it('the policy of a new home is the one on its page', async () => {
  const [, json = ''] = /```json\n([\s\S]*?)```/.exec(page('policy/README.md')) ?? []
  expect(JSON.parse(json)).toEqual((await openPolicy({})).document)
})

const HIDDEN = [...page('records/1.0.0/README.md').matchAll(/U\+([0-9A-F]{4,5})(?:–([0-9A-F]{4,5}))?/g)]

it('the hidden characters of the page are those of the schema', () => {
  const { $defs } = JSON.parse(page('records/1.0.0/schema.json')) as {
    $defs: { capability: { properties: { description: { pattern: string } } } }
  }
  const visible = new RegExp($defs.capability.properties.description.pattern, 'u')
  const listed = new Set<number>()
  for (const [, first = '', last = first] of HIDDEN) {
    for (let code = Number.parseInt(first, 16); code <= Number.parseInt(last, 16); code += 1) listed.add(code)
  }
  const differing: string[] = []
  for (let code = 0; code <= 0x10_ffff; code += 1) {
    const isSurrogate = code >= 0xd800 && code <= 0xdfff
    if (!isSurrogate && visible.test(String.fromCodePoint(code)) === listed.has(code)) differing.push(code.toString(16))
  }
  expect(differing).toEqual([])
})
