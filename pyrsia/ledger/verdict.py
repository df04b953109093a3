"""The verdict over one request's reveals: a pure function, so that every node names the same dissenters.

Decides which class of equal outputs wins, whether the result may be published, and what exactly is
published. It never asks whether builders tell the truth; it says who said the same.

Source: docs/ledger.md, "The verdict".
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pyrsia.ledger.genesis import ISOLATIONS
from pyrsia.wire import canonical, purl

LOCK_MISMATCH: Final = "lock-mismatch"  # a phase of its own: this builder's resolver gave other lines
OWN_SOURCES: Final = ("registry", "mapping")  # the builder itself obtained the digest for this purl
WITNESS: Final = "witness"  # the ecosystem that fetches what others published, and builds nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the log says about one request.

    Attributes:
        served: fields of each `artifact.add`, by file name; empty unless the result is published.
    """

    verdict: str
    agreeing: tuple[str, ...]
    dissenting: tuple[tuple[str, str], ...]
    silent: tuple[str, ...]
    served: tuple[dict[str, Any], ...]


_Value = TypeVar("_Value", str, bytes)
Reveal = Mapping[str, Any]
Key = Callable[[Reveal], Hashable]


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of one verdict: T, the request's lock and environment, the least isolation.

    Attributes:
        sources: how a builder may have got the source for its result to count.
        witness: nothing was built: the same upstream bytes, seen by T, are WITNESSED and never more.
    """

    agreeing: int
    lock_sha256: str
    environment: str
    min_isolation: str
    operator_of: Mapping[str, str]
    sources: tuple[str, ...] = OWN_SOURCES
    witness: bool = False

    @classmethod
    def of(cls, request: Mapping[str, Any], draw: Mapping[str, Any]) -> "Rules":
        """Of the bodies of a `build.request` and of its last `build.draw`."""
        return cls(
            agreeing=draw["agreeing"],
            lock_sha256=request["lock"]["sha256"],
            environment=request["recipe"]["environment"],
            min_isolation=draw["min_isolation"],
            operator_of=dict(zip(draw["builders"], draw["operators"], strict=True)),
            sources=_sources(request),
            witness=request["ecosystem"] == WITNESS,
        )


def _sources(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Under a node's own name anything goes that it says so; under any other each builder looked for itself."""
    if purl.parse(request["purl"]).owner:
        return (*OWN_SOURCES, "claimed")
    if request["ecosystem"] == WITNESS:
        return ("registry",)
    return ("mapping",) if "git" in request["source"] else OWN_SOURCES


def decide(builders: Sequence[str], reveals: Mapping[str, Reveal], rules: Rules) -> Outcome:
    """The verdict.

    Args:
        builders: drawn node id texts, in draw order; the denominator, silent ones included.
        reveals: node id text -> opened reveal body, of drawn builders only.
    """
    silent = tuple(node for node in builders if node not in reveals)
    flaws = {node: _flaw(reveals[node], rules) for node in builders if node in reveals}
    sound = [node for node, flaw in flaws.items() if not flaw]
    built = [node for node in sound if reveals[node]["outcome"] == "built"]
    # T builders whose resolver disagrees with the lock agree on that much: the request failed there.
    failed = [
        node
        for node, flaw in flaws.items()
        if reveals[node]["phase"] == LOCK_MISMATCH or (not flaw and reveals[node]["outcome"] == "failed")
    ]
    said = [node for node in builders if node in reveals]

    for verdict, key in _WITNESSED if rules.witness else _BUILT:
        winners = _class(built, reveals, key, rules)
        if winners:
            dissent = _dissent(said, winners, flaws, reveals, verdict, key)
            served = _published(verdict, [reveals[node] for node in winners], rules.agreeing)
            # The verdict in artifact.add speaks of the published bytes; this one of what was built.
            return Outcome(verdict, tuple(winners), dissent, silent, served)
    winners = _class(failed, reveals, _phase, rules)
    if winners:
        return Outcome(
            "FAILED", tuple(winners), _dissent(said, winners, flaws, reveals, "FAILED", _phase), silent, ()
        )
    reasons = tuple((node, flaws[node] or _told(reveals[node])) for node in said)
    # With T sound answers there was enough to agree on, and they did not.
    verdict = "DIVERGED" if _enough(sound, rules) else "INSUFFICIENT"
    return Outcome(verdict, (), reasons, silent, ())


