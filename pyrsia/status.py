"""Frozen snapshots of a node: what the dashboard, the API and the tests read.

Pure data with one codec. A snapshot owns no connection and is never updated; a new one replaces it.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import msgspec


class LogStatus(msgspec.Struct, frozen=True):
    """The log as this node holds it. `root` is 64 hex digits; times are POSIX milliseconds."""

    size: int
    root: str
    height: int
    view: int
    time_ms: int
    checkpoint_size: int = 0  # newest size that a quorum has cosigned
    checkpoint_time_s: int = 0
    cosigned: int = 0
    validators: int = 0


class AgreementStatus(msgspec.Struct, frozen=True):
    """Where agreement stands. `part` is exactly `votes`, `asks` (before it may vote), `follows` or `halted`.

    `leader` is the name of the validator whose turn the view is, for a node that votes or asks; else empty.
    `dropped`: messages that were not looked at, by reason.
    """

    epoch: int
    view: int
    part: str
    leader: str = ""
    validators: int = 0
    quorum: int = 0
    convicted: int = 0
    dropped: dict[str, int] = {}


_PARTS = {
    "votes": "this node votes",
    "asks": "this node asks what it has signed before it votes",
    "follows": "this node follows",
    "halted": "agreement has ended here",
}


def decided_by(told: AgreementStatus) -> str:
    """Who decides now, and the node's part in it, in a sentence."""
    part = _PARTS.get(told.part, told.part)
    leader = f", {told.leader} leads view {told.view:,}" if told.leader else ""
    convicted = f", {told.convicted} of them convicted of a lie" if told.convicted else ""
    return f"epoch {told.epoch:,}: {told.quorum} of {told.validators} validators decide{convicted}; {part}{leader}"


class PeerStatus(msgspec.Struct, frozen=True):
    """One peer. Seconds and milliseconds are None while unknown: nobody sums up what is not there.

    Attributes:
        role: the log's roles with `+` between (`validator+builder`), `member` for none of them, `guest` for no member;
            `roles` are the same one by one.
        received_bytes, sent_bytes: over the control link that it has now.
        state: unknown, alive, suspect, dead or left: what this node believes (docs/mesh-membership.md).
        gone_s: how long it has been dead, or gone after it said goodbye.
        received_rate, sent_rate: bytes a second over the last ten seconds; of files, those received.
        version, log_size, load_ms: by its own word.
        score: points that it earned here, mostly lost ones; `reason` is that of the last loss, `faults` counts all.
        ignored: its score is so low that what it tells unasked is not read.
        known: by what we know it: log, configuration, record, our dial, its dial.
        suspected_by: nodes whose word is against it.
        refused_until_ms: until when it gets no connection for its faults; 0 where it gets one.
        leaving: by its own word it hands over what it keeps, to be stopped then (`pyrsia node drain`).
    """

    node_id: str
    name: str
    role: str
    address: str
    connected: bool
    rtt_ms: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    since_ms: int = 0
    state: str = "unknown"
    gone_s: float | None = None
    heard_s: float | None = None
    received_rate: int = 0
    sent_rate: int = 0
    version: str = ""
    log_size: int = 0
    load_ms: int | None = None
    score: float = 0.0
    ignored: bool = False
    reason: str = ""
    faults: dict[str, int] = {}
    roles: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    suspected_by: tuple[str, ...] = ()
    refused_until_ms: int = 0
    leaving: bool = False


_ROLES = ("validator", "builder", "storage", "issuer")


def roles_in_words(roles: Collection[str]) -> str:
    """What the log lets a node do, in one word: `validator+builder+storage`; empty for nothing."""
    return "+".join([role for role in _ROLES if role in roles] + sorted({*roles}.difference(_ROLES)))


def stands(state: str, leaving: bool) -> str:
    """How a peer stands, in one word: who hands over what it keeps is `leaving` for as long as it is there."""
    return "leaving" if leaving and state == "alive" else state


def seen_in_words(state: str, connected: bool, refused_until_ms: int = 0) -> str:
    """Whether a peer is there, of how it `stands`; that one who is there has a link is the rule, and not said."""
    if refused_until_ms:
        return f"refused until {datetime.fromtimestamp(refused_until_ms / 1000, UTC):%H:%M:%S} UTC"
    return f"{state}, no link" if state in ("alive", "leaving") and not connected else state


_ORDER = ("suspect", "dead", "leaving", "alive", "left", "unknown")


