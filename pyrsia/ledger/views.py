"""Questions about the ledger's state, answered in plain values. Read only; the keys are `state`'s.

Everything here speaks of the state that `reads` shows; give it the final one.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyrsia.ledger import building, facts, motions, settling, state, strikes
from pyrsia.ledger import seats as seating
from pyrsia.ledger.genesis import RULES, Genesis
from pyrsia.ledger.index import Trees
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.standing import BUILT, PUBLISHED, artifact_key, names_key, status_key
from pyrsia.ledger.state import Reads, View, load
from pyrsia.wire import purl
from pyrsia.wire.epochs import Seats, Validator
from pyrsia.wire.text import b32


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry's body and its leaf index. `author` is the builder of a commit or reveal, else empty."""

    leaf: int
    body: dict[str, Any]
    author: str = ""
    round: int = 0


@dataclass(frozen=True, slots=True)
class RequestView:
    """One build request with everything that the log says about it.

    Attributes:
        state: open (not drawn), drawn (no commit yet), committing, revealing, done or cancelled.
        draws: one, or two after silent builders; the last one counts.
        commits, reveals: of both rounds, in log order; `round` tells them apart.
    """

    id: str
    state: str
    author: str
    time_ms: int
    request: Placed
    draws: tuple[Placed, ...]
    commits: tuple[Placed, ...]
    reveals: tuple[Placed, ...]
    verdict: Placed | None
    artifacts: tuple[Placed, ...]

    @property
    def artifact(self) -> Placed | None:
        """The first published file by name, None where nothing is published."""
        return self.artifacts[0] if self.artifacts else None

    @property
    def draw(self) -> Placed | None:
        return self.draws[-1] if self.draws else None

    @property
    def round(self) -> int:
        return self.draws[-1].round if self.draws else 0

    @property
    def leaves(self) -> tuple[int, ...]:
        """Leaf indices of all of it, in log order."""
        placed = [self.request, *self.draws, *self.commits, *self.reveals]
        placed += [item for item in (self.verdict, *self.artifacts) if item is not None]
        return tuple(sorted(item.leaf for item in placed))


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a drawn builder owes: `commit`, or `reveal` once the gate may be open, until `deadline_ms`."""

    request: str
    owes: str
    deadline_ms: int
    view: RequestView


@dataclass(frozen=True, slots=True)
class Strike:
    """A drawn builder kept others waiting.

    Attributes:
        word: silent, withheld (these two rank it last in draws for this ecosystem), or unanswered.
    """

    time_ms: int
    ecosystem: str
    request: str
    word: str


def config(reads: Reads) -> dict[str, Any]:
    """The network's numbers: genesis without its members."""
    found: dict[str, Any] = _get(reads, state.CONFIG, {})
    return found


def unknown_rules(reads: Reads) -> tuple[int, int] | None:
    """(version, height where it begins) of agreed rules that this software does not have, None if it has them.

    A validator that lacks them stops voting before that height: from there on it finds every block invalid.
    """
    told = config(reads).get("next_rules")
    return None if told is None or told["version"] in RULES else (told["version"], told["height"])


def chain(reads: Reads) -> dict[str, Any]:
    """Beacon, height and time of the newest sealed block."""
    found: dict[str, Any] = _get(reads, state.CHAIN, {})
    return found


def state_root(reads: Reads) -> str:
    return str(_get(reads, state.ROOT, {}).get("state_root", ""))


def trees(reads: Reads) -> Trees:
    """Both trees of the verifiable index at the newest seal."""
    return Trees.of(_get(reads, state.ROOT))


def member(reads: Reads, node: bytes) -> dict[str, Any] | None:
    """A member's fields; `left`: the leaf by which it went."""
    found: dict[str, Any] | None = _get(reads, f"member/{b32(node)}")
    return found


def called(reads: Reads, node: bytes) -> str:
    """What people call a node: its name in the log, also of one that left, or the beginning of its id."""
    found = member(reads, node)
    return str(found["name"]) if found is not None else b32(node)[:8]


def current(reads: Reads, genesis: Genesis) -> Epoch:
    """The epoch in which the next block stands; before block 0 is written, the first."""
    return seating.current(_begun(reads, genesis))