def too_few(silent: Sequence[str]) -> Outcome:
    """The verdict where fewer than K could be drawn: nobody builds, nothing is published.

    Args:
        silent: node id texts of those that did not reveal in the first round, if this was to be the second.
    """
    return Outcome("INSUFFICIENT", (), (), tuple(silent), ())


def _flaw(reveal: Reveal, rules: Rules) -> str:
    """Why this reveal cannot count towards any class, or an empty string."""
    if reveal["phase"] == LOCK_MISMATCH:
        return "lock-mismatch: its resolver gave another lock"
    if reveal["lock_sha256"] != rules.lock_sha256:
        return "another lock than the request's"
    if reveal["environment"] != rules.environment:
        return "another environment than the recipe's"
    if ISOLATIONS.index(reveal["isolation"]) < ISOLATIONS.index(rules.min_isolation):
        return f"isolation {reveal['isolation']} is below {rules.min_isolation}"
    if reveal["outcome"] == "built" and reveal["source"] not in rules.sources:
        return "did not obtain the source itself"
    return ""


def _raw_key(reveal: Reveal) -> Hashable:
    """All outputs at once. Whole records are compared, so no single winner can slip in other metadata."""
    return tuple(
        (out["name"], canonical.encode(out["raw"]), canonical.encode(out["canonical"]), out["stable"])
        for out in _sorted(reveal)
    )


def _canonical_key(reveal: Reveal) -> Hashable:
    return tuple((out["name"], canonical.encode(out["canonical"]), out["stable"]) for out in _sorted(reveal))


def _seen_key(reveal: Reveal) -> Hashable:
    """Bytes that were fetched, not built: nothing was normalised that could be compared."""
    return tuple((out["name"], canonical.encode(out["raw"])) for out in _sorted(reveal))


def _phase(reveal: Reveal) -> Hashable:
    return str(reveal["phase"])


_BUILT: Final[tuple[tuple[str, Key], ...]] = (("REPRODUCED", _raw_key), ("EQUIVALENT", _canonical_key))
_WITNESSED: Final[tuple[tuple[str, Key], ...]] = (("WITNESSED", _seen_key),)


def _sorted(reveal: Reveal) -> list[dict[str, Any]]:
    return sorted(reveal["outputs"], key=lambda out: str(out["name"]))


def _class(nodes: Sequence[str], reveals: Mapping[str, Reveal], key: Key, rules: Rules) -> list[str]:
    """The largest class of at least T over at least two operators; of equals the one drawn first."""
    classes: dict[Hashable, list[str]] = {}
    for node in nodes:
        classes.setdefault(key(reveals[node]), []).append(node)
    best: list[str] = []
    for members in classes.values():
        if _enough(members, rules) and len(members) > len(best):
            best = members
    return best


def _enough(nodes: Sequence[str], rules: Rules) -> bool:
    return len(nodes) >= rules.agreeing and len({rules.operator_of.get(node, node) for node in nodes}) >= 2


def _dissent(
    said: Sequence[str],
    winners: Sequence[str],
    flaws: Mapping[str, str],
    reveals: Mapping[str, Reveal],
    verdict: str,
    key: Key,
) -> tuple[tuple[str, str], ...]:
    names = frozenset(winners)
    return tuple(
        (node, flaws[node] or _difference(reveals[node], reveals[winners[0]], verdict, key))
        for node in said
        if node not in names
    )