def look_first(state: str, ignored: bool, name: str) -> tuple[bool, int, str]:
    """Sorts peers for eyes: who is ignored, then who may be gone, or will be, then the others, each by name."""
    return not ignored, _ORDER.index(state) if state in _ORDER else len(_ORDER), name


GOOD = ("REPRODUCED", "EQUIVALENT")  # rebuilt from source by enough builders


class BuildStatus(msgspec.Struct, frozen=True):
    """One build request. `state` is open, drawn, committing, revealing or done.

    Attributes:
        ecosystem: the plug-in that it is for.
        file, sha256: of its first published file; `files` has the names of all.
        waits: what it waits for, in words; "" when it is done.
        served: whether clients get its files. The first file of a name under a purl stays, so those of a second build
            may not be; neither is what was withdrawn or is disputed. Told of one build, not in lists.
    """

    request: str
    purl: str
    state: str
    verdict: str = ""
    builders: tuple[str, ...] = ()
    committed: tuple[str, ...] = ()
    revealed: tuple[str, ...] = ()
    agreeing: tuple[str, ...] = ()
    dissenting: tuple[str, ...] = ()
    file: str = ""
    sha256: str = ""
    requested_ms: int = 0
    note: str = ""  # what this node itself does for it right now
    ecosystem: str = ""
    files: tuple[str, ...] = ()
    waits: str = ""
    served: bool = True


def in_words(verdict: str, agreeing: int) -> str:
    """What a verdict says, so that nobody takes what was merely fetched for what was rebuilt."""
    if verdict == "WITNESSED":
        return f"WITNESSED: same bytes seen by {agreeing} nodes, not rebuilt"
    return f"{verdict} by {agreeing} builders" if verdict in GOOD else verdict


class EntryStatus(msgspec.Struct, frozen=True):
    """One leaf of the log in a line."""

    index: int
    kind: str
    summary: str
    author: str = ""
    time_ms: int = 0


class TransferStatus(msgspec.Struct, frozen=True):
    """Counters of chunk transfer since the node started."""

    chunks_received: int = 0
    bytes_received: int = 0
    chunks_sent: int = 0
    bytes_sent: int = 0
    artifacts_built: int = 0
    artifacts_fetched: int = 0
    sources: dict[str, int] = {}  # peer -> bytes received


class UpstreamStatus(msgspec.Struct, frozen=True):
    """What comes from upstream unverified, since the node started.

    Attributes:
        modes: ecosystem -> `verified`, `verified+witnessed` or `proxy`; only the last asks upstream.
        asked: questions that went out. copied: answers from copies that were good.
        stale: answers from old copies, since upstream gave none. absent: answers that upstream has nothing.
        failed: questions without a usable answer. refused: files that were not what they should be.
        bytes_received: of its files and pages.
        kept_bytes: of copies, of at most quota_bytes; evicted: files that went to make room.
    """

    modes: dict[str, str] = {}
    asked: int = 0
    copied: int = 0
    stale: int = 0
    absent: int = 0
    failed: int = 0
    refused: int = 0
    bytes_received: int = 0
    kept_bytes: int = 0
    quota_bytes: int = 0
    evicted: int = 0


class DiskStatus(msgspec.Struct, frozen=True):
    """What artifacts take of this node's disk, in bytes, of what is allocated to them.

    Attributes:
        pinned: of `used`, what stays whatever happens.
        full: why nothing more is taken, "" while there is room. Told to the operator only, as notices are.
    """

    used: int = 0
    allocated: int = 0
    pinned: int = 0
    free: int = 0
    full: str = ""


class Swept(msgspec.Struct):
    """What one turn found, and did unless it was a dry run.

    Attributes:
        rows: without their file. known: files that the index knows again. removed: files that nobody knows.
        strange: names in the folder that are none of ours, which stay. strangers: the first of them, from the folder.
        at_s: when it ended, POSIX seconds. more: whether something was left for the next.
    """

    rows: int = 0
    known: int = 0
    removed: int = 0
    removed_bytes: int = 0
    partials: int = 0
    partial_bytes: int = 0
    manifests_gone: int = 0
    manifests_made: int = 0
    folders: int = 0
    strange: int = 0
    strangers: list[str] = []
    took_ms: int = 0
    at_s: int = 0
    dry: bool = False
    more: bool = False