def epoch(reads: Reads, number: int) -> Epoch | None:
    """Who validated in an epoch and where it began, None if it has not begun."""
    return seating.of(View(reads), number)


def validators(reads: Reads, genesis: Genesis) -> tuple[Validator, ...]:
    """Who validates now, sorted by vote key."""
    return current(reads, genesis).validators


def seats(reads: Reads, genesis: Genesis) -> Seats:
    """What agreement needs of the current epoch."""
    return seating.seats(_begun(reads, genesis))


def _begun(reads: Reads, genesis: Genesis) -> View:
    view = View(reads)
    if view.raw(state.EPOCH) is None:
        seating.found(view, genesis)  # (into the view alone)
    return view


def request(reads: Reads, request_id: str) -> RequestView | None:
    """The request with this entry id (hex)."""
    record = _get(reads, f"request/{request_id}")
    if record is None:
        return None
    commits = tuple(
        Placed(
            item["leaf"],
            {"commitment": item["commitment"], "request": request_id},
            item["builder"],
            item["round"],
        )
        for item in record["commits"]
    )
    reveals = tuple(
        Placed(
            item["leaf"],
            _get(reads, f"reveal/{request_id}/{item['round']}/{item['builder']}"),
            item["builder"],
            item["round"],
        )
        for item in record["reveals"]
    )
    draws = tuple(Placed(item["leaf"], item["body"], round=item["body"]["round"]) for item in record["draws"])
    phase = str(record["phase"])
    if phase == "drawn" and any(item["round"] == record["round"] for item in record["commits"]):
        phase = "committing"
    return RequestView(
        id=request_id,
        state="revealing" if phase == "settling" else phase,
        author=record["author"],
        time_ms=record["time_ms"],
        request=Placed(record["leaf"], record["body"], record["author"]),
        draws=draws,
        commits=commits,
        reveals=reveals,
        verdict=_placed(record.get("verdict")),
        artifacts=_artifacts(reads, record),
    )


def _artifacts(reads: Reads, record: dict[str, Any]) -> tuple[Placed, ...]:
    package = str(purl.parse(record["body"]["purl"]).versionless)
    items = (_get(reads, f"project/{package}/{number:016}") for number in record.get("artifacts", ()))
    return tuple(Placed(item["leaf"], item["body"]) for item in items)


def struck(reads: Reads, node: str) -> tuple[Strike, ...]:
    """The newest strikes of a builder (node id text), oldest first; see `strikes`."""
    return tuple(Strike(*row) for row in strikes.of(View(reads), node))


def first_commit(reads: Reads, package: str) -> dict[str, Any] | None:
    """The commit that builders first found behind the tag of a purl's version: commit, leaf, request, tag."""
    found: dict[str, Any] | None = _get(reads, f"commit/{package}")
    return found


def requests_open(reads: Reads) -> tuple[str, ...]:
    """Ids of the requests without a verdict, in log order; at most MAX_OPEN_REQUESTS."""
    return tuple(_get(reads, state.OPEN, []))


def recent_requests(reads: Reads, most: int) -> tuple[str, ...]:
    """Ids of the newest requests, newest first."""
    count = int(_get(reads, state.RECENT, 0))
    return tuple(_get(reads, f"recent/{at:016}") for at in range(count - 1, max(-1, count - 1 - most), -1))


def projects(reads: Reads, most: int = 100_000) -> tuple[str, ...]:
    """Versionless purls of the projects with a file, in the order in which they came."""
    count = min(int(_get(reads, state.PROJECTS, 0)), most)
    return tuple(_get(reads, f"projects/{at:016}") for at in range(count))


def status(reads: Reads, sha256: str, package: str = "") -> dict[str, Any] | None:
    """What published bytes are worth now: `status`, and the `leaf` of the entry that made it so.

    Args:
        package: the purl under which they were published; without one, that of `artifact`.
    """
    found: dict[str, Any] | None = _get(reads, status_key(sha256, package or name_of(reads, sha256)))
    return found


def offered(reads: Reads, sha256: str, package: str = "") -> bool:
    """Whether published bytes are neither withdrawn nor disputed; `package` as in `status`."""
    record = status(reads, sha256, package)
    return record is not None and record["status"] in PUBLISHED


