"""The life of a build request, entry by entry: asked for, drawn, committed, revealed, and its turn to be settled.

Decides what its entries need to stand, when its builders are drawn, and what its deadlines do. Which entries of a
block are looked at, and in which order, is `execute`'s business; what a request must say is `asking`'s, how it ends
`settling`'s, who wins `verdict`'s.

Source: docs/ledger.md, "A block", "The draw", "The verdict".
"""

from typing import Any, Final

from pyrsia.ledger import asking, draw, entries, receipts, roster, settling, state, strikes, verdict
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Member
from pyrsia.ledger.settling import revoked as revoked
from pyrsia.ledger.settling import this_round
from pyrsia.units import (
    KEEP_BUILDERS_MS,
    MAX_DERIVED,
    MAX_OPEN_OF_OPERATOR,
    MAX_OPEN_REQUESTS,
    REVEAL_WINDOW_MS,
)
from pyrsia.wire import purl

_DAY_S: Final = 86_400  # times in a ZIP carry no zone: they may lie hours ahead


def gate_open(request: dict[str, Any], time_ms: int) -> bool:
    """Whether reveals count: K commits, or at least T once the commit deadline has passed."""
    if not request["draws"]:
        return False
    drawn = request["draws"][-1]["body"]
    commits = len(this_round(request, "commits"))
    return commits >= len(drawn["builders"]) or (
        commits >= drawn["agreeing"] and time_ms > drawn["commit_deadline"]
    )


def _package(body: dict[str, Any]) -> str:
    return str(purl.parse(body["purl"]).versionless)


def _kept_key(body: dict[str, Any]) -> str:
    """Requests that keep their builders: in one ecosystem for one package.

    Never by source or version: nothing in the log says that either exists, so a requester could make them up until it
    likes the draw, and what enough of its friends then say of a version that nobody made would be published.
    """
    return f"kept/{body['ecosystem']}/{_package(body)}"


# -- authored entries --


