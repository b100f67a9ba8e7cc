const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const KIB = 1024
const MIB = 1024 * KIB

// --- connections

/** Both directions together; above it inbound is refused and the least useful are closed. A connection costs 8 ms of CPU a side and 0.3 MB. */
export const MAX_CONNECTIONS = 200

/** Connections in their handshake. Stock is 10: one idle TCP connection per second then blocked every honest dial (measured 0 of 12). */
export const MAX_PENDING_CONNECTIONS = 256

/** Deadline of an inbound handshake; with it and the limit above 12 of 12 honest dials got through 100 hostile ones per second. */
export const INBOUND_UPGRADE_TIMEOUT_MS = 3 * SECOND

/** Inbound handshakes at once from one address (IPv4) or /56 (IPv6); loopback is exempt. */
export const MAX_PENDING_PER_IP = 8

/** Open inbound connections from one address or /56; loopback is exempt. */
export const MAX_CONNECTIONS_PER_IP = 8

/** New inbound connections from one address or /56: a burst, then one per second. */
export const CONNECTION_BURST_PER_IP = 16
export const CONNECTIONS_PER_SECOND_PER_IP = 1

/** Addresses whose inbound connections are counted; the longest quiet are forgotten first. */
export const MAX_TRACKED_IPS = 4_096

/** libp2p's own rate per host (stock 5 per second) hits NATs and test beds and knows no burst; the gater does it instead. */
export const STOCK_INBOUND_THRESHOLD = 10_000

/** A whole dial, all addresses of a peer together. */
export const DIAL_TIMEOUT_MS = 10 * SECOND

/** One address of a dial, so that a dead one leaves time for the others: two TCP retries (1 s, 3 s). */
export const ADDRESS_DIAL_TIMEOUT_MS = 4 * SECOND

/** Dials at once; a dial costs 8 to 16 ms of CPU. */
export const MAX_PARALLEL_DIALS = 50
export const MAX_DIAL_QUEUE = 500

/** Addresses tried per peer, and decoded of one that is named; whoever announces more is wasting our time. */
export const MAX_ADDRESSES_PER_DIAL = 16

/** Time to first byte: a stream that doesn't say its protocol by then is reset. */
export const NEGOTIATION_TIMEOUT_MS = 5 * SECOND

/** TCP asks after this silence whether the other end still lives, then every second, ten times (libuv). */
export const TCP_KEEPALIVE_DELAY_MS = 15 * SECOND

/** A duplicate connection is looked at after this: by then streams are where they will stay. */
export const DUPLICATE_GRACE_MS = 5 * SECOND

/** Connections opened within this came of two dials at once. */
export const TWIN_MS = 2 * SECOND

// --- streams

/** Streams of one connection and direction; yamux's own default is 1,000. */
export const MAX_STREAMS_PER_CONNECTION = 64

/** Inbound streams of one connection and protocol; libp2p's default is 32. */
export const MAX_STREAMS_PER_PROTOCOL = 8

/** Largest receive window. Must stay below MAX_STREAM_READ_BYTES: stock grows to 16 MiB, and `pause()` then resets a fast stream. */
export const MAX_STREAM_WINDOW_BYTES = MIB

/** Unread bytes of a stream before it is reset: a full window, twice. */
export const MAX_STREAM_READ_BYTES = 2 * MIB

/** Unsent bytes of a stream before it is aborted (stock: unbounded, 300 MB measured): the largest message, and as much again. */
export const MAX_STREAM_WRITE_BYTES = 2 * MIB

/** Unsent bytes of a connection before it is aborted: the share that one peer has of the node's memory. */
export const MAX_CONNECTION_WRITE_BYTES = 16 * MIB

/** Largest WebSocket message taken (ws's default is 100 MiB); peers send one noise message of 64 KiB, or a few. */
export const MAX_WEBSOCKET_MESSAGE_BYTES = MIB

// --- noise batching

/** Queued plaintext that is sealed at once instead of at the end of the turn. */
export const BATCH_BYTES = 128 * KIB

/** From here node:crypto with a cached key beats the WebAssembly cipher (measured: 3.4 µs both at 512 B). */
export const NATIVE_CIPHER_MIN_BYTES = 512

// --- memory of peers

/** Addresses of peers; stock forgets them after 1 h, and a restarted node stays alone. */
export const MAX_ADDRESS_AGE_MS = 30 * DAY

/** Peers. Far above PROVIDER_VALIDITY_MS: a provider missing in a holder's peer store fails the holder's whole answer. */
export const MAX_PEER_AGE_MS = 60 * DAY

/** Peers remembered to rejoin by after a restart. */
export const MAX_KNOWN_PEERS = 64

/** Addresses remembered for each. */
export const MAX_KNOWN_ADDRESSES = 8

/** Known peers dialled at once after a start. */
export const REJOIN_PARALLEL_DIALS = 4

