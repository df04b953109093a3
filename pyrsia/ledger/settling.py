"""The end of a build request: its verdict, what it publishes, and what it says about what was published before.

Who wins is `verdict`'s; what published bytes are worth from then on is written by `standing`.

Source: docs/ledger.md, "The verdict", "Status"; docs/adr/0039.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from blake3 import blake3

from pyrsia.ledger import asking, roster, standing, state, strikes, verdict
from pyrsia.ledger.context import Context
from pyrsia.ledger.state import View
from pyrsia.ledger.verdict import Outcome
from pyrsia.units import MAX_OUTPUTS
from pyrsia.wire import canonical, purl
from pyrsia.wire.text import unb32

MOST_DERIVED: Final = 1 + MAX_OUTPUTS.value  # entries that one verdict makes: itself, and its files

Record = dict[str, Any]


def this_round(record: Record, what: str) -> list[dict[str, Any]]:
    """The commits or reveals of the request's present round."""
    return [item for item in record[what] if item["round"] == record["round"]]


def open_key(body: Record) -> str:
    """Where the one open request for exactly these inputs stands.

    With lock and recipe: a request with false ones keeps nobody else's out. It is no new draw (`building`).
    """
    return "unique/" + _inputs(body)


def made_key(body: Record) -> str:
    """Where the first request stands that published from exactly these inputs: only such verdicts are compared."""
    return "made/" + _inputs(body)


def _inputs(body: Record) -> str:
    same = [
        body["purl"],
        body["ecosystem"],
        body["source"]["sha256"],
        body["lock"]["sha256"],
        body["recipe"],
        body["target"],
    ]
    return blake3(canonical.encode(same)).hexdigest()


def revoked(view: View, draw: Record, node: str) -> bool:
    """Whether a drawn builder has got another build key since, or has left: what the old one signs counts no more.

    Another role takes nothing away: a builder that is none any more has no key, and finishes what it was drawn for.
    """
    builder = roster.member(view, unb32(node))
    return builder is None or builder.build.hex() not in (
        "",
        draw["keys"][draw["body"]["builders"].index(node)],
    )


def settle(ctx: Context, request: str, record: Record) -> bool:
    """Decide over the round that has ended. True: nobody is right yet, and builders are to be drawn once more."""
    body, view = record["body"], ctx.view
    number, draw = record["round"], record["draws"][-1]
    drawn = draw["body"]
    reveals = {
        item["builder"]: view.get(f"reveal/{request}/{number}/{item['builder']}")
        for item in this_round(record, "reveals")
    }
    committed = [item["builder"] for item in this_round(record, "commits")]
    for node in drawn["builders"]:
        word = strikes.why(node, committed, reveals, drawn["agreeing"])
        if word and not revoked(view, draw, node):
            strikes.add(ctx, node, body["ecosystem"], request, word)
    outcome = verdict.decide(drawn["builders"], reveals, verdict.Rules.of(body, drawn))
    if outcome.verdict == "INSUFFICIENT" and outcome.silent and number == 0:
        return True
    if asking.other_commit(
        ctx, body
    ):  # both were asked for before either was built, and the tag moved in between
        outcome = replace(outcome, served=())
    conclude(ctx, request, record, outcome, reveals)
    return False


def conclude(
    ctx: Context,
    request: str,
    record: Record,
    outcome: Outcome,
    reveals: Mapping[str, Record] | None = None,
) -> None:
    """The verdict, what it publishes, and the end of the request."""
    body = record["body"]
    told = {
        "agreeing": list(outcome.agreeing),
        "dissenting": [{"builder": node, "why": why} for node, why in outcome.dissenting],
        "purl": body["purl"],
        "request": request,
        "source_sha256": body["source"]["sha256"],
    }
    record["verdict"] = ctx.derive(
        "build.verdict", {**told, "silent": list(outcome.silent), "verdict": outcome.verdict}
    )
    record["artifacts"] = [
        _publish(ctx, ctx.derive("artifact.add", {**fields, **told, "time_ms": ctx.now}))
        for fields in outcome.served
    ]
    if outcome.served and reveals is not None:
        agreed = reveals[outcome.agreeing[0]]
        if all(reveals[node]["source"] == "mapping" for node in outcome.agreeing):
            asking.see_commit(ctx, body, request, record["verdict"]["leaf"])
        _compare(ctx, request, record, outcome, agreed)
    close(ctx, request, record, "done")


