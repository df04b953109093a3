"""Types that cannot be mixed up, f and q, and every limit that modules share, with the reason for its number.

A limit that one module alone uses may stand in that module: whoever changes the number then sees the code
that it bounds, and nobody else can come to depend on it. One test reads the reasons of all.
"""

from dataclasses import dataclass
from typing import Final, NewType

LeafIndex = NewType("LeafIndex", int)  # 0-based position of a leaf in the log
TreeSize = NewType("TreeSize", int)  # number of leaves: an index + 1
Height = NewType("Height", int)  # number of a block; genesis is 0
View = NewType("View", int)  # one leader's turn, from 1
Epoch = NewType("Epoch", int)  # life of one validator set, from 0
NodeId = NewType("NodeId", bytes)  # 32-byte Ed25519 public key
Sha256 = NewType("Sha256", bytes)  # 32 bytes
Blake3 = NewType("Blake3", bytes)  # 32 bytes

HASH_BYTES: Final = 32


def tolerated(validators: int) -> int:
    """f: how many of so many validators may lie, and everything still holds."""
    return (validators - 1) // 3


def needed(validators: int) -> int:
    """q: how many of so many validators make a quorum; two quorums share f + 1 of them."""
    return validators - tolerated(validators)


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound and why it is that number.

    Attributes:
        value: in the unit that the name ends with.
        reason: one sentence that a stranger accepts.
    """

    value: int
    reason: str


# -- wire and ledger --
MAX_ENTRY_BYTES = Limit(
    60_000, "a tlog-tiles bundle frames an entry with a 16-bit length; the rest is headroom"
)
MAX_JSON_DEPTH = Limit(8, "the deepest entry type needs 6; a deeper one only serves to exhaust a decoder")
MAX_ATTESTATION_BYTES = Limit(16_384, "provenance of one build is 3-8 KB; a reveal stays far below one entry")
MAX_FACT_ALIASES = Limit(16, "names of one advisory in other databases")
MAX_FACT_RANGES = Limit(64, "of versions in one fact: an advisory has one for each release line")
MAX_FACT_VERSIONS = Limit(
    1_024, "named one by one in an advisory, where no range says which: 20 KB of an entry's 60"
)
MAX_FACT_BYTES = Limit(1_024, "a paragraph that people read in the log; longer text is a blob")
MAX_DRAWN = Limit(100, "K of a genesis is at most this; a verdict names each of them")
MAX_OUTPUTS = Limit(
    32, "files of one build; their records take 1.3 KB each, so 32 fit beside the provenance in one entry"
)
MAX_TIME_MS = Limit(1 << 52, "142,000 years from 1970: whatever is added to it stays a number of JSON")
MAX_DERIVED = Limit(256, "what a block computes on its own account; more waits in the queue for the next")
MAX_OPEN_REQUESTS = Limit(
    500, "their ids are one value of the state; that many builds keep a network busy for hours"
)
MAX_UNTIL_MS = Limit(
    86_400_000, "a day offline is the longest that a submission waits; dedup remembers as long"
)
MAX_EXPIRED = Limit(2_000, "ids forgotten in one block: twice what a block can add, so forgetting keeps up")
COMMIT_WINDOW_MS = Limit(
    600_000, "the slowest build of a pure package, its downloads and a restart of a builder"
)
SLOW_COMMIT_WINDOW_MS = Limit(
    2_700_000, "C and Java: three quarters of an hour for a cold repository, a compiler and a restart"
)
STRIKE_WINDOW_MS = Limit(
    86_400_000, "a builder that kept others waiting goes last for a day; a bad day is over the next"
)
MAX_STRIKES = Limit(16, "newest strikes kept of one builder: enough to see a pattern, 2 KB of the state")
MAX_OPEN_OF_OPERATOR = Limit(
    250, "half of the open requests, so that one operator cannot lock out all others"
)
REVEAL_WINDOW_MS = Limit(
    300_000,
    "a reveal is ready when the gate opens; storage members fetch a gigabyte at 30 Mbit/s before it stands",
)
KEEP_BUILDERS_MS = Limit(
    86_400_000, "asking again within a day draws no new builders, so asking is no re-roll"
)
MAX_NAMES_OF_BYTES = Limit(
    32, "purls listed for one digest, 10 KB at most: a layer of many images; own names give way to others"
)
MEMPOOL_AUTHOR_ENTRIES = Limit(200, "of one author at a time, so that nobody fills the table alone")
MEMPOOL_ISSUER_ENTRIES = Limit(
    500, "of one issuer: a database of 50,000 advisories goes in within a minute by blocks of hundreds"
)
MEMPOOL_AUTHOR_BYTES = Limit(4 << 20, "200 entries of 20 KB")
MEMPOOL_ENTRIES = Limit(50_000, "20 s of work at the rate that the network aims at")
MEMPOOL_BYTES = Limit(64 << 20, "half of what an idle node may use")
RECENT_IDS = Limit(
    16_384, "answers a resend of the last seconds without reading the state, which holds the rest"
)
SHARE_ENTRIES = Limit(64, "what one validator of a busy network takes in while a batch waits, with room")
SHARE_BYTES = Limit(65_000, "one frame of a link with its heads; the largest entry fits")
SHARE_IDS = Limit(1_024, "ids of entries in one message: 32 KiB, half a frame")
MAX_CACHED_BYTES = Limit(8 << 20, "sixteen full blocks of parsed entries")
CACHED_ENTRIES = Limit(4_096, "parsed and checked entries of the last four full blocks")

# -- log --
MAX_TREE_SIZE = Limit(
    (1 << 53) - 1, "what every JSON reader holds exactly; at full rate it lasts 28,000 years"
)
MAX_NOTE_BYTES = Limit(65_536, "100 validators with two lines of 180 bytes each are 36 KB")
MAX_NOTE_LINES = Limit(256, "two lines of each of 100 validators, and some witnesses")
MAX_PROOFFILE_BYTES = Limit(
    1 << 20, "seven reveals of 60 KB, escaped and in base64, with their proofs and the checkpoint"
)
MAX_PROOF_HASHES = Limit(64, "an inclusion proof has one hash per level, and no tree has more levels")
MAX_GENESIS_BYTES = Limit(60_000, "genesis is an entry of the log, and entries end here")
MAX_SEAL_BYTES = Limit(1_024, "the seal of a block with every number at its largest has 720 bytes")
MAX_STEP_BYTES = Limit(
    262_144, "from an epoch to the next: 100 validators, 67 signatures, a proof of 512 headers take 215 KB"
)
COSIGN_QUIET_MS = Limit(
    500, "a log that has not grown this long is at rest; its newest size is worth signing"
)
COSIGN_AGAIN_S = Limit(60, "age that the head of a log at rest may have")
COSIGN_SIZES = Limit(
    4, "newest tree heads kept per validator; one is signed per second at most, bar the last"
)

MAX_WITNESS_REQUEST_BYTES = Limit(
    65_536, "a checkpoint of 100 validators with two lines each and a proof of 63 hashes take 40 KB"
)
MAX_WITNESSES = Limit(16, "asked by one node; a policy wants a handful, and common readers take 100 lines")
MAX_POLICY_BYTES = Limit(262_144, "100 validators with two lines of 250 bytes each, five times over")
MAX_WITNESS_ANSWER_BYTES = Limit(16_384, "some cosignature lines; one of ML-DSA-44 is 3.4 KB")

# -- store --
MAX_BATCH_BYTES = Limit(
    8 << 20, "a block is at most 512 KB of entries; its leaves, tiles and state fit in a few MB"
)
MAX_VOTE_RECORD_BYTES = Limit(2 << 20, "a block with its justification is at most 1 MB")
VOTES_STEP_BYTES = Limit(1 << 20, "room for some thousand votes, so that an append changes no file size")

KEPT_SEALS = Limit(
    1_024, "seals whose proofs can still be made: a checkpoint is seconds old, which is some tens of seals"
)

BLOB_ROWS = Limit(1_000, "rows of the blob index read before others have a turn, 2 ms")
MANIFEST_ROWS = Limit(64, "manifests read before others have a turn: each may have 64 KB")

# -- snapshots --
SNAPSHOT_PLACES = Limit(64, "places asked at once: small ones, which one answer has room for")
SNAPSHOT_ANSWER_BYTES = Limit(
    512 << 10, "rows of one answer: half of the largest message, so that one row more always fits"
)
SNAPSHOT_ASK_S = Limit(15, "an answer of half a megabyte over 1 Mbit/s takes half of it")

# -- consensus --
MAX_VALIDATORS = Limit(
    100, "a certificate of 67 signatures is 4.3 KB and costs 2.7 ms to check; more needs another scheme"
)
MAX_BLOCK_ENTRIES = Limit(1_000, "at 40 us a signature a follower still checks a full block in 40 ms")
MAX_BLOCK_BYTES = Limit(
    524_288, "entries of one block; with its justification it stays below a 1 MiB message"
)
MAX_GAP_VIEWS = Limit(
    2_048, "views given up between a block and its parent: days of failing leaders at full back-off"
)
MAX_PROOF_HEADERS = Limit(512, "blocks between one that is final and the certificate above it; usually one")
MAX_STATUS_CERTS = Limit(64, "certificates in one answer; a member that lacks more asks again")
MAX_SYNC_BLOCKS = Limit(128, "final blocks in one answer; the 1 MiB message usually ends it sooner")
MAX_SYNC_BYTES = Limit(900_000, "blocks of one answer, below the 1 MiB message with room for the proof")
VIEW_WINDOW = Limit(64, "views ahead of ours whose votes are kept; further ahead only certificates count")
MAX_RECENT_BLOCKS = Limit(16, "final blocks kept in memory for members a moment behind: 8 MB at worst")

# -- net and transfer --
MAX_LINK_MESSAGE_BYTES = Limit(1 << 20, "the largest proposal or answer to block sync; files go by chunks")
MAX_PART_BYTES = Limit(65_536, "half a millisecond at 1 Gbit/s: no vote waits longer behind one part")
LINK_QUEUE_MESSAGES = Limit(
    2_048, "two seconds of entries at full rate towards one peer; a slower peer asks again"
)
LINK_QUEUE_BYTES = Limit(8 << 20, "eight of the largest messages waiting for one peer")
LINK_HWM = Limit(
    8,
    "batches inside ZeroMQ, where nothing can overtake: 4 ms at 1 Gbit/s; each half of them wakes both threads once",
)
LINK_BATCH_FRAMES = Limit(64, "small frames sent in one call; more gains nothing measurable")
MAX_RECORD_BYTES = Limit(
    1_024, "three addresses with long host names, a name and a signature; many fit a frame"
)
RECORD_LIFE_MS = Limit(86_400_000, "a node that was silent for a day may be anywhere else by now")
MAX_RECORDS = Limit(32, "records of one message: 32 KiB at most, a few milliseconds of checking")
MAX_SOUGHT = Limit(16, "nodes asked for by name: those that were mentioned since the last question")
FUTURE_MS = Limit(300_000, "clocks of honest machines are seconds apart, of careless ones minutes")
AT_HAND = Limit(3, "older files whose pieces are looked for; the newest shares most, a third adds little")
MAX_EARLY = Limit(32, "first chunks that wait for their fetch: two of each file that comes in at once, 8 MiB")
MAX_ALSO = Limit(8, "as many as a download uses at once; the next answer may name others")
MAX_RANGES = Limit(
    256, "stretches of one answer: a chunk of small members, of which every second one changed"
)
MAX_RANGE_BYTES = Limit(262_144, "bytes of one answer: as a chunk")
BROADCAST_FRAME_BYTES = Limit(
    8_192, "a topic, an envelope and 4 KiB of text; what is larger is announced and fetched"
)
MAX_ENVELOPE_PAYLOAD_BYTES = Limit(
    65_536, "a direct message with a page of text; a broadcast may have a sixteenth of it"
)
BROADCAST_HWM = Limit(
    1_000, "a second of broadcasts waiting for one reader; more is dropped and comes by anti-entropy"
)
MAX_PEERS = Limit(256, "a full mesh fits a few hundred nodes at three descriptors each")
MAX_BANS = Limit(4_096, "128 KiB of keys; keys are free, so a longer list stops nobody")
BAN_S = Limit(60, "long enough to make a flood pointless, short enough to survive a peer's bug")
LINK_FAULTS = Limit(16, "bad frames forgiven on one link; an honest peer sends none")
MAX_REQUESTS_PER_PEER = Limit(64, "requests of one peer being answered; more gets BUSY")
MAX_REQUESTS = Limit(512, "requests of all peers being answered, 1 MiB each at the very worst")
LINK_DEAD_S = Limit(15, "without one frame, when a ping goes out every second")
DIAL_WAIT_S = Limit(5, "for a greeting to be answered; three round trips on the worst link")
REDIAL_S = Limit(5, "the longest pause between two attempts to reach a peer")
REQUEST_DEADLINE_S = Limit(600, "no answer to one message takes longer than a person waits")
CHUNK_BYTES = Limit(262_144, "hashed in 27 us and sent as one frame; smaller costs twice the CPU")
ROW_CHUNKS = Limit(
    3,
    "chunks that follow one another, in one message; a MiB and more costs new memory of the kernel's each time",
)
MAX_CHUNKS = Limit(65_000, "16 GiB; the manifest still fits one 2 MiB frame")
SHARDS = Limit(4_096, "of blobs, by their first 12 bits: some hundred a member, so that shares are even")
FAILED_BLOBS = Limit(
    16_384, "that did not come to a storage member, 3 MB; the oldest is found again in the index"
)
HELD_BLOBS = Limit(1_024, "asked about at once: 32 KiB there, 128 bytes back")
MAX_DATA_FRAME_BYTES = Limit(2 << 20, "the largest manifest; a chunk is an eighth of it")
DATA_HWM = Limit(32, "8 MiB of chunks per connection inside ZeroMQ")
PEER_CREDIT_BYTES = Limit(16 << 20, "asked of one source and not yet here: 40 ms at 3 Gbit/s")
SWARM_CREDIT_BYTES = Limit(64 << 20, "asked of all sources of one file and not yet here")
MAX_SOURCES = Limit(8, "more sources than this add work, not speed")
UPLOAD_QUEUE_CHUNKS = Limit(64, "a peer's whole credit waiting to be sent; more is refused")
MAX_OPEN_MAPS = Limit(64, "files mapped at once for serving; address space is free, descriptors are not")
MAX_ASK_CHUNKS = Limit(16, "chunk numbers in one request: 4 MiB")
MAX_FETCHES = Limit(16, "files coming in at once; with eight sources each they take 400 sockets of the 1,024")
SWARM_HEDGES = Limit(
    2, "chunks asked of a second source before the endgame; more would be duplicates, not speed"
)
SWARM_STRIKES = Limit(3, "silences in a row of one source; a node that restarts has one or two")
SWARM_NAKS = Limit(4, "refusals in a row of what a source said it has; an eviction explains one or two")
SWARM_BUSIES = Limit(8, "answers 'not now' in a row, with growing pauses: 15 s of a source with no room")

# -- membership --
MAX_TOLD = Limit(64, "statements of one message: 8.8 KB at most, a seventh of a frame's part")
MAX_ROWS = Limit(256, "nodes compared in one message: 10.5 KB; more come with the next one")
MAX_INCARNATION = Limit(
    (1 << 53) - 1, "milliseconds until the year 287,396; a node counts up from the time of its start"
)

# -- upstream --
UPSTREAM_AT_ONCE = Limit(32, "pages asked for, and files: more make nothing faster on one line to the world")
UPSTREAM_PATIENCE_S = Limit(
    5,
    "who has an old page or file waits no longer for a new one; a page is brought for the next all the same",
)

# -- builds --
FETCHES_AT_ONCE = Limit(8, "pages and files of one resolution; more connections make no index faster")
MAX_INDEX_PAGE_BYTES = Limit(32 << 20, "the largest project page of the public index is 20 MB of JSON")
MAX_SOURCE_BYTES = Limit(
    256 << 20, "a pure package's archive is a few MB; the public index caps a file at 100 MB"
)
MAX_METADATA_BYTES = Limit(1 << 20, "a METADATA with its whole README stays below 300 KB")
INDEX_FETCH_S = Limit(300, "100 MB at 3 Mbit/s; an index that is slower is down")
INDEX_REDIRECTS = Limit(5, "a page, its canonical name, its mirror; a longer chain is a loop")
INDEX_ATTEMPTS = Limit(3, "one lost connection and one restart of a proxy; then the index is down")
MAX_RESOLVE_ROUNDS = Limit(
    2_000, "a closure of 100 packages with some backtracking; more is a maze, not a package"
)
MAX_LOCK_BYTES = Limit(262_144, "1,000 lines of 250 bytes")
MAX_LOCK_LINES = Limit(1_000, "the largest build environment seen has 40 wheels")
BUILD_WALL_S = Limit(600, "wheels of pure packages take seconds; ten minutes is a build that hangs")
BUILD_CPU_S = Limit(600, "of one process; the wall limit on one core")
BUILD_MEMORY_BYTES = Limit(2 << 30, "a pure build takes 100 MB; two at once fit a small machine")
BUILD_PROCESSES = Limit(256, "a make with as many jobs as a large machine has cores, and its shells")
BUILD_DISK_BYTES = Limit(2 << 30, "unpacked sources with their build folder stay below 500 MB")
BUILD_FILE_BYTES = Limit(512 << 20, "five times the largest file that the public index takes by default")
BUILD_LOG_BYTES = Limit(10 << 20, "more than any person reads; the rest is cut with a marker")
BUILD_TMP_BYTES = Limit(512 << 20, "the job's /tmp lives in memory")
BUILD_SHM_BYTES = Limit(64 << 20, "shared memory: locks of worker pools take a page each")
BUILD_ENTRIES = Limit(200_000, "files and folders in what a job may write; counting them must stay cheap")
SANDBOX_POLL_MS = Limit(100, "a tree that grows is seen before it hurts; one look costs a few ms")
SANDBOX_KILL_MS = Limit(1_000, "from the decision to the last process's end; the kernel needs some ms")
SANDBOX_PROBE_S = Limit(20, "an empty job takes 50 ms; a busy machine may take a hundred times as long")
SANDBOX_EGRESS_CONNECTIONS = Limit(
    32, "a package client opens ten; further ones wait in the listen queue of the job's own loopback"
)
COLLECT_FILES = Limit(1_000, "outputs of one build read back; a wheel build has one")
COLLECT_BYTES = Limit(512 << 20, "all outputs of one build together")
MAX_ARCHIVE_MEMBERS = Limit(20_000, "the largest pure package on the public index has 11,000 files")
MAX_UNPACKED_BYTES = Limit(
    512 << 20, "five times the largest archive of a pure package; a bomb is stopped here"
)
MAX_MEMBER_NAME_BYTES = Limit(
    1_024, "a quarter of the path length of common systems; real names stay below 250"
)
MAX_MEMBER_DEPTH = Limit(40, "the deepest real package nests 20 folders")
MAX_WORKER_RESULT_BYTES = Limit(8 << 20, "METADATA of 200 wheels in base64")
PLANS_AT_ONCE = Limit(2, "each runs a sandbox of its own; small machines have two cores")
MAX_HOOK_REQUIRES = Limit(200, "requirements that a backend may ask for; real ones ask for two or three")
INSPECT_WALL_S = Limit(120, "512 MiB through SHA-256 and inflate twice on a busy core")

# -- builds: maven --
MAX_MAVEN_LOCK_LINES = Limit(
    4_000, "a small Apache project reads 850 files of its repository, a large one 2,500"
)
MAX_MAVEN_LOCK_BYTES = Limit(1 << 20, "4,000 lines of 260 bytes")
MAX_MAVEN_FILE_BYTES = Limit(256 << 20, "the largest jar that builds commonly read, a compiler, has 60 MB")
MAX_MAVEN_PAGE_BYTES = Limit(4 << 20, "a project file or a list of versions; the largest seen has 400 KB")
MAX_MAVEN_PARENTS = Limit(4, "steps from a module to the project that was released as one source archive")
MAX_POM_FILES = Limit(2_000, "project files of one source archive; the largest Apache project has 700")
MAX_SETTINGS_BYTES = Limit(1 << 20, "a settings file of a company with its mirrors has some KB")

# -- builds: witnesses --
MAX_IMAGE_DOCUMENT_BYTES = Limit(
    4 << 20, "what registries take of a manifest, as the OCI specification advises"
)
MAX_WITNESSED_FILES = Limit(
    24, "of one package: an image of 20 layers, or one wheel for each Python; a reveal names each"
)

# -- sources --
MAX_BUILDSPEC_BYTES = Limit(65_536, "the longest of 12,000 published ones has a few hundred lines")

# -- serve --
MAX_HTTP_HEAD_BYTES = Limit(
    32_768, "browsers and proxies stay under 16 KiB; the parser itself would take megabytes"
)
MAX_HTTP_HEADERS = Limit(100, "a real client sends about ten; proxies add a few")
MAX_SUBMIT_ENTRIES = Limit(
    256, "a client's batch is a quarter of a block, so that none fills one alone; more would save little"
)
MAX_SUBMIT_BYTES = Limit(1 << 20, "such a batch of ordinary entries twice over; two full blocks")
MAX_HTTP_BODY_BYTES = Limit(
    1_048_576, "the largest body that a route takes by default; an entry is 60,000 bytes"
)
MAX_HTTP_CONNECTIONS = Limit(1_024, "at 5 KB each the whole table costs less than one slow reader elsewhere")
MAX_HTTP_CONTROL_CONNECTIONS = Limit(
    64, "a place of their own, so that strangers cannot lock the operator out"
)
MAX_HTTP_PIPELINE = Limit(
    64, "requests read ahead of the one being answered; more are left for another connection"
)
MAX_HTTP_HEAD_WAIT_S = Limit(30, "from the first byte of a head to its last; a head is one packet")
MAX_HTTP_IDLE_S = Limit(
    60, "without one byte of progress either way; a slow transfer that moves is never cut"
)
MAX_HTTP_KEEP_ALIVE_S = Limit(75, "between two requests; longer than the pause of any package client")
MAX_HTTP_LINGER_S = Limit(
    5, "to let a refused sender read why before the connection is reset; most close at once"
)
MAX_HTTP_LINGER_BYTES = Limit(
    64 << 20,
    "bytes of a refused body that are read and dropped before the close: what fits into 5 s of a fast network",
)
MAX_HTTP_READ_BYTES = Limit(
    65_536, "one read from a socket: what a request may hold in memory beyond its head"
)
MAX_HTTP_BODY_READ_BYTES = Limit(
    262_144, "the same once a body is wanted: a third of the time of 64 KiB for an upload of gigabytes"
)
MAX_SENDFILE_BYTES = Limit(
    262_144, "one call; beside four fast downloads a small answer waits half as long as with twice as much"
)
MAX_PAGE_CACHE = Limit(256, "rendered index pages kept for one state of the log")
MAX_API_ROWS = Limit(1_000, "entries in one answer; more is a second page")
MAX_WHERE = Limit(16, "conditions of one question: more than anybody has about one record")
MAX_HTTP_FETCH_WAIT_S = Limit(
    120, "for peers to bring a file: a large wheel over a slow link; clients give up sooner and ask again"
)
MAX_SEARCH_CHARS = Limit(200, "the longest names of packages; what stands behind is not looked for")
MAX_SEARCH_ROWS = Limit(200, "packages in one answer to a search; who sees more writes more letters")
MAX_CONAN_MANIFEST_BYTES = Limit(4 << 20, "a line for each file of a package: 40,000 of them")
MAX_CONAN_INFO_BYTES = Limit(65_536, "a conaninfo.txt has 1 KB: settings, options and requirements")
MAX_CONTROL_PATH_BYTES = Limit(
    100, "a Unix socket address holds 108 bytes; the rest is for the temporary name"
)

# -- node, cli, demo --
MAX_CONTENTS_BYTES = Limit(
    24 << 20, "the list of 20,000 members of a file, each with the longest name that is taken"
)
MAX_FILE_BYTES = Limit(512 << 20, "the largest file that builders publish")
MAX_PROOF_EXTRA_BYTES = Limit(768 << 10, "what is left of a proof file of 1 MiB after base64")
MAX_PROOF_LEAVES = Limit(
    400, "request, draw, verdict, artifact, and commit and reveal of at most 100 builders twice"
)
MAX_HISTORY_LEAVES = Limit(20_000, "all that ever happened to one package: a busy one has some tens a day")
MAX_HISTORY_BYTES = Limit(32 << 20, "20,000 leaves of 800 bytes, and twice that; a node makes it in memory")
MAX_PROOF_AGE_S = Limit(365 * 86_400, "a year: whoever keeps a file longer can fetch a newer proof beside it")
MAX_FACTS_TOLD = Limit(500, "facts in one order: half a megabyte of entries, some blocks of a small network")
MAX_ADVISORIES_TOLD = Limit(
    2_000,
    "advisories whose packages an order names whole: those of 500 facts, and records that came to no fact",
)
MAX_AFFECTED = Limit(1_000, "packages of one advisory: one about a monorepo names two hundred")
MAX_DOCUMENT_BYTES = Limit(
    64 << 20, "an SBOM of 100,000 components with their licences; longer ones are of several things"
)
MAX_FACTS_BYTES = Limit(
    8 << 20,
    "500 facts of 16 KB as people write them: far above an advisory with its ranges and its paragraph",
)
MAX_AUDIT_BYTES = Limit(1 << 20, "1,000 purls of 300 characters, three times over")
MAX_FILES_SOUGHT = Limit(
    50_000, "newest files of a package among which those of one version are sought: a second, in turns"
)
MAX_OVERVIEW_VERSIONS = Limit(
    200, "of one package in an answer, the newest: half a MB; each other one is asked for by its own purl"
)
MAX_CALL_FACTS = Limit(100, "facts in one call of a webhook: an import of thousands is some dozens of calls")
MAX_WEBHOOKS = Limit(16, "servers that a node tells of facts: a chat, a tracker, a scanner, some teams' own")
MAX_AUDITED = Limit(1_000, "versions asked about at once: half a second of one node's loop, in turns")
MAX_LIST_BYTES = Limit(8 << 20, "a lock file of a thousand packages with all their hashes is 2 MB")
MAX_IMPORTED = Limit(500_000, "of one import: every record of every ecosystem, and a third more")
SPELLINGS_KNOWN = Limit(16_384, "names of one export: a package stands in some records, 4 MB")

MAX_PAYLOAD_BYTES = Limit(4_096, "of a broadcast: a page of text; what is larger is announced and fetched")
MAX_MAIL_BYTES = Limit(32_768, "of a message: ten pages; it is no way to send files")
MAX_LETTER_BODY_BYTES = Limit(
    6 * MAX_MAIL_BYTES.value + 4_096,
    "the longest text with six bytes of JSON for each of its own, as escapes have it, and what stands around it",
)
MAX_FACTS_ORDER_BYTES = Limit(900_000, "of one order, below the megabyte that a request may have")
MAX_OSV_RECORD_BYTES = Limit(
    8 << 20, "one record; the longest of public exports have 2 MB, a list of versions"
)
SUBMIT_RESEND_S = Limit(
    2, "two views of a dead leader pass in this time; asking more often only repeats the bytes"
)
SUBMIT_ANSWER_S = Limit(5, "a validator answers from memory; what takes longer is a dead link")
SUBMIT_PUSHBACK_S = Limit(60, "the longest that one validator's word `busy` keeps us from asking it again")