/** Known peers are written this long after a change, in one transaction. */
export const KNOWN_PEERS_DELAY_MS = SECOND

// --- reconnecting

/** Full jitter: a random wait between 0 and min(a bound, 1 s × 2^attempts), for ever. */
export const RECONNECT_MIN_MS = SECOND
export const RECONNECT_MAX_MS = MINUTE

/**
 * The bound for a peer that was connected within RECONNECT_LATELY_MS, or that is kept since then: after a cut, what waits is there
 * within 30 s. Those are a wait, a dial that began just before the cut healed (ADDRESS_DIAL_TIMEOUT_MS), and some seconds for the
 * handshake and what waited, with a tenth of all packets lost. As a herd, MAX_CONNECTIONS peers of a node that comes back are 13
 * handshakes a second on average, a tenth of a core; while it is away one lost SYN per peer and 12 s.
 */
export const RECONNECT_LATELY_MAX_MS = 15 * SECOND
export const RECONNECT_LATELY_MS = 10 * MINUTE

/** Peers remembered as lately connected; more than there are connections, since some come and go. */
export const MAX_LATELY_CONNECTED = 1_024

/** A connection that lasted this long starts the backoff anew. */
export const RECONNECT_STABLE_MS = 10 * SECOND

// --- meshes

/** The mesh of a node that names none; its ids have no name in them. */
export const MAIN_MESH = 'main'

/** Ids of any mesh start with it: `/pryx-mesh/…`, `/pryx-mesh@<name>/…`. */
export const MESH_PREFIX = '/pryx-mesh'

/** A peer of another mesh is let go after this: by then both sides have seen that it is one. */
export const OTHER_MESH_GRACE_MS = SECOND

/** A kept peer that turned out to be of another mesh is looked at again this often, give or take a half: its owner may move it. */
export const OTHER_MESH_RETRY_MS = 10 * MINUTE

/** Peers of other meshes that are remembered as such; far more than are connected at once. */
export const MAX_OTHER_PEERS = 1_024

// --- LAN

/** Ours, so that other libp2p programs on the LAN neither see us nor bother us. */
export const MDNS_SERVICE = '_pryx-mesh._udp.local'

/** How often the LAN is asked. */
export const MDNS_INTERVAL_MS = 10 * SECOND

/** The one with the larger id lets the other dial first, so that a pair gets one connection. */
export const MDNS_YIELD_MS = 300

/** How often interfaces and the multicast route are looked at: a link that comes up is used that soon. */
export const LAN_CHECK_MS = 2 * SECOND

/** mDNS answers dialled at once; a liar on the LAN can cause no more. */
export const MAX_LAN_DIALS = 16

// --- DHT

export const KAD_PROTOCOL = '/pryx-mesh/kad/1.0.0'

/** Three disjoint paths of four requests: 100 messages for a full walk where the stock 10 × 10 takes 432, first answer no later. */
export const KAD_DISJOINT_PATHS = 3
export const KAD_ALPHA = 4

/** Stock is 6, and then the table knows no more of its own neighbourhood than of the far end from 10^4 nodes on. */
export const KAD_PREFIX_LENGTH = 16

/** Covers dial and request; 0.5 s lost a third of the holders at 80 ms median round trip, 1.5 s none. */
export const KAD_REQUEST_MIN_MS = 1.5 * SECOND
export const KAD_REQUEST_MAX_MS = 10 * SECOND

/** The same where 9 of 10 answers take less than FAST_ROUND_TRIP_MS: a LAN, where who hasn't answered by then won't. */
export const KAD_REQUEST_FAST_MS = 0.5 * SECOND
export const FAST_ROUND_TRIP_MS = 20
export const FAST_SHARE = 0.9

/** Of the usual time of an answer: a cold dial takes some three times as long, and the far tail twice that. */
export const REQUEST_TIMEOUT_FACTOR = 8

/** Answers by which the usual time is judged, and how many there must be. */
export const ROUND_TRIP_WINDOW = 64
export const MIN_ROUND_TRIPS = 5

/**
 * The node's own neighbourhood and a random key are walked to in turn this often, each node at its own time between half of it and one
 * and a half. A walk dials whom it asks, 20 peers and more: walking at the start brought each node of a mesh of 200 to 46 connections,
 * and the catalogue finds what there is without it. What a search walks past fills the table sooner where the DHT is needed.
 */
export const KAD_REFRESH_MS = 10 * MINUTE

/** One path of six requests finds them as well as three of four, with a third of the messages, where no liar is to be got around. */
export const REFRESH_ALPHA = 6
export const REFRESH_MAX_MESSAGES = 120
export const REFRESH_TIMEOUT_MS = MINUTE

/** Peers of a bucket, of an answer, and those responsible for a key: Kademlia's k. */
export const KAD_BUCKET_PEERS = 20