def _publish(ctx: Context, artifact: Record) -> int:
    """Into the project's list, as number n; the first file of a name under a purl is the one that is served.

    That is for ever, but for what was only witnessed: the first file of that name that is built takes its place.

    Returns:
        n.
    """
    view, body = ctx.view, artifact["body"]
    name = str(purl.parse(body["purl"]).versionless)
    count: int = view.get(f"project/{name}", 0)
    if count == 0:
        projects = view.get(state.PROJECTS, 0)
        view.put(f"projects/{projects:016}", name)
        view.put(state.PROJECTS, projects + 1)
    key = f"served/{body['purl']}/{body['file']}"
    number = view.get(key)
    served = number is None
    if number is not None:
        before = view.get(f"project/{name}/{number:016}")
        served = standing.raises(before["body"], body)
        if served:
            view.put(f"project/{name}/{number:016}", {**before, "served": False})
    view.put(f"project/{name}/{count:016}", {**artifact, "served": served})
    view.put(f"project/{name}", count + 1)
    if served:
        view.put(key, count)
    standing.publish(view, artifact)
    return count


def _compare(ctx: Context, request: str, record: Record, outcome: Outcome, agreed: Record) -> None:
    """Whether this verdict contradicts the first one over the same inputs; if so, those bytes are disputed.

    The served file stays the same one, and under other purls the same bytes are what they were. T builders of two
    operators that the first draw did not have must say so: fewer, or the same people again, are a fact and no verdict.
    """
    view, key = ctx.view, made_key(record["body"])
    if view.get(key) is None:
        # Also the canonical digests: the published bytes may be upstream's, which nobody has to make again.
        view.put(key, {"outputs": _contents(record["body"], agreed), "request": request})
        return
    seen, leaf = record["body"]["ecosystem"] == verdict.WITNESS, record["verdict"]["leaf"]
    for published, why in contradicted(view, request, record, outcome.agreeing, agreed):
        standing.dispute(view, published, leaf, why, witnessed=seen)


def contradicted(
    view: View, request: str, record: Record, agreeing: Sequence[str], agreed: Record
) -> Iterator[tuple[Record, str]]:
    """What was published from the same inputs and this verdict says is otherwise: bodies of artifact.add, and why.

    It stays the answer for ever, so that whoever asks how things stood once can ask again.

    Args:
        agreeing: of the verdict; `agreed`: the reveal of the first of them.
    """
    first = view.get(made_key(record["body"]))
    if first["request"] == request:
        return
    before = view.get(f"request/{first['request']}")
    earlier = {node for draw in before["draws"] for node in draw["body"]["builders"]}
    operators = {name for draw in before["draws"] for name in draw["body"]["operators"]}
    drawn = record["draws"][-1]["body"]
    operator_of = dict(zip(drawn["builders"], drawn["operators"], strict=True))
    others = [node for node in agreeing if node not in earlier and operator_of[node] not in operators]
    if len(others) < drawn["agreeing"] or len({operator_of[node] for node in others}) < 2:
        return
    now = dict(_contents(record["body"], agreed))
    package = str(purl.parse(record["body"]["purl"]).versionless)
    for (name, contents), number in zip(first["outputs"], before["artifacts"], strict=True):
        if now.get(name) != contents:
            why = f"{len(others)} builders outside of its draw agree on other contents, request {request}"
            yield view.get(f"project/{package}/{number:016}")["body"], why


def _contents(body: Record, agreed: Record) -> list[list[Any]]:
    """What a class agreed on of each output, by name: [name, digests]: normalised ones, or of what was witnessed."""
    outputs = sorted(agreed["outputs"], key=lambda out: str(out["name"]))
    if body["ecosystem"] == verdict.WITNESS:
        return [[out["name"], [out["raw"]["sha256"]]] for out in outputs]
    return [[out["name"], [out["canonical"]["sha256"], out["stable"]]] for out in outputs]


def close(ctx: Context, request: str, record: Record, phase: str) -> None:
    """The request is not open any more."""
    view = ctx.view
    record["phase"] = phase
    view.put(f"request/{request}", record)
    view.delete(open_key(record["body"]))
    view.put(state.OPEN, [other for other in view.get(state.OPEN, []) if other != request])
    asked = f"asking/{record['operator']}"
    left = view.get(asked, 1) - 1
    if left:
        view.put(asked, left)
    else:
        view.delete(asked)
