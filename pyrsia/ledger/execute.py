"""The replicated state machine: one block in, its leaves and its writes out.

A pure function of the block and the state before it. Decides which authored entries apply, what is
derived from them and from the passing of block time, and in which order. Consensus decides which block
it is; `chain` decides whether a header tells the truth about the outcome.

Order of a block's leaves: authored entries, derived entries (at most 256, the rest waits in the state's
queue), `block.seal` last. A block without entries and without anything due has no leaf and writes nothing.

Source: docs/ledger.md, "A block", "The draw", "The verdict".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.ledger import beacon, draw, entries, state, verdict
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import Reads, View
from pyrsia.units import (
    COMMIT_WINDOW_MS,
    KEEP_BUILDERS_MS,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_ENTRIES,
    MAX_CACHED_BYTES,
    MAX_DERIVED,
    MAX_EXPIRED,
    MAX_OPEN_REQUESTS,
    MAX_UNTIL_MS,
    REVEAL_WINDOW_MS,
)
from pyrsia.wire import canonical, purl
from pyrsia.wire.text import b32, unb32

Verify = Callable[[bytes, bytes, bytes], bool]

HOUR_MS: Final = 3_600_000
_DAY_S: Final = 86_400
EVERY_MEMBER: Final = "member"  # the role of `limits` that all members have
_INDEX_ROOT: Final = "00" * 32  # the trees of the verifiable index come later
_TYPES: Final = {"pip": "pypi"}  # ecosystem -> purl type


@dataclass(frozen=True, slots=True)
class BlockIn:
    """What execution needs of a block. `parent_beacon` and `first_leaf` speak of the log before it."""

    height: int
    epoch: int
    view: int
    time_ms: int
    proposer: int
    reveal: bytes
    entries: tuple[bytes, ...]
    first_leaf: int
    parent_beacon: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that does not apply. `later`: the state may come to allow it before its `until`."""

    raw: bytes
    code: str
    why: str
    later: bool


@dataclass(frozen=True, slots=True)
class Executed:
    """A block's outcome. `applied` are the entries that stand, in order; `ids` theirs."""

    leaves: tuple[bytes, ...]
    writes: dict[bytes, bytes | None]
    refused: tuple[Refused, ...]
    applied: tuple[bytes, ...]
    ids: tuple[bytes, ...]
    beacon: bytes
    sealed: bool


class NotApplied(Exception):  # (an answer, not an error: it never leaves this module's callers)
    """Why an entry may not stand in this block."""

    def __init__(self, why: str, *, later: bool = False, code: str = "entry-refused") -> None:
        super().__init__(why)
        self.why = why
        self.later = later
        self.code = code


class Parses:
    """Entries parsed and signature-checked once, by their bytes; bounded."""

    def __init__(self, verify: Verify, most: int) -> None:
        self._verify = verify
        self._most = most
        self._known: dict[bytes, Entry] = {}
        self._bytes = 0

    def __call__(self, raw: bytes) -> Entry:
        """The entry, its signature checked.

        Raises:
            Malformed: no authored entry, or its signature does not hold.
        """
        found = self._known.get(raw)
        if found is None:
            found = entries.parse(raw)
            if not found.signature_holds(self._verify):
                raise Malformed("not signed by its author")
            self.know(found)
        return found

    def know(self, entry: Entry) -> None:
        """Remember an entry whose signature the caller has checked."""
        if entry.raw in self._known:
            return
        self._known[entry.raw] = entry
        self._bytes += len(entry.raw)
        while len(self._known) > self._most or self._bytes > MAX_CACHED_BYTES.value:
            oldest = next(iter(self._known))
            self._bytes -= len(oldest)
            del self._known[oldest]


