/** Stream protocol that gives away this node's own records, and the hints it knows. */
export const RECORDS_PROTOCOL = '/pryx-mesh/records/1.0.0'

/** Every node's topic while the mesh is small (SCALE §7: up to 1,500 nodes). */
export const CATALOGUE_TOPIC = '/pryx-mesh/catalogue/1'

/** `<prefix>/<kind>/<first segment>` is a topic, `<prefix>/<kind>/<name>` the text of a provider key. */
export const CAPABILITY_PREFIX = '/pryx-mesh/capability/1'

/** Records in one answer of the records protocol. */
export const MAX_PAGE_RECORDS = 64

/** JWS bytes in one answer: what a frame of MAX_MESSAGE_BYTES leaves beside the envelope. */
export const MAX_PAGE_BYTES = 1000 * 1024

/** Hints in one answer: 1,000 of at most 500 bytes fit a frame. A catalogue of 1,500 nodes needs two givers. */
export const MAX_SNAPSHOT_HINTS = 1000

/** Records of other nodes (SCALE §7). */
export const MAX_CACHED_RECORDS = 20_000

/** JWS bytes of other nodes' records; parsed they take about three times as much. */
export const MAX_CACHED_BYTES = 64 * 1024 * 1024

/** JWS bytes of one peer's records, so that one peer can't push out the others'. Its count is the registry's MAX_PEER_RECORDS. */
export const MAX_PEER_BYTES = 8 * 1024 * 1024

/** Peers whose lowest acceptable seqs are remembered, and agents of each: the last that went. Of others an old record passes until it expires. */
export const MAX_FLOOR_PEERS = 5000
export const MAX_PEER_FLOORS = 512

/** Hints in all, and by one author (SCALE §7). */
export const MAX_HINTS = 20_000
export const MAX_PEER_HINTS = 64

/** Peers asked for a snapshot of the catalogue on joining (SCALE §7), so that one that lies by omission hides nothing. */
export const SNAPSHOT_GIVERS = 2

/** How often again, for hints that got lost: 1,000 of them cost 1 kB/s then. */
export const SNAPSHOT_MS = 10 * 60_000

/**
 * The first waits between snapshots, doubled up to SNAPSHOT_MS as long as they bring nothing new: while a mesh forms gossip
 * loses most.
 */
export const SNAPSHOT_FIRST_MS = 4000

/** Owners that hints tell of are dialled until a node has so many peers: one alone could hide everything, or go. */
export const MIN_PEERS = 4

/** Addresses in a hint, and characters of each: 400 bytes have names to carry. */
export const MAX_HINT_ADDRESSES = 2
export const MAX_HINT_ADDRESS_LENGTH = 64

/** For so many times its wait for first peers a node without any doesn't say that there is nothing. */
export const ALONE_FACTOR = 4

/**
 * A node younger than this, give or take half, doesn't publish in the DHT as long as the catalogue covers the mesh; then one
 * key with each upkeep.
 */
export const LAZY_PROVIDE_MS = 10 * 60_000

/** Hints taken over from one giver of a snapshot. */
export const MAX_GIVER_HINTS = 2000

/** A gossip message, canonical JSON (SCALE §7: 1.6 a second cost 4 kB/s). */
export const MAX_HINT_BYTES = 400

/** Capability topics of one node; gossipsub's control traffic grows with each. */
export const MAX_TOPICS = 32

/** Provider keys of one node (SCALE §7). */
export const MAX_PROVIDER_KEYS = 64

/** Members of a topic to be connected to: gossipsub's mesh wants 4 to 12. */
export const RENDEZVOUS_PEERS = 8

/** Announcements of one agent on one topic (SCALE §7); receivers bear twice that. */
export const ANNOUNCE_BURST = 3
export const ANNOUNCE_INTERVAL_MS = 10 * 60_000
export const RECEIVE_FACTOR = 2

/** Token buckets kept for authors; each is some 100 bytes. */
export const MAX_BUCKETS = 20_000

/** How long the records of a connected peer count as complete (SCALE §7). */
export const FRESH_MS = 5 * 60_000

/** The same of a peer that has just joined: one that has just started has not offered everything yet. It is asked again at half of it. */
export const FIRST_FRESH_MS = 10_000

/** What is announced is said once more after this, give or take a quarter: who was joining has missed it. */
export const REPEAT_MS = 8000

/** How long a verified record of a peer that isn't connected is given away without asking again (SCALE §7). */
export const TRUSTED_MS = 30 * 60_000

/**
 * Connected peers are told of changes that no hint tells of after this at the soonest, and no more often than this for each of
 * the node's records: they ask for all of them then, 1.2 MB of 1,000 small ones.
 */
export const CHANGED_MS = 5000
export const CHANGED_PER_RECORD_MS = 50

/** A peer that says it has other records than before is asked for all of them after this: so at most twice a second, whatever it says. */
export const RESYNC_MS = 500

/** How long a peer that didn't answer isn't asked again: doubled each time, up to SCALE §7's negative cache. */
export const RETRY_MS = 2000
export const MAX_SILENT_MS = 30_000
export const MAX_SILENT_PEERS = 5000

/** Upkeep: expiry, freshness, what nobody has heard yet. */
export const UPKEEP_MS = 30_000

/** Random delay before a joining peer is asked, so that one node isn't asked by all at once. */
export const JOIN_JITTER_MS = 100

/** How soon after a change of peers unheard announcements and keys are tried again: subscriptions come within a second. */
export const REPUBLISH_MS = 1000
export const REPUBLISH_ATTEMPTS = 3

/** Time for one peer to answer a find, dialling included (SCALE §0.7: a WAN needs 1.5 s). */
export const CANDIDATE_TIMEOUT_MS = 2000