def name_of(reads: Reads, sha256: str) -> str:
    """The purl that speaks for published bytes where nobody says which one is meant; an empty text for none.

    One without owner if there is any, so that no copy under somebody's own name speaks for a package, nor keeps
    offering what is withdrawn under its real name; of these the first that is offered, else the first.
    """
    names = _get(reads, names_key(sha256), [])
    if not names:
        return ""
    shared = [name for name in names if not purl.parse(name).owner] or names
    good = (name for name in shared if offered(reads, sha256, name))
    return str(next(good, shared[0]))


def names_of(reads: Reads, sha256: str) -> tuple[str, ...]:
    """The purls that may speak for published bytes, as in `name_of`: own names only where there is no other."""
    names = _get(reads, names_key(sha256), [])
    shared = tuple(name for name in names if not purl.parse(name).owner)
    return shared or tuple(names)


def draw_of(reads: Reads, request_id: str) -> dict[str, Any]:
    """Body of the draw that counts, empty before it: its `builders`, who ran each then (`operators`), its `round`."""
    record = _get(reads, f"request/{request_id}")
    draws = [] if record is None else record["draws"]
    return dict(draws[-1]["body"]) if draws else {}


def isolation_of(reads: Reads, request_id: str, round: int, builder: str) -> str:
    """How a builder says that its build was kept in; empty without its reveal."""
    revealed = _get(reads, f"reveal/{request_id}/{round}/{builder}")
    return "" if revealed is None else str(revealed.get("isolation", ""))


def built(reads: Reads, sha256: str, member: str) -> int | None:
    """Leaf of the `artifact.add` by which this network vouches to `member` (node id text) that it built these bytes.

    None where they were only witnessed, or stand under another member's own name only: anybody can have a copy of
    anything published under their own.
    """
    for name in _get(reads, names_key(sha256), []):
        record = status(reads, sha256, name)
        found = artifact(reads, sha256, name)
        own = purl.parse(name).owner
        if own in ("", member) and record is not None and record["status"] in BUILT and found is not None:
            return found.leaf
    return None


def mapping(reads: Reads, package: str) -> dict[str, Any] | None:
    """The enacted mapping of a versionless purl: repository, tag, recipe, maintainer keys, version, leaf."""
    found: dict[str, Any] | None = _get(reads, f"mapping/{package}")
    return found


def members(reads: Reads) -> tuple[str, ...]:
    """Node ids of everybody who is a member now, sorted."""
    return tuple(_get(reads, state.MEMBERS, []))


def is_member(reads: Reads, node: bytes) -> bool:
    """Whether the node with this key (32 bytes) is a member now."""
    record = member(reads, node)
    return record is not None and "left" not in record


def names(reads: Reads) -> dict[str, str]:
    """Node id -> what people call it, of everybody who is a member now."""
    records = ((text, _get(reads, f"member/{text}")) for text in members(reads))
    return {text: str(record["name"]) for text, record in records}


def motion(reads: Reads, motion_id: str) -> dict[str, Any] | None:
    """A motion by its entry id: body, approvals, deadline, and its phase: open, awaits-acceptance, enacted, expired."""
    record: dict[str, Any] | None = _get(reads, f"motion/{motion_id}")
    if (
        record is not None
        and record["phase"] in motions.LIVE
        and chain(reads)["time_ms"] > record["deadline"]
    ):
        record["phase"] = motions.EXPIRED  # the next motion writes it down
    return record


def motions_open(reads: Reads) -> tuple[str, ...]:
    """Ids of the motions that can be approved, oldest first."""
    now = chain(reads).get("time_ms", 0)
    return tuple(row[2] for row in _get(reads, state.MOTIONS, []) if row[1] >= now)


def fact(reads: Reads, fact_id: str) -> dict[str, str] | None:
    """A fact's author, id, kind and subject; `by`: the fact that superseded or withdrew it, if one did."""
    found = facts.find(View(reads), fact_id)
    by = _get(reads, f"superseded/{fact_id}")
    if found is None:
        return None
    record = dict(zip(("author", "id", "kind", "subject"), found, strict=True))
    return record if by is None else {**record, "by": str(by)}