def _count(number: int, what: str) -> str:
    """In words: `1 file`, `2 files`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class ReplicationStatus(msgspec.Struct, frozen=True):
    """What a storage member knows of the copies of what it keeps.

    Attributes:
        member: whether this node is a storage member; the rest of them is `members`, in `domains` failure domains.
        replicas: copies that the network can have of each blob.
        shards: of 4,096, how many this node keeps. under: of these, how many have fewer copies; known once `counted`.
        coming, lost: blobs that lack here and are being brought; that nobody gave when they were asked for.
        gone: node ids of members whose part others have taken over.
        full: whether the last blob found no room. leaving: whether this node hands over what it keeps.
    """

    member: bool = False
    members: int = 0
    domains: int = 0
    replicas: int = 0
    shards: int = 0
    counted: bool = False
    under: int = 0
    coming: int = 0
    lost: int = 0
    gone: tuple[str, ...] = ()
    full: bool = False
    leaving: bool = False

    def notice(self) -> str:
        """For the operator at a glance: an order that stands over restarts; "" without one."""
        if not self.leaving:
            return ""
        return (
            "storage: this node hands over what it keeps and takes nothing new: `pyrsia node drain` (--undo)"
        )

    def line(self) -> str:
        """In a line; empty in a network without storage members."""
        if not self.members:
            return ""
        if not self.member:
            return f"{self.members} storage members keep {self.replicas} copies; this node is none of them"
        if self.leaving:
            return "this node hands over what it keeps: pyrsia node drain says how far it is"
        if not self.counted:
            told = [f"{self.shards:,} shards here, copies elsewhere are not counted yet"]
        else:
            told = [f"{self.under:,} of {self.shards:,} shards under {self.replicas} copies"]
        told += [f"{_count(self.coming, 'file')} on the way here"] if self.coming else []
        told += [f"{_count(self.lost, 'file')} that nobody gives"] if self.lost else []
        told += [f"{_count(len(self.gone), 'member')} passed over"] if self.gone else []
        told += ["no room for more"] if self.full else []
        return "; ".join(told)


class Unplaced(msgspec.Struct, frozen=True):
    """A file of this node that is not kept elsewhere as often as it should be; `why`: who does not have it."""

    sha256: str
    size: int
    copies: int
    why: str


class DrainStatus(msgspec.Struct, frozen=True):
    """How far a node is with handing over what it keeps. `phase` is exactly `off`, `working`, `short` or `safe`.

    Attributes:
        files, bytes: what the log names and this node has. placed, placed_bytes: of it, what others keep as well.
        wanted: copies elsewhere of each; `possible`: as many as there are other living members to keep them.
        unplaced: some that are not placed. rounds: how often all of it was asked about.
    """

    phase: str = "off"
    files: int = 0
    bytes: int = 0
    placed: int = 0
    placed_bytes: int = 0
    wanted: int = 0
    possible: int = 0
    unplaced: tuple[Unplaced, ...] = ()
    rounds: int = 0

    def line(self) -> str:
        """In a sentence."""
        if self.phase == "off":
            return "this node is not being drained"
        done = f"{self.placed:,} of {self.files:,} files have {self.possible} copies elsewhere"
        if self.phase == "safe":
            return f"{done}: safe to stop"
        if self.phase == "short":
            return f"{done}, {self.wanted} are wanted: there are no more members to keep them"
        return f"{done}: do not stop it yet"


class NodeStatus(msgspec.Struct, frozen=True):
    """Everything at a glance; `role` is exactly `validator` or `follower`."""

    node_id: str
    name: str
    role: str
    network: str
    demo: bool
    version: str
    uptime_s: float
    isolation: str
    log: LogStatus
    peers: int
    peer_count_expected: int
    building: tuple[str, ...] = ()
    transfer: TransferStatus = TransferStatus()
    http: str = ""
    notices: tuple[str, ...] = ()
    agreement: AgreementStatus = AgreementStatus(0, 0, "follows")
    queue: tuple[str, ...] = ()  # builds that wait for their turn here, in their order
    upstream: UpstreamStatus = UpstreamStatus()
    disk: DiskStatus = DiskStatus()


class Snapshot(msgspec.Struct, frozen=True):
    """One refresh of the dashboard."""

    node: NodeStatus
    peers: tuple[PeerStatus, ...]
    builds: tuple[BuildStatus, ...]
    entries: tuple[EntryStatus, ...]


_ENCODER = msgspec.json.Encoder()
_SNAPSHOT = msgspec.json.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    return _ENCODER.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """Read `encode`'s bytes; raises `msgspec.ValidationError` for anything else."""
    return _SNAPSHOT.decode(data)