def execute(block: BlockIn, reads: Reads, genesis: Genesis, parse: Callable[[bytes], Entry]) -> Executed:
    """Execute `block` on the state behind `reads`.

    Entries that do not apply are left out and listed in `refused`; whether that spoils the block is the
    caller's decision. `parse` gives checked entries (`Parses`).
    """
    run = _Run(block, reads, genesis)
    if block.height == 0:
        return run.found()
    size = 0
    for raw in block.entries:
        try:
            size += len(raw)
            if size > MAX_BLOCK_BYTES.value or len(run.applied) >= MAX_BLOCK_ENTRIES.value:
                raise NotApplied("the block is full", later=True)
            run.apply(parse(raw))
        except Malformed as error:
            run.refused.append(Refused(raw, "entry-refused", str(error), False))
        except NotApplied as no:
            run.refused.append(Refused(raw, no.code, no.why, no.later))
    if not run.applied and not due(reads, block.time_ms):
        return Executed((), {}, tuple(run.refused), (), (), block.parent_beacon, False)
    return run.seal()


def due(reads: Reads, time_ms: int) -> bool:
    """Whether the state wants a sealed block at `time_ms`: a draw, a deadline or queued derived work."""
    view = View(reads)
    buckets = view.get(state.DUE, [])
    queue = view.get(state.QUEUE, {"end": 0, "first": 0})
    return (
        bool(view.get(state.WAITING, []))
        or queue["first"] < queue["end"]
        or bool(buckets and buckets[0] * state.DUE_MS <= time_ms)
    )


def admit(entry: Entry, reads: Reads, genesis: Genesis, time_ms: int) -> None:
    """Whether `entry` could stand in a block on this state, its signature aside.

    Raises:
        NotApplied: it could not; `later` says whether that may change.
    """
    block = BlockIn(1, 0, 0, time_ms, 0, beacon.ZERO, (), 0, beacon.ZERO)
    _Run(block, reads, genesis).apply(entry)


def gate_open(request: dict[str, Any], genesis: Genesis, time_ms: int) -> bool:
    """Whether reveals count: K commits, or at least T once the commit deadline has passed."""
    if not request["draws"]:
        return False
    drawn = request["draws"][-1]["body"]
    commits = len(_this_round(request, "commits"))
    return commits >= len(drawn["builders"]) or (
        commits >= genesis.agreeing and time_ms > drawn["commit_deadline"]
    )


def _this_round(request: dict[str, Any], what: str) -> list[dict[str, Any]]:
    return [item for item in request[what] if item["round"] == request["round"]]


def _open_key(body: dict[str, Any]) -> str:
    return (
        "unique/"
        + blake3(canonical.encode([body["purl"], body["source"]["sha256"], body["target"]])).hexdigest()
    )


def _kept_key(body: dict[str, Any]) -> str:
    return "kept/" + blake3(canonical.encode([body["purl"], body["source"]["sha256"]])).hexdigest()


