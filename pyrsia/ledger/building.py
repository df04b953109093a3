"""The life of a build request, entry by entry: asked for, drawn, committed, revealed, settled, published.

Decides what its entries need to stand, when its builders are drawn, what its deadlines do and what is
derived from all that. Which entries of a block are looked at, and in which order, is `execute`'s business;
who wins is `verdict`'s.

Source: docs/ledger.md, "A block", "The draw", "The verdict".
"""

from typing import Any, Final

from blake3 import blake3

from pyrsia.ledger import draw, entries, roster, standing, state, verdict
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Member
from pyrsia.ledger.state import View
from pyrsia.ledger.verdict import Outcome
from pyrsia.units import (
    COMMIT_WINDOW_MS,
    KEEP_BUILDERS_MS,
    MAX_DERIVED,
    MAX_OPEN_REQUESTS,
    REVEAL_WINDOW_MS,
)
from pyrsia.wire import canonical, purl
from pyrsia.wire.text import unb32

_DAY_S: Final = 86_400
_TYPES: Final = {"pip": "pypi"}  # ecosystem -> purl type


def gate_open(request: dict[str, Any], time_ms: int) -> bool:
    """Whether reveals count: K commits, or at least T once the commit deadline has passed."""
    if not request["draws"]:
        return False
    drawn = request["draws"][-1]["body"]
    commits = len(_this_round(request, "commits"))
    return commits >= len(drawn["builders"]) or (
        commits >= drawn["agreeing"] and time_ms > drawn["commit_deadline"]
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


# -- authored entries --


def request(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.request`: a build that K operators can do, not being done already."""
    body, view, numbers = entry.body, ctx.view, ctx.numbers
    if body["requester"] != author:
        raise NotApplied("the requester is not its author")
    coordinates, recipe = body["coordinates"], body["recipe"]
    kind = _TYPES.get(body["ecosystem"])
    if kind is None:
        raise NotApplied(f"the ecosystem {body['ecosystem']} is not built here")
    if purl.Purl(kind, "", coordinates["name"], coordinates["version"]) != purl.parse(body["purl"]):
        raise NotApplied("purl and coordinates name different packages")
    if recipe["environment"] not in numbers.environments:
        raise NotApplied("its environment is not admitted by this network")
    if recipe["cutoff_ms"] > ctx.now or recipe["sde"] > ctx.now // 1000 + _DAY_S:
        raise NotApplied("its recipe lies in the future", later=True)
    able = draw.operators(_able(ctx, body["ecosystem"], author))
    if able < numbers.builders:
        raise NotApplied(
            f"{able} operators other than the requester's can build {body['ecosystem']}, "
            f"{numbers.builders} are needed",
            code="too-few-builders",
        )
    unique = _open_key(body)
    if view.raw(unique) is not None:
        raise NotApplied("the same package, source and target is being built", later=True, code="conflict")
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
        "time_ms": ctx.now,
    }
    view.put(f"request/{request}", record)
    _wait(ctx, request)


def cancel(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.cancel`: by its requester, before the draw."""
    request = entry.body["request"]
    record = _found(ctx, request)
    if record["author"] != author:
        raise NotApplied("only the requester can cancel")
    if record["phase"] != "open" or record["draws"]:
        raise NotApplied("after the draw a request cannot be cancelled")
    record["cancel"] = {"leaf": leaf}
    _close(ctx, request, record, "cancelled")


def commit(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.commit`: once a round, by a drawn builder, before anybody reveals."""
    request = entry.body["request"]
    record = _found(ctx, request)
    drawn = _drawn(ctx, record, author)
    if any(item["builder"] == author for item in _this_round(record, "commits")):
        raise NotApplied("this builder has committed already")
    if ctx.now > drawn["commit_deadline"]:
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
    if gate_open(record, ctx.now):
        record["phase"] = "revealing"
    ctx.view.put(f"request/{request}", record)


def reveal(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.reveal`: what its author committed to, while the gate is open."""
    body, request = entry.body, entry.body["request"]
    if body["receipts"]:
        raise NotApplied("no storage member gives receipts under these rules: its receipts must be none")
    record = _found(ctx, request)
    drawn = _drawn(ctx, record, author)
    mine = [item for item in _this_round(record, "commits") if item["builder"] == author]
    if not mine:
        raise NotApplied("this builder has not committed", later=True)
    if any(item["builder"] == author for item in _this_round(record, "reveals")):
        raise NotApplied("this builder has revealed already")
    if not gate_open(record, ctx.now):
        raise NotApplied("the other builders have not committed yet", later=True)
    if ctx.now > drawn["reveal_deadline"]:
        raise NotApplied("the reveal deadline has passed")
    assert entry.author is not None  # noqa: S101  (apply has checked it)
    if entries.commitment(bytes.fromhex(request), entry.author, body).hex() != mine[0]["commitment"]:
        raise NotApplied("it does not open this builder's commitment")
    number = record["round"]
    record["reveals"].append({"builder": author, "leaf": leaf, "round": number})
    record["phase"] = "revealing"
    ctx.view.put(f"reveal/{request}/{number}/{author}", body)
    if len(_this_round(record, "reveals")) == len(drawn["builders"]) or (
        ctx.now > drawn["commit_deadline"]
        and len(_this_round(record, "reveals")) == len(_this_round(record, "commits"))
    ):
        record["phase"] = "settling"
        _enqueue(ctx, "settle", request)
    ctx.view.put(f"request/{request}", record)


def _able(ctx: Context, ecosystem: str, requester: str) -> list[Member]:
    return draw.able(roster.members(ctx.view), ecosystem, roster.operator(ctx.view, requester))


def _found(ctx: Context, request: str) -> dict[str, Any]:
    record = ctx.view.get(f"request/{request}")
    if record is None:
        raise NotApplied("the log has no such request", later=True)
    found: dict[str, Any] = record
    return found


def _drawn(ctx: Context, record: dict[str, Any], author: str) -> dict[str, Any]:
    if record["phase"] == "open":
        raise NotApplied("its builders are not drawn yet", later=True)
    drawn: dict[str, Any] = record["draws"][-1]["body"] if record["draws"] else {"builders": []}
    if author not in drawn["builders"]:
        raise NotApplied("its author was not drawn for this request")
    if revoked(ctx.view, record["draws"][-1], author):
        raise NotApplied("its author's build key is another one than when it was drawn")
    if record["phase"] not in ("drawn", "revealing"):
        raise NotApplied("this request is settled")
    return drawn


def revoked(view: View, draw: dict[str, Any], node: str) -> bool:
    """Whether a drawn builder has got another build key since, or has left: what the old one signs counts no more.

    Another role takes nothing away: a builder that is none any more has no key, and finishes what it was drawn for.
    """
    builder = roster.member(view, unb32(node))
    return builder is None or builder.build.hex() not in (
        "",
        draw["keys"][draw["body"]["builders"].index(node)],
    )


# -- what waits for preimages, deadlines and its turn --


def _wait(ctx: Context, request: str) -> None:
    """Wait for the preimages of the first f + 1 distinct proposers after this block."""
    height = ctx.height
    heights = ctx.view.get(state.WAITING, [])
    group = ctx.view.get(f"waiting/{height}", {"requests": [], "reveals": []})
    group["requests"].append(request)
    ctx.view.put(f"waiting/{height}", group)
    if height not in heights:
        ctx.view.put(state.WAITING, [*heights, height])


def collect(ctx: Context, proposer: str, reveal: bytes) -> None:
    """Give this block's preimage to every group before it; complete groups are drawn.

    Proposers are told apart by node id: an index means another validator in another epoch.
    """
    view = ctx.view
    heights = view.get(state.WAITING, [])
    left: list[int] = []
    for height in heights:
        if height == ctx.height:
            left.append(height)
            continue
        group = view.get(f"waiting/{height}")
        if all(one != proposer for one, _ in group["reveals"]):
            group["reveals"].append([proposer, reveal.hex()])
        if len(group["reveals"]) <= ctx.epoch.f:
            view.put(f"waiting/{height}", group)
            left.append(height)
            continue
        seed = draw.seed([bytes.fromhex(link) for _, link in group["reveals"]]).hex()
        for request in group["requests"]:
            _enqueue(ctx, "draw", request, seed)
        view.delete(f"waiting/{height}")
    if left != heights:
        view.put(state.WAITING, left)


def _remind(ctx: Context, request: str, after_ms: int) -> None:
    """Look at `request` in the first block later than `after_ms`."""
    bucket = after_ms // state.DUE_MS + 1
    view = ctx.view
    view.put(f"due/{bucket}", [*view.get(f"due/{bucket}", []), request])
    buckets = view.get(state.DUE, [])
    if bucket not in buckets:
        view.put(state.DUE, sorted([*buckets, bucket]))


def deadlines(ctx: Context) -> None:
    """Look at every request whose noted second has come."""
    view = ctx.view
    buckets = view.get(state.DUE, [])
    passed = [bucket for bucket in buckets if bucket * state.DUE_MS <= ctx.now]
    for bucket in passed:
        for request in view.get(f"due/{bucket}", []):
            _deadline(ctx, request)
        view.delete(f"due/{bucket}")
    if passed:
        view.put(state.DUE, buckets[len(passed) :])


def _deadline(ctx: Context, request: str) -> None:
    record = ctx.view.get(f"request/{request}")
    if record["phase"] not in ("drawn", "revealing"):
        return
    drawn = record["draws"][-1]["body"]
    commits, reveals = _this_round(record, "commits"), _this_round(record, "reveals")
    if ctx.now <= drawn["commit_deadline"]:
        return  # a reminder of the first round
    if (
        ctx.now > drawn["reveal_deadline"]
        or len(commits) < record["draws"][-1]["body"]["agreeing"]
        or len(reveals) == len(commits)
    ):
        record["phase"] = "settling"
        _enqueue(ctx, "settle", request)
    else:
        record["phase"] = "revealing"
    ctx.view.put(f"request/{request}", record)


def _enqueue(ctx: Context, what: str, request: str, seed: str = "") -> None:
    queue = ctx.view.get(state.QUEUE, {"end": 0, "first": 0})
    ctx.view.put(f"queue/{queue['end']:016}", {"do": what, "request": request, "seed": seed})
    ctx.view.put(state.QUEUE, {"end": queue["end"] + 1, "first": queue["first"]})


def work(ctx: Context) -> None:
    """Derived entries in queue order. One job makes at most two, so room for two is asked for."""
    view = ctx.view
    queue = view.get(state.QUEUE, {"end": 0, "first": 0})
    first = queue["first"]
    while first < queue["end"] and len(ctx.derived) + 2 <= MAX_DERIVED.value:
        key = f"queue/{first:016}"
        job = view.get(key)
        view.delete(key)
        first += 1
        record = view.get(f"request/{job['request']}")
        if job["do"] == "draw":
            _draw(ctx, job["request"], record, job["seed"])
        else:
            _settle(ctx, job["request"], record)
    if first != queue["first"]:
        view.put(state.QUEUE, {"end": queue["end"], "first": first})


def _draw(ctx: Context, request: str, record: dict[str, Any], seed: str) -> None:
    if record["phase"] != "open":
        return  # cancelled while it waited
    body, view = record["body"], ctx.view
    able = _able(ctx, body["ecosystem"], record["author"])
    kept = view.get(_kept_key(body), {"builders": [], "time_ms": 0})
    recent = kept["time_ms"] + KEEP_BUILDERS_MS.value >= ctx.now
    silent: list[str] = []
    if record["round"]:
        answered = {item["builder"] for item in record["reveals"]}
        silent = [node for node in record["draws"][0]["body"]["builders"] if node not in answered]
    builders = draw.rank(
        bytes.fromhex(request),
        bytes.fromhex(seed),
        able,
        ctx.numbers.builders,
        first=kept["builders"] if recent and not record["round"] else (),
        last=silent,
    )
    if len(builders) < ctx.numbers.builders:  # members left, or K rose, since the request was admitted
        _conclude(ctx, request, record, verdict.too_few(silent))
        return
    commit_by = ctx.now + COMMIT_WINDOW_MS.value
    # T, the least isolation and who runs whom stay what they are here: another T could be less than half of the
    # builders drawn, and whoever checks the verdict later finds what it was made by in the log.
    drawn = {
        "agreeing": ctx.numbers.agreeing,
        "beacon": seed,
        "builders": builders,
        "commit_deadline": commit_by,
        "excluded": roster.operator(view, record["author"]),
        "min_isolation": ctx.numbers.min_isolation,
        "operators": [roster.operator(view, node) for node in builders],
        "request": request,
        "reveal_deadline": commit_by + REVEAL_WINDOW_MS.value,
        "round": record["round"],
    }
    key_of = {one.text: one.build.hex() for one in able}
    record["draws"].append({**ctx.derive("build.draw", drawn), "keys": [key_of[node] for node in builders]})
    record["phase"] = "drawn"
    view.put(f"request/{request}", record)
    if not record["round"]:
        began = kept["time_ms"] if recent else ctx.now
        view.put(_kept_key(body), {"builders": builders, "time_ms": began})
    _remind(ctx, request, commit_by)
    _remind(ctx, request, commit_by + REVEAL_WINDOW_MS.value)


def _settle(ctx: Context, request: str, record: dict[str, Any]) -> None:
    body, view = record["body"], ctx.view
    number, drawn = record["round"], record["draws"][-1]["body"]
    reveals = {
        item["builder"]: view.get(f"reveal/{request}/{number}/{item['builder']}")
        for item in _this_round(record, "reveals")
    }
    rules = verdict.Rules(
        agreeing=drawn["agreeing"],
        lock_sha256=body["lock"]["sha256"],
        environment=body["recipe"]["environment"],
        min_isolation=drawn["min_isolation"],
        operator_of=dict(zip(drawn["builders"], drawn["operators"], strict=True)),
    )
    outcome = verdict.decide(drawn["builders"], reveals, rules)
    if outcome.verdict == "INSUFFICIENT" and outcome.silent and number == 0:
        record["round"] = 1  # the only second draw
        record["phase"] = "open"
        view.put(f"request/{request}", record)
        _wait(ctx, request)
        return
    _conclude(ctx, request, record, outcome)


def _conclude(ctx: Context, request: str, record: dict[str, Any], outcome: Outcome) -> None:
    """The verdict, what it publishes, and the end of the request."""
    body = record["body"]
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
    record["verdict"] = ctx.derive("build.verdict", said)
    if outcome.served is not None:
        artifact = {
            **outcome.served,
            "agreeing": list(outcome.agreeing),
            "dissenting": dissenting,
            "purl": body["purl"],
            "request": request,
            "source_sha256": body["source"]["sha256"],
            "time_ms": ctx.now,
        }
        record["artifact"] = ctx.derive("artifact.add", artifact)
        _publish(ctx, record["artifact"])
    _close(ctx, request, record, "done")


def _publish(ctx: Context, artifact: dict[str, Any]) -> None:
    """Into the project's list; the first file of a purl is the one that is served, for ever."""
    view, body = ctx.view, artifact["body"]
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
    standing.publish(view, artifact)


def _close(ctx: Context, request: str, record: dict[str, Any], phase: str) -> None:
    view = ctx.view
    record["phase"] = phase
    view.put(f"request/{request}", record)
    view.delete(_open_key(record["body"]))
    view.put(state.OPEN, [other for other in view.get(state.OPEN, []) if other != request])