# -- witnesses --


class WatchedStatus(msgspec.Struct, frozen=True):
    """A log that this node cosigns: its keys, and the newest head that was cosigned (-1 before the first).

    `stopped`: why it is cosigned no more, empty while it is.
    """

    origin: str
    hash: str
    keys: tuple[str, ...]
    need: int
    size: int = -1
    root: str = ""
    time_s: int = 0
    evidence: int = 0
    stopped: str = ""


class OutsideStatus(msgspec.Struct, frozen=True):
    """A witness of other people that is asked for cosignatures: the size it signed last, what ails it."""

    vkey: str
    url: str
    size: int = -1
    time_s: int = 0
    trouble: str = ""


class WitnessStatus(msgspec.Struct, frozen=True):
    """What this node is as a witness (`vkey` is empty where it is none), and whom it asks.

    Attributes:
        origin: of the node's own log.
        stopped: why the key cosigns no more, empty if it does.
    """

    origin: str
    vkey: str
    stopped: str
    logs: tuple[WatchedStatus, ...]
    outside: tuple[OutsideStatus, ...]


class EvidenceRow(msgspec.Struct, frozen=True):
    """Two notes that the log signed; `kind` is fork, shrink or proof (docs/auditing.md, "Witness")."""

    kind: str
    time_s: int
    kept: str
    told: str


class EvidenceAnswer(msgspec.Struct, frozen=True):
    origin: str
    evidence: tuple[EvidenceRow, ...]


# -- members --


class StrikeStatus(msgspec.Struct, frozen=True):
    """A drawn builder kept others waiting. `word` is silent, withheld (both rank it last for a day) or unanswered."""

    time_ms: int
    ecosystem: str
    request: str
    word: str


class MemberStatus(msgspec.Struct, frozen=True):
    """One member as the log has it.

    Attributes:
        validates: whether it has a seat in the present epoch; `since_epoch`: the first epoch of that seat, -1 without.
        convicted: evidence against its vote key is on record, so that it leads no view.
        connected: whether this node has a link to it; None of a moment of the past, of which nobody knows that.
        keys: purpose -> public key in hex, of the roles that it has.
        strikes: the newest as a builder, oldest first; None of the past: no node keeps those that count no more.
    """

    node_id: str
    name: str
    operator: str
    domain: str
    roles: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    validates: bool = False
    since_epoch: int = -1
    convicted: bool = False
    connected: bool | None = False
    keys: dict[str, str] = {}
    strikes: tuple[StrikeStatus, ...] | None = ()


class MotionStatus(msgspec.Struct, frozen=True):
    """One motion. `phase` is open, awaits-acceptance, enacted or expired; members are told by name.

    Attributes:
        summary: what it does, in a sentence.
        approvals: present validators that approved; `needed` of them enact.
        missing: present validators that have not approved.
        accepts: the member that is to validate by it and has yet to accept; empty where nobody has.
        accepted: the member that has accepted its seat; empty where nobody has, or needs to.
        epoch: the epoch that it opened, -1 if none.
        decided: the leaf that enacted it, -1 before.
    """

    id: str
    kind: str
    summary: str
    phase: str
    author: str
    reason: str
    approvals: tuple[str, ...]
    missing: tuple[str, ...]
    needed: int
    accepts: str
    time_ms: int
    deadline_ms: int
    leaf: int
    accepted: str = ""
    decided: int = -1
    epoch: int = -1
    body: dict[str, Any] = {}


class MembersStatus(msgspec.Struct, frozen=True):
    """Everybody, and the motions that can be approved.

    Attributes:
        quorum: approvals that enact.
        size, time_ms: the moment of the past that it speaks of; -1 and 0: it speaks of now.
    """

    epoch: int
    validators: int
    quorum: int
    members: tuple[MemberStatus, ...]
    motions: tuple[MotionStatus, ...]
    size: int = -1
    time_ms: int = 0


class KeyStatus(msgspec.Struct, frozen=True):
    """One key of this node.

    Attributes:
        state: `in force`, `not in force` (the log names another, or none), `must not sign` or `to come` (made for a
            rotation that the members have yet to agree on).
        why: of `must not sign`.
    """

    purpose: str
    public: str
    state: str
    why: str = ""