class _Run:
    """One block being executed. Handlers check everything before they write anything."""

    def __init__(self, block: BlockIn, reads: Reads, genesis: Genesis) -> None:
        self._block = block
        self._genesis = genesis
        self._view = View(reads)
        self._now = block.time_ms
        self.applied: list[bytes] = []
        self.refused: list[Refused] = []
        self._ids: list[bytes] = []
        self._derived: list[bytes] = []
        self._quotas: dict[bytes, dict[str, int]] = {}
        self._fresh: dict[int, list[str]] = {}  # bucket -> ids of this block
        self._seen: set[bytes] = set()

    # -- block 0 --

    def found(self) -> Executed:
        """Members, their chains and the network's numbers enter the state."""
        genesis = self._genesis
        place = {member.node: index for index, member in enumerate(genesis.validators)}
        for fields, member in zip(genesis.body["members"], genesis.members, strict=True):
            self._view.put(f"member/{member.text}", {**fields, "index": place.get(member.node, 65_535)})
        for index, member in enumerate(genesis.validators):
            self._view.put(f"link/{index:05}", {"link": member.chain_end.hex(), "next": 0})
        numbers = {name: value for name, value in genesis.body.items() if name != "members"}
        self._view.put(state.CONFIG, numbers)
        seal = self._sealed(1)
        return Executed((genesis.raw, seal), self._view.writes, (), (), (), self._block.parent_beacon, True)

    # -- authored entries --

    def apply(self, entry: Entry) -> None:
        block, view = self._block, self._view
        if entry.author is None or entry.net != self._genesis.net:
            raise NotApplied("not an authored entry of this network")
        if not block.time_ms <= entry.until_ms <= block.time_ms + MAX_UNTIL_MS.value:
            late = entry.until_ms < block.time_ms
            raise NotApplied(
                "its time is over" if late else "its `until` is more than 24 hours ahead", later=not late
            )
        member = self._genesis.member(entry.author)
        if member is None:
            raise NotApplied("its author is not a member")
        if entry.id in self._seen or view.raw(f"id/{entry.id.hex()}") is not None:
            raise NotApplied("it stands in the log already")
        quota = self._quota(entry.author)
        most = max((self._genesis.limits.get(role, 0) for role in (*member.roles, EVERY_MEMBER)), default=0)
        if quota["used"] >= most:
            raise NotApplied(f"its author has used its {most} entries of this hour", later=True, code="busy")
        handler = _HANDLERS.get(entry.kind)
        if handler is not None:
            handler(self, entry, b32(entry.author), block.first_leaf + len(self.applied))
        quota["used"] += 1
        self._quotas[entry.author] = quota  # only now: what is left out must leave no trace in the writes
        self._seen.add(entry.id)
        self._fresh.setdefault(entry.until_ms // state.BUCKET_MS, []).append(entry.id.hex())
        self._ids.append(entry.id)
        self.applied.append(entry.raw)

    def _quota(self, author: bytes) -> dict[str, int]:
        quota = self._quotas.get(author)
        if quota is None:
            hour = self._now // HOUR_MS
            quota = self._view.get(f"quota/{b32(author)}")
            if quota is None or quota["hour"] != hour:
                quota = {"hour": hour, "used": 0}
        return quota

    def _request(self, entry: Entry, author: str, leaf: int) -> None:
        body, view, genesis = entry.body, self._view, self._genesis
        if body["requester"] != author:
            raise NotApplied("the requester is not its author")
        coordinates, recipe = body["coordinates"], body["recipe"]
        kind = _TYPES.get(body["ecosystem"])
        if kind is None:
            raise NotApplied(f"the ecosystem {body['ecosystem']} is not built here")
        if purl.Purl(kind, "", coordinates["name"], coordinates["version"]) != purl.parse(body["purl"]):
            raise NotApplied("purl and coordinates name different packages")
        if recipe["environment"] not in genesis.environments:
            raise NotApplied("its environment is not admitted by this network")
        if recipe["cutoff_ms"] > self._now or recipe["sde"] > self._now // 1000 + _DAY_S:
            raise NotApplied("its recipe lies in the future", later=True)
        assert entry.author is not None  # noqa: S101  (apply has checked it)
        able = draw.operators(draw.capable(genesis, body["ecosystem"], entry.author))
        if able < genesis.builders:
            raise NotApplied(
                f"{able} operators other than the requester's can build {body['ecosystem']}, "
                f"{genesis.builders} are needed",
                code="too-few-builders",
            )
        unique = _open_key(body)
        if view.raw(unique) is not None:
            raise NotApplied(
                "the same package, source and target is being built", later=True, code="conflict"
            )
        opened = view.get(state.OPEN, [])
        if len(opened) >= MAX_OPEN_REQUESTS.value:
            raise NotApplied(f"{len(opened)} requests are open already", later=True, code="busy")
        request = entry.id.hex()
        view.put(unique, request)
        view.put(state.OPEN, [*opened, request])
        count = view.get(state.RECENT, 0)
        view.put(f"recent/{count:016}", request)
        view.put(state.RECENT, count + 1)
        record: dict[str, Any] = {
            "author": author,
            "body": body,
            "commits": [],
            "draws": [],
            "leaf": leaf,
            "phase": "open",
            "reveals": [],
            "round": 0,
            "time_ms": self._now,
        }
        view.put(f"request/{request}", record)
        self._wait(request)

    def _cancel(self, entry: Entry, author: str, leaf: int) -> None:
        request = entry.body["request"]
        record = self._found(request)
        if record["author"] != author:
            raise NotApplied("only the requester can cancel")
        if record["phase"] != "open" or record["draws"]:
            raise NotApplied("after the draw a request cannot be cancelled")
        record["cancel"] = {"leaf": leaf}
        self._close(request, record, "cancelled")

    def _commit(self, entry: Entry, author: str, leaf: int) -> None:
        request = entry.body["request"]
        record = self._found(request)
        drawn = self._drawn(record, author)
        if any(item["builder"] == author for item in _this_round(record, "commits")):
            raise NotApplied("this builder has committed already")
        if self._now > drawn["commit_deadline"]:
            raise NotApplied("the commit deadline has passed")
        if _this_round(record, "reveals"):
            raise NotApplied("a reveal stands in the log: a commit now could be a copy")
        record["commits"].append(
            {
                "builder": author,
                "commitment": entry.body["commitment"],
                "leaf": leaf,
                "round": record["round"],
            }
        )
        if gate_open(record, self._genesis, self._now):
            record["phase"] = "revealing"
        self._view.put(f"request/{request}", record)

    def _reveal(self, entry: Entry, author: str, leaf: int) -> None:
        body, request = entry.body, entry.body["request"]
        record = self._found(request)
        drawn = self._drawn(record, author)
        mine = [item for item in _this_round(record, "commits") if item["builder"] == author]
        if not mine:
            raise NotApplied("this builder has not committed", later=True)
        if any(item["builder"] == author for item in _this_round(record, "reveals")):
            raise NotApplied("this builder has revealed already")
        if not gate_open(record, self._genesis, self._now):
            raise NotApplied("the other builders have not committed yet", later=True)
        if self._now > drawn["reveal_deadline"]:
            raise NotApplied("the reveal deadline has passed")
        assert entry.author is not None  # noqa: S101  (apply has checked it)
        if entries.commitment(bytes.fromhex(request), entry.author, body).hex() != mine[0]["commitment"]:
            raise NotApplied("it does not open this builder's commitment")
        number = record["round"]
        record["reveals"].append({"builder": author, "leaf": leaf, "round": number})
        record["phase"] = "revealing"
        self._view.put(f"reveal/{request}/{number}/{author}", body)
        if len(_this_round(record, "reveals")) == len(drawn["builders"]) or (
            self._now > drawn["commit_deadline"]
            and len(_this_round(record, "reveals")) == len(_this_round(record, "commits"))
        ):
            record["phase"] = "settling"
            self._enqueue("settle", request)
        self._view.put(f"request/{request}", record)

    def _found(self, request: str) -> dict[str, Any]:
        record = self._view.get(f"request/{request}")
        if record is None:
            raise NotApplied("the log has no such request", later=True)
        found: dict[str, Any] = record
        return found

    def _drawn(self, record: dict[str, Any], author: str) -> dict[str, Any]:
        if record["phase"] == "open":
            raise NotApplied("its builders are not drawn yet", later=True)
        drawn: dict[str, Any] = record["draws"][-1]["body"] if record["draws"] else {"builders": []}
        if author not in drawn["builders"]:
            raise NotApplied("its author was not drawn for this request")
        if record["phase"] not in ("drawn", "revealing"):
            raise NotApplied("this request is settled")
        return drawn

    # -- what waits for preimages, deadlines and its turn --

    def _wait(self, request: str) -> None:
        """Wait for the preimages of the first f + 1 distinct proposers after this block."""
        height = self._block.height
        heights = self._view.get(state.WAITING, [])
        group = self._view.get(f"waiting/{height}", {"requests": [], "reveals": []})
        group["requests"].append(request)
        self._view.put(f"waiting/{height}", group)
        if height not in heights:
            self._view.put(state.WAITING, [*heights, height])

    def _collect(self) -> None:
        """Give this block's preimage to every group before it; complete groups are drawn."""
        block, view = self._block, self._view
        heights = view.get(state.WAITING, [])
        left: list[int] = []
        for height in heights:
            if height == block.height:
                left.append(height)
                continue
            group = view.get(f"waiting/{height}")
            if all(proposer != block.proposer for proposer, _ in group["reveals"]):
                group["reveals"].append([block.proposer, block.reveal.hex()])
            if len(group["reveals"]) <= self._genesis.f:
                view.put(f"waiting/{height}", group)
                left.append(height)
                continue
            seed = draw.seed([bytes.fromhex(reveal) for _, reveal in group["reveals"]]).hex()
            for request in group["requests"]:
                self._enqueue("draw", request, seed)
            view.delete(f"waiting/{height}")
        if left != heights:
            view.put(state.WAITING, left)

    def _remind(self, request: str, after_ms: int) -> None:
        """Look at `request` in the first block later than `after_ms`."""
        bucket = after_ms // state.DUE_MS + 1
        view = self._view
        view.put(f"due/{bucket}", [*view.get(f"due/{bucket}", []), request])
        buckets = view.get(state.DUE, [])
        if bucket not in buckets:
            view.put(state.DUE, sorted([*buckets, bucket]))

    def _deadlines(self) -> None:
        view = self._view
        buckets = view.get(state.DUE, [])
        passed = [bucket for bucket in buckets if bucket * state.DUE_MS <= self._now]
        for bucket in passed:
            for request in view.get(f"due/{bucket}", []):
                self._deadline(request)
            view.delete(f"due/{bucket}")
        if passed:
            view.put(state.DUE, buckets[len(passed) :])

    def _deadline(self, request: str) -> None:
        record = self._view.get(f"request/{request}")
        if record["phase"] not in ("drawn", "revealing"):
            return
        drawn = record["draws"][-1]["body"]
        commits, reveals = _this_round(record, "commits"), _this_round(record, "reveals")
        if self._now <= drawn["commit_deadline"]:
            return  # a reminder of the first round
        if (
            self._now > drawn["reveal_deadline"]
            or len(commits) < self._genesis.agreeing
            or len(reveals) == len(commits)
        ):
            record["phase"] = "settling"
            self._enqueue("settle", request)
        else:
            record["phase"] = "revealing"
        self._view.put(f"request/{request}", record)

    def _enqueue(self, what: str, request: str, seed: str = "") -> None:
        queue = self._view.get(state.QUEUE, {"end": 0, "first": 0})
        self._view.put(f"queue/{queue['end']:016}", {"do": what, "request": request, "seed": seed})
        self._view.put(state.QUEUE, {"end": queue["end"] + 1, "first": queue["first"]})

    def _work(self) -> None:
        """Derived entries in queue order. One job makes at most two, so room for two is asked for."""
        view = self._view
        queue = view.get(state.QUEUE, {"end": 0, "first": 0})
        first = queue["first"]
        while first < queue["end"] and len(self._derived) + 2 <= MAX_DERIVED.value:
            key = f"queue/{first:016}"
            job = view.get(key)
            view.delete(key)
            first += 1
            record = view.get(f"request/{job['request']}")
            if job["do"] == "draw":
                self._draw(job["request"], record, job["seed"])
            else:
                self._settle(job["request"], record)
        if first != queue["first"]:
            view.put(state.QUEUE, {"end": queue["end"], "first": first})

    def _derive(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        leaf = self._block.first_leaf + len(self.applied) + len(self._derived)
        self._derived.append(entries.derive(kind, body, net=self._genesis.net))
        return {"body": body, "leaf": leaf}

    def _draw(self, request: str, record: dict[str, Any], seed: str) -> None:
        if record["phase"] != "open":
            return  # cancelled while it waited
        body, genesis, view = record["body"], self._genesis, self._view
        requester = genesis.member(unb32(record["author"]))
        able = draw.capable(genesis, body["ecosystem"], requester.node if requester else b"")
        kept = view.get(_kept_key(body), {"builders": [], "time_ms": 0})
        recent = kept["time_ms"] + KEEP_BUILDERS_MS.value >= self._now
        silent: list[str] = []
        if record["round"]:
            answered = {item["builder"] for item in record["reveals"]}
            silent = [node for node in record["draws"][0]["body"]["builders"] if node not in answered]
        builders = draw.rank(
            bytes.fromhex(request),
            bytes.fromhex(seed),
            able,
            genesis.builders,
            first=kept["builders"] if recent and not record["round"] else (),
            last=silent,
        )
        commit_by = self._now + COMMIT_WINDOW_MS.value
        drawn = {
            "beacon": seed,
            "builders": builders,
            "commit_deadline": commit_by,
            "request": request,
            "reveal_deadline": commit_by + REVEAL_WINDOW_MS.value,
            "round": record["round"],
        }
        record["draws"].append(self._derive("build.draw", drawn))
        record["phase"] = "drawn"
        view.put(f"request/{request}", record)
        if not record["round"]:
            began = kept["time_ms"] if recent else self._now
            view.put(_kept_key(body), {"builders": builders, "time_ms": began})
        self._remind(request, commit_by)
        self._remind(request, commit_by + REVEAL_WINDOW_MS.value)

    def _settle(self, request: str, record: dict[str, Any]) -> None:
        body, genesis, view = record["body"], self._genesis, self._view
        number = record["round"]
        reveals = {
            item["builder"]: view.get(f"reveal/{request}/{number}/{item['builder']}")
            for item in _this_round(record, "reveals")
        }
        rules = verdict.Rules(
            agreeing=genesis.agreeing,
            lock_sha256=body["lock"]["sha256"],
            environment=body["recipe"]["environment"],
            min_isolation=genesis.min_isolation,
            operator_of={member.text: member.operator for member in genesis.members},
        )
        outcome = verdict.decide(record["draws"][-1]["body"]["builders"], reveals, rules)
        if outcome.verdict == "INSUFFICIENT" and outcome.silent and number == 0:
            record["round"] = 1  # the only second draw
            record["phase"] = "open"
            view.put(f"request/{request}", record)
            self._wait(request)
            return
        dissenting = [{"builder": node, "why": why} for node, why in outcome.dissenting]
        said = {
            "agreeing": list(outcome.agreeing),
            "dissenting": dissenting,
            "purl": body["purl"],
            "request": request,
            "silent": list(outcome.silent),
            "source_sha256": body["source"]["sha256"],
            "verdict": outcome.verdict,
        }
        record["verdict"] = self._derive("build.verdict", said)
        if outcome.served is not None:
            artifact = {
                **outcome.served,
                "agreeing": list(outcome.agreeing),
                "dissenting": dissenting,
                "purl": body["purl"],
                "request": request,
                "source_sha256": body["source"]["sha256"],
                "time_ms": self._now,
            }
            record["artifact"] = self._derive("artifact.add", artifact)
            self._publish(record["artifact"])
        self._close(request, record, "done")

    def _publish(self, artifact: dict[str, Any]) -> None:
        """Into the project's list; the first file of a purl is the one that is served, for ever."""
        view, body = self._view, artifact["body"]
        name = str(purl.parse(body["purl"]).versionless)
        count = view.get(f"project/{name}", 0)
        if count == 0:
            projects = view.get(state.PROJECTS, 0)
            view.put(f"projects/{projects:016}", name)
            view.put(state.PROJECTS, projects + 1)
        served = view.raw(f"served/{body['purl']}") is None
        view.put(f"project/{name}/{count:016}", {**artifact, "served": served})
        view.put(f"project/{name}", count + 1)
        if served:
            view.put(f"served/{body['purl']}", body["sha256"])
        if view.raw(f"artifact/{body['sha256']}") is None:
            view.put(f"artifact/{body['sha256']}", artifact)

    def _close(self, request: str, record: dict[str, Any], phase: str) -> None:
        view = self._view
        record["phase"] = phase
        view.put(f"request/{request}", record)
        view.delete(_open_key(record["body"]))
        view.put(state.OPEN, [other for other in view.get(state.OPEN, []) if other != request])

    # -- the seal --

    def seal(self) -> Executed:
        block = self._block
        self._collect()
        self._deadlines()
        self._work()
        self._remember()
        now = beacon.mix(block.parent_beacon, block.reveal)
        at = beacon.position(block.view, self._genesis.n)
        self._view.put(f"link/{block.proposer:05}", {"link": block.reveal.hex(), "next": at + 1})
        leaves = [*self.applied, *self._derived]
        leaves.append(self._sealed(len(leaves), now))
        return Executed(
            tuple(leaves),
            self._view.writes,
            tuple(self.refused),
            tuple(self.applied),
            tuple(self._ids),
            now,
            True,
        )

    def _remember(self) -> None:
        """Quotas, and the ids of this block until their time is over; a bounded number is forgotten."""
        view = self._view
        for author, quota in self._quotas.items():
            view.put(f"quota/{b32(author)}", quota)
        for bucket in sorted(self._fresh):
            ids = self._fresh[bucket]
            for name in ids:
                view.put(f"id/{name}", 1)
            count = view.get(f"ids/{bucket}", 0)
            view.put(f"ids/{bucket}/{count}", ids)
            view.put(f"ids/{bucket}", count + 1)
        self._forget()

    def _forget(self) -> None:
        view = self._view
        current = self._now // state.BUCKET_MS
        before = view.get(state.IDS, current)
        bucket, budget = before, MAX_EXPIRED.value
        # An id lies at most a day ahead of its block, so after a long pause old buckets end by themselves;
        # an empty one costs a read, a day of them 144.
        while bucket < current and budget > 0:
            count = view.get(f"ids/{bucket}", 0)
            while count and budget > 0:
                count -= 1
                for name in view.get(f"ids/{bucket}/{count}", []):
                    view.delete(f"id/{name}")
                    budget -= 1
                view.delete(f"ids/{bucket}/{count}")
                view.put(f"ids/{bucket}", count)
            if count == 0:
                if view.raw(f"ids/{bucket}") is not None:
                    view.delete(f"ids/{bucket}")
                bucket += 1
                budget -= 1
        if bucket != before or view.raw(state.IDS) is None:
            view.put(state.IDS, bucket)

    def _sealed(self, count: int, now: bytes | None = None) -> bytes:
        """The seal over everything written before it; the newest chain facts are written first."""
        block, view = self._block, self._view
        mixed = (block.parent_beacon if now is None else now).hex()
        view.put(state.CHAIN, {"beacon": mixed, "height": block.height, "time_ms": block.time_ms})
        previous = bytes.fromhex(view.get(state.ROOT, "00" * 32))
        root = state.next_root(previous, view.writes).hex()
        view.put(state.ROOT, root)
        body = {
            "beacon": mixed,
            "epoch": block.epoch,
            "first_leaf": block.first_leaf,
            "height": block.height,
            "index_root": _INDEX_ROOT,
            "proposer": block.proposer,
            "reveal": block.reveal.hex(),
            "state_root": root,
            "time_ms": block.time_ms,
            "view": block.view,
        }
        return entries.derive("block.seal", body, net=self._genesis.net)


_HANDLERS: Final[dict[str, Callable[[_Run, Entry, str, int], None]]] = {
    "build.request": _Run._request,
    "build.cancel": _Run._cancel,
    "build.commit": _Run._commit,
    "build.reveal": _Run._reveal,
}