def _difference(reveal: Reveal, agreed: Reveal, verdict: str, key: Key) -> str:
    if verdict == "FAILED" or reveal["outcome"] == "failed":
        return _told(reveal)
    if key is _raw_key and _canonical_key(reveal) == _canonical_key(agreed):
        return "other raw bytes, equal after normalising"
    mine, theirs = _sorted(reveal), _sorted(agreed)
    if [out["name"] for out in mine] != [out["name"] for out in theirs]:
        return "other file names"
    if len(mine) == 1:
        return "other contents"
    compared = key if verdict == "WITNESSED" else _canonical_key
    other = [
        str(one["name"])
        for one, two in zip(mine, theirs, strict=True)
        if compared({"outputs": [one]}) != compared({"outputs": [two]})
    ]
    more = f", and {len(other) - 1} more" if len(other) > 1 else ""
    return f"other contents of {other[0][:150]}{more}"


def _told(reveal: Reveal) -> str:
    return f"failed in {reveal['phase']}"[:200] if reveal["outcome"] == "failed" else "built something else"


def _published(verdict: str, winners: Sequence[Reveal], agreeing: int) -> tuple[dict[str, Any], ...]:
    """Fields of each artifact.add that the reveals give, by file name: as many as there are outputs."""
    source = _weakest([reveal["source"] for reveal in winners], ("claimed", "registry", "mapping"))
    outputs = [_sorted(reveal) for reveal in winners]
    return tuple(
        {**_file(verdict, [of[at] for of in outputs], agreeing), "source": source}
        for at in range(len(outputs[0]))
    )


def _file(verdict: str, named: Sequence[dict[str, Any]], agreeing: int) -> dict[str, Any]:
    """Which bytes clients get of one output, which all of `named` are, and how upstream relates to it.

    Where T winners name the same upstream file as identical or equivalent, its exact bytes are served, so that
    existing lock files keep working. What was witnessed is upstream's file, and nobody compared it with anything.
    """
    output = named[0]
    served, record = ("canonical", output["canonical"]) if verdict == "EQUIVALENT" else ("raw", output["raw"])
    # "identical" and "equivalent" say something only about one file that T name together, below.
    different = sum(1 for out in named if out["upstream_relation"] == "different") >= agreeing
    relation = "different" if different else "none"
    containment = _weakest([out["containment"] for out in named], ("none", "partial", "full"))
    same = [out for out in named if out["upstream_relation"] in ("identical", "equivalent")]
    offered = [canonical.encode(out["upstream"]) for out in same]
    chosen = _common(offered, agreeing, b"")
    if verdict == "WITNESSED":
        served, relation, containment = "upstream", "identical", "none"
    elif chosen:
        agreed = [out for out, offer in zip(same, offered, strict=True) if offer == chosen]
        served, record = "upstream", agreed[0]["upstream"]
        identical = sum(1 for out in agreed if out["raw"]["sha256"] == record["sha256"]) >= agreeing
        relation = "identical" if identical else "equivalent"
        verdict = "REPRODUCED" if identical else "EQUIVALENT"
    fields: dict[str, Any] = {
        "containment": containment,
        "file": output["name"],
        "manifest": record["manifest"],
        "members": record["members"],
        "served": served,
        "sha256": record["sha256"],
        "size": record["size"],
        "upstream": relation,
        "verdict": verdict,
    }
    # The output's own copy of these is one builder's word: no class compares it.
    fields.update({name: record[name] for name in ("metadata", "requires_python") if name in record})
    return fields


def _weakest(said: Sequence[str], order: Sequence[str]) -> str:
    return min(said, key=order.index)


def _common(values: Sequence[_Value], least: int, otherwise: _Value) -> _Value:
    """The value that at least `least` say, the first said of several; else `otherwise`."""
    for value in values:
        if values.count(value) >= least:
            return value
    return otherwise