def fault(reads: Reads, validator: str, epoch: int, kind: str) -> dict[str, Any] | None:
    """Evidence on record against a validator: who brought it, its leaf, the view of the fault."""
    found: dict[str, Any] | None = _get(reads, f"fault/{validator}/{epoch}/{kind}")
    return found


def has_project(reads: Reads, name: str) -> bool:
    """Whether any file was ever published under this versionless purl."""
    return int(_get(reads, f"project/{name}", 0)) > 0


def project_files(reads: Reads, name: str, *, every: bool = False) -> tuple[Placed, ...]:
    """Published files of a project, by its normalised pypi name or its versionless purl.

    Args:
        every: also what is history and not offered: later artifacts of a purl, and what is withdrawn or disputed.
    """
    return tuple(
        placed
        for placed, served in project_history(reads, name)
        if every or (served and offered(reads, placed.body["sha256"], placed.body["purl"]))
    )


def project_history(
    reads: Reads, name: str, *, newest: bool = False, size: int | None = None
) -> Iterator[tuple[Placed, bool]]:
    """Every file ever published of a project, in log order, and whether pages list it as long as it is offered.

    Args:
        newest: the last one first.
        size: those of the log's first `size` leaves alone; where they end is found in halves.
    """
    key = name if name.startswith("pkg:") else f"pkg:pypi/{name}"
    numbers = range(int(_get(reads, f"project/{key}", 0)))
    if size is not None:
        numbers = numbers[
            : bisect_left(numbers, size, key=lambda at: _get(reads, f"project/{key}/{at:016}")["leaf"])
        ]
    for at in reversed(numbers) if newest else numbers:
        item = _get(reads, f"project/{key}/{at:016}")
        yield Placed(item["leaf"], item["body"]), bool(item["served"])


def contradicted(reads: Reads, request_id: str) -> tuple[tuple[dict[str, Any], str], ...]:
    """What the verdict of a request spoke against, so that it became disputed: bodies of artifact.add, and why."""
    view = View(reads)
    record = view.get(f"request/{request_id}")
    if record is None or not record.get("artifacts"):
        return ()
    agreeing = record["verdict"]["body"]["agreeing"]
    agreed = view.get(f"reveal/{request_id}/{record['round']}/{agreeing[0]}")
    return tuple(settling.contradicted(view, request_id, record, agreeing, agreed))


def artifact(reads: Reads, sha256: str, package: str = "") -> Placed | None:
    """The `artifact.add` by which these bytes count under a purl; without one, under that of `name_of`.

    It is the first one, or the first that was built where that was only witnessed.
    """
    return _placed(_get(reads, artifact_key(sha256, package or name_of(reads, sha256))))


def assignments(reads: Reads, genesis: Genesis, node: bytes) -> tuple[Assignment, ...]:
    """What the builder `node` owes, in log order; nothing where its build key is not the drawn one any more.

    A reveal is owed once every drawn builder has committed, or the request's phase says that the gate opened at the
    deadline.
    """
    found = (assignment(reads, request_id, node) for request_id in requests_open(reads))
    return tuple(owed for owed in found if owed is not None)


def assignment(reads: Reads, request_id: str, node: bytes) -> Assignment | None:
    """What the builder `node` owes for one request, if anything."""
    me, view = b32(node), request(reads, request_id)
    if view is None or view.draw is None or view.state not in ("drawn", "committing", "revealing"):
        return None
    drawn = view.draw.body
    if me not in drawn["builders"] or _revoked(reads, request_id, me):
        return None
    now = [item for item in view.commits if item.round == view.round]
    committed = any(item.author == me for item in now)
    revealed = any(item.author == me and item.round == view.round for item in view.reveals)
    if not committed and view.state != "revealing":
        return Assignment(request_id, "commit", drawn["commit_deadline"], view)
    if committed and not revealed and view.state == "revealing":
        return Assignment(request_id, "reveal", drawn["reveal_deadline"], view)
    return None


def _revoked(reads: Reads, request_id: str, node: str) -> bool:
    record = _get(reads, f"request/{request_id}")
    return building.revoked(View(reads), record["draws"][-1], node)


def _get(reads: Reads, key: str, otherwise: Any = None) -> Any:
    return load(reads(key.encode()), otherwise)


def _placed(item: dict[str, Any] | None) -> Placed | None:
    return None if item is None else Placed(item["leaf"], item["body"])