/** The closest of the table that a walk starts with. Many of them may be dead, and each path needs its own. */
export const WALK_START_PEERS = 60

/** Walks by whose median the size of the mesh is judged. */
export const SIZE_WALKS = 16

/** Density errs by a fifth, rarely by more than half: from here on it knows better than who has only counted those it was told of. */
export const MAX_COUNT_ERROR = 3

/** 20 peers this many times nearer to a key than the size of the mesh explains are no accident: with 8 it happens once in 10^12 keys. */
export const CROWDED_FACTOR = 8

/** In a smaller mesh a walk reaches everybody, wherever they sit; and a young node thinks that its mesh is smaller than it is. */
export const CROWDED_MIN_SIZE = 60

/** Addresses taken of a peer that another peer names, and the length of each. */
export const MAX_HEARD_ADDRESSES = 8
export const MAX_HEARD_ADDRESS_LENGTH = 256

/** Peers whose addresses are kept by hearsay; the longest unused are forgotten first. Twelve walks of fakes, 4 MiB at most. */
export const MAX_HEARD_PEERS = 2_000

/** A peer of the table that isn't connected is pinged this often, give or take a half: 8 a minute find half of a mesh gone within 5 minutes. */
export const JANITOR_TICK_MS = 7.5 * SECOND

/** Failures in a row after which a peer leaves the table; one may be the way's. */
export const JANITOR_FAILURES = 2

/** Those that failed once and are asked again in a round, so that many gone at once cost no storm of dials. */
export const JANITOR_MAX_RETRIES = 4

/** Pings at once after failed requests; who comes later waits for the next round. */
export const JANITOR_PARALLEL_PINGS = 4

/** Peers taken for dead that are let in again when they answer something. */
export const MAX_REMOVED_PEERS = 1_024

/** Of one /24 (IPv4) or /48 (IPv6) in the table: as many as one bucket holds, so that no subnet is all that is known of a distance but the nearest. */
export const MAX_TABLE_PEERS_PER_SUBNET = 20

/** Peers of the table, three times what Kademlia knows of a million; each is looked at for every request. And how many leave in a round. */
export const MAX_TABLE_PEERS = 1_024
export const MAX_TRIMMED_PEERS = 64

/** Dial and ping together. */
export const JANITOR_PING_TIMEOUT_MS = 5 * SECOND

/** All that a peer may send on one stream of the DHT: a dozen requests, where it needs a stream for each. Stock 4 MiB. */
export const MAX_KAD_REQUEST_BYTES = 16 * KIB

/** A peer that comes back has this long to answer a ping before it is in the table again. */
export const KAD_JOIN_TIMEOUT_MS = 5 * SECOND

/** The longest that a timer can be set to: what the library does on its own and no option turns off. */
export const NEVER_MS = 2 ** 31 - 1

/** Peers waiting to be checked for the table: each one named in an answer costs a ping. */
export const KAD_MAX_TABLE_UPDATES = 64

/** Provider records live 2.5 h at their holders, who can't be told otherwise: all nodes must agree. */
export const PROVIDER_VALIDITY_MS = 2.5 * HOUR

/** Providers that a holder names in an answer, chosen at random; 40,000 of them cost 33 s of CPU. More are not decoded. */
export const MAX_PROVIDERS_PER_ANSWER = 20

/** How long the mesh is asked for the address of a peer that can't be reached at the addresses known, and how many of it. */
export const FIND_PEER_TIMEOUT_MS = 5 * SECOND
export const FIND_PEER_MAX_MESSAGES = 60

/** By which a holder chooses whom it keeps: long enough that nobody guesses it. */
export const HOLDER_SALT_BYTES = 32

// --- gossip

/** Largest message; announcements are 400 B, bodies are pulled. */
export const MAX_GOSSIP_BYTES = 16 * KIB

/** Topics that a node joins. */
export const MAX_TOPICS = 64

/** Topics outside of it are nobody's business here. */
export const TOPIC_PREFIX = '/pryx-mesh/'
export const MAX_TOPIC_LENGTH = 256

/** Bounds the subscriptions of one peer: gossipsub counts 1 KiB and the name for each. */
export const MAX_TOPIC_BYTES_PER_PEER = 128 * KIB

/** Largest RPC frame (stock 4 MiB): 500 announcements with their signatures take 0.4 MiB. */
export const MAX_GOSSIP_RPC_BYTES = MIB

/** Entries of each kind in one RPC; stock 5,000. */
export const MAX_GOSSIP_RPC_ENTRIES = 500

/** Bytes queued for a gossip peer that doesn't read; stock unbounded. */
export const MAX_GOSSIP_QUEUE_BYTES = 4 * MIB

/** Of a swarm key; one has 95 bytes, and perhaps a line break at its end. */
export const MAX_SWARM_KEY_BYTES = 1_024