def request(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.request`: a build that K operators can do, not being done already."""
    body, view, numbers = entry.body, ctx.view, ctx.numbers
    if body["requester"] != author:
        raise NotApplied("the requester is not its author")
    recipe = body["recipe"]
    asking.check(ctx, body)
    if recipe["environment"] not in numbers.environments:
        raise NotApplied("its environment is not admitted by this network")
    if max(recipe["cutoff_ms"] // 1000, recipe["sde"]) > ctx.now // 1000 + _DAY_S:
        raise NotApplied("its recipe lies in the future", later=True)
    able = draw.operators(_able(ctx, body["ecosystem"], author))
    if able < numbers.builders:
        raise NotApplied(
            f"{able} operators other than the requester's can build {body['ecosystem']}, "
            f"{numbers.builders} are needed",
            code="too-few-builders",
        )
    unique = settling.open_key(body)
    if view.raw(unique) is not None:
        raise NotApplied("exactly this is being built", later=True, code="conflict")
    opened = view.get(state.OPEN, [])
    if len(opened) >= MAX_OPEN_REQUESTS.value:
        raise NotApplied(f"{len(opened)} requests are open already", later=True, code="busy")
    operator = roster.operator(view, author)
    asked = view.get(f"asking/{operator}", 0)
    if asked >= MAX_OPEN_OF_OPERATOR.value:
        raise NotApplied(f"{asked} requests of its operator are open already", later=True, code="busy")
    view.put(f"asking/{operator}", asked + 1)
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
        "operator": operator,
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
    settling.close(ctx, request, record, "cancelled")


def commit(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`build.commit`: once a round, by a drawn builder, before anybody reveals."""
    request = entry.body["request"]
    record = _found(ctx, request)
    drawn = _drawn(ctx, record, author)
    if any(item["builder"] == author for item in this_round(record, "commits")):
        raise NotApplied("this builder has committed already")
    if ctx.now > drawn["commit_deadline"]:
        raise NotApplied("the commit deadline has passed")
    if this_round(record, "reveals"):
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
    """`build.reveal`: what its author committed to, while the gate is open, and storage members have it."""
    body, request = entry.body, entry.body["request"]
    record = _found(ctx, request)
    drawn = _drawn(ctx, record, author)
    mine = [item for item in this_round(record, "commits") if item["builder"] == author]
    if not mine:
        raise NotApplied("this builder has not committed", later=True)
    if any(item["builder"] == author for item in this_round(record, "reveals")):
        raise NotApplied("this builder has revealed already")
    if not gate_open(record, ctx.now):
        raise NotApplied("the other builders have not committed yet", later=True)
    if ctx.now > drawn["reveal_deadline"]:
        raise NotApplied("the reveal deadline has passed")
    assert entry.author is not None  # noqa: S101  (apply has checked it)
    if entries.commitment(bytes.fromhex(request), entry.author, body).hex() != mine[0]["commitment"]:
        raise NotApplied("it does not open this builder's commitment")
    receipts.check(ctx, author, body, record["body"])
    number = record["round"]
    record["reveals"].append({"builder": author, "leaf": leaf, "round": number})
    record["phase"] = "revealing"
    ctx.view.put(f"reveal/{request}/{number}/{author}", body)
    if len(this_round(record, "reveals")) == len(drawn["builders"]) or (
        ctx.now > drawn["commit_deadline"]
        and len(this_round(record, "reveals")) == len(this_round(record, "commits"))
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
    commits, reveals = this_round(record, "commits"), this_round(record, "reveals")
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
    """Derived entries in queue order, as long as there is room for all that the next job could make."""
    view = ctx.view
    queue = view.get(state.QUEUE, {"end": 0, "first": 0})
    first = queue["first"]
    while first < queue["end"]:
        key = f"queue/{first:016}"
        job = view.get(key)
        room = 1 if job["do"] == "draw" else settling.MOST_DERIVED
        if len(ctx.derived) + room > MAX_DERIVED.value:
            break
        view.delete(key)
        first += 1
        record = view.get(f"request/{job['request']}")
        if job["do"] == "draw":
            _draw(ctx, job["request"], record, job["seed"])
        elif settling.settle(ctx, job["request"], record):
            record["round"] = 1  # the only second draw
            record["phase"] = "open"
            view.put(f"request/{job['request']}", record)
            _wait(ctx, job["request"])
    if first != queue["first"]:
        view.put(state.QUEUE, {"end": queue["end"], "first": first})


def _draw(ctx: Context, request: str, record: dict[str, Any], seed: str) -> None:
    body, view = record["body"], ctx.view
    able = _able(ctx, body["ecosystem"], record["author"])
    kept = view.get(_kept_key(body), {"builders": [], "time_ms": 0})
    recent = kept["time_ms"] + KEEP_BUILDERS_MS.value >= ctx.now
    silent: list[str] = []
    if record["round"]:
        answered = {item["builder"] for item in record["reveals"]}
        silent = [node for node in record["draws"][0]["body"]["builders"] if node not in answered]
    stays = recent and not record["round"]
    struck = {one.text: strikes.ranks(view, one.text, body["ecosystem"], ctx.now) for one in able}
    builders = draw.rank(
        bytes.fromhex(request),
        bytes.fromhex(seed),
        able,
        ctx.numbers.builders,
        first=[node for node in kept["builders"] if not _missed(ctx, body, struck.get(node, []))]
        if stays
        else (),
        later=() if stays else _before(ctx, body),
        last=[*silent, *(node for node, earned in struck.items() if earned)],
    )
    enough = len(builders) >= ctx.numbers.builders
    if enough and not record["round"]:
        # Also of a cancelled request: whoever leads the block of the draw knows it, and could have it called off.
        # Who could not be drawn this once (the requester's own builder) keeps its place: the list only grows, or two
        # requesters in turn would draw anew.
        began = kept["time_ms"] if recent else ctx.now
        stayed = kept["builders"] if recent else []
        newcomers = [node for node in builders if node not in stayed]
        view.put(_kept_key(body), {"builders": [*stayed, *newcomers], "time_ms": began})
    if record["phase"] != "open":
        return  # cancelled while it waited
    if not enough:  # members left, or K rose, since the request was admitted
        settling.conclude(ctx, request, record, verdict.too_few(silent))
        return
    commit_by = ctx.now + asking.commit_window_ms(body)
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
    _remind(ctx, request, commit_by)
    _remind(ctx, request, commit_by + REVEAL_WINDOW_MS.value)


def _missed(ctx: Context, body: dict[str, Any], earned: list[str]) -> bool:
    """Whether one of these strikes comes from a request for this very package.

    Only such a one takes a kept builder's place from it: a dead builder does not hold its package up all day, and
    nobody moves the draw of one package by what is asked of its builders for another.
    """
    return any(_package(ctx.view.get(f"request/{one}")["body"]) == _package(body) for one in earned)


def _before(ctx: Context, body: dict[str, Any]) -> list[str]:
    """Who was drawn when exactly this was published first: a later look at it is better somebody else's."""
    made = ctx.view.get(settling.made_key(body))
    if made is None:
        return []
    draws = ctx.view.get(f"request/{made['request']}")["draws"]
    return [node for one in draws for node in one["body"]["builders"]]