/** Time to take over all records of a peer. */
export const SYNC_TIMEOUT_MS = 10_000

/** Peers asked at once: those to be dialled, those connected, those synchronised in the background. */
export const DIAL_LANES = 3
export const PEER_LANES = 16
export const SYNC_LANES = 4
export const PROVIDE_LANES = 2

/** Records waiting to be fetched because of hints. */
export const MAX_FETCHES = 1000

/** Peers that one find asks without being connected to them. */
export const MAX_CANDIDATES = 256

/** Others named beside something that is missing. */
export const MAX_OTHERS = 8

/** How long it isn't told again that something is missing, and of how much that is remembered. */
export const MISSING_AGAIN_MS = 60 * 60_000
export const MAX_MISSING = 1000

/** Results that one find holds for a reader that is slow. */
export const MAX_RESULTS = 20_000

export const FIND_TIMEOUT_MS = 5000

/** How long a young node waits for its first peers before it says that there is nothing. */
export const SETTLE_MS = 1500

/** How often a watch looks for agents that no hint told it of. */
export const WATCH_FIND_MS = 60_000

/** A watch at a peer is opened anew after this long, so that a change of trust takes effect. */
export const WATCH_REQUEST_MS = 30 * 60_000

/** Watches of this node: each holds what it has shown. */
export const MAX_WATCHES = 256

/** Time to say goodbye. */
export const STOP_TIMEOUT_MS = 1000

/**
 * Nodes up to which the catalogue is switched on: 1,500 with half-hour sessions make the 1.6 messages a second that cost 4 kB/s. It is
 * off above 2,000, and in between it stays as it is.
 */
export const CATALOGUE_NODES = 1500
export const CATALOGUE_SLACK = 4 / 3

/** A catalogue that has been busier than this for so long is left, whatever its size, and looked at again after an hour. */
export const BUSY_PER_SECOND = 3
export const BUSY_MS = 5 * 60_000
export const QUIET_MS = 60 * 60_000

/** Walks of finds: three disjoint paths of four requests each reach the 20 nearest with 100 messages, the first holder after some 25. */
export const FIND_PATHS = 3
export const FIND_ALPHA = 4
export const FIND_WIDTH = 20

/** Messages of one key's reading: who needs one provider only first takes as many as a million nodes need to reach a holder. */
export const FIRST_WAVE_MESSAGES = 40
export const MAX_READ_MESSAGES = 120

/** Walks that publish: one path reaches 98 % of the nearest at a third of the messages; 60 wide, since 20 ids hide a key that 20 hold. */
export const PUBLISH_PATHS = 1
export const PUBLISH_ALPHA = 6
export const PUBLISH_WIDTH = 60
export const MAX_PUBLISH_MESSAGES = 200

/** Of those, the nearest that get a provider record too, for who speaks nothing else: as many as stock gives it. */
export const PROVIDER_RECORDS = 20

/** How often keys are published and how long that holds, while this node is younger than a day, and then; give or take a tenth. */
export const PUBLISH_MS = 60 * 60_000
export const HINT_LIFETIME_MS = 150 * 60_000
export const STEADY_AFTER_MS = 24 * 60 * 60_000
export const STEADY_PUBLISH_MS = 6 * 60 * 60_000
export const STEADY_HINT_LIFETIME_MS = 14 * 60 * 60_000
export const PUBLISH_JITTER = 0.1

/** Keys published per minute at most, half at once: a holder takes 16 a minute from one publisher, and in a small mesh all hold all. */
export const PUBLISH_BURST = 8
export const PUBLISH_EVERY_MS = 7500

/** A key that nobody took is tried again after this. */
export const PUBLISH_RETRY_MS = 60_000

/** Peers that speak no hints, how long that is believed of one, and hints whose signature needn't be checked again: 0.5 kB each. */
export const MAX_PLAIN_PEERS = 5000
export const PLAIN_MS = 60 * 60_000
export const MAX_VERIFIED_HINTS = 2000

/** Holders whose every hint is read by who wants all that there is: one may have left something out. */
export const FULL_READS = 3

/** Holders told at once that something is withdrawn. */
export const WITHDRAW_LANES = 16

/** To dial somebody and ask takes five round trips of 80 ms: who waits for a better candidate hasn't waited in vain by then. */
export const PATIENCE_MS = 400

/** Places beside a key that a crowd around it can't all occupy: random ones among the 48 nodes nearest to it. */
export const REGION_POINTS = 3
export const REGION_NODES = 48

/** As in a mesh of three million. */
export const MAX_REGION_BITS = 16

/** How long a search waits for those that were named, one of whom may do, before it asks further. */
export const NAMED_WAIT_MS = 1000

/** Providers of one key from where on they publish in shards too (SCALE §3: 20 holders have 99.7 % of 1,000), and shards that a find reads. */
export const SHARD_SIZE = 1000
export const MAX_SHARDS_READ = 8
export const SHARD_LANES = 4

/** Within this of a boundary a provider publishes in the shard above and below too, for others may count otherwise. */
export const SHARD_MARGIN = 0.15

/** The most providers that a holder's word is taken for. */
export const MAX_TOTAL = 10_000_000

/** Peers that a find has yet to ask, of all that holders and hints named: 120 holders name 20 each. */
export const MAX_QUEUED_CANDIDATES = 2400

/** Routing tables at 1,500 nodes, the catalogue's size, hold fewer peers than this (SCALE §5: 79 at 300). */
export const CATALOGUE_TABLE_PEERS = 150

/** Records that one peer may push to a watch: the most of a node at once, then what it renews, and as many again. Each costs a signature check. */
export const PUSH_BURST = 4096
export const PUSH_INTERVAL_MS = 500
