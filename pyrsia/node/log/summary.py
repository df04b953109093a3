"""One leaf in a line: what people read in the log's newest entries."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import entries
from pyrsia.status import EntryStatus
from pyrsia.wire.text import b32, safe

Body = Mapping[str, Any]


def summary(index: int, leaf: bytes, names: Mapping[str, str]) -> EntryStatus:
    """`leaf` in a line, made harmless. `names`: node id text -> what people call it. Never raises."""
    try:
        entry = entries.parse(leaf)
    except Malformed as error:  # cannot be in a log that we executed; said rather than hidden
        return _unreadable(index, str(error))
    author = b32(entry.author) if entry.author is not None else ""
    by = f" by {names.get(author, author[:8])}" if author else ""
    try:
        told = _TELLERS.get(entry.kind, _nothing)(entry.body, names)
        time_ms = int(entry.body.get("time_ms", 0))
    except (KeyError, TypeError, ValueError):  # `entries.parse` leaves the body of a genesis to `Genesis`
        return _unreadable(index, f"a {entry.kind} with other fields")
    return EntryStatus(index, entry.kind, safe(f"{told}{by}"), author, time_ms)


def _unreadable(index: int, why: str) -> EntryStatus:
    return EntryStatus(index, "unreadable", safe(why))


def _nothing(_: Body, __: Mapping[str, str]) -> str:
    return ""


def _nodes(ids: list[str], names: Mapping[str, str]) -> str:
    return ", ".join(names.get(one, one[:8]) for one in ids) or "nobody"


def _verdict(body: Body, names: Mapping[str, str]) -> str:
    dissent = [one["builder"] for one in body["dissenting"]]
    against = f", against {_nodes(dissent, names)}" if dissent else ""
    return f"{body['purl']} {body['verdict']}: {_nodes(body['agreeing'], names)}{against}"


def _motion(body: Body, names: Mapping[str, str]) -> str:
    about = body.get("purl") or names.get(body.get("node", ""), body.get("node", "")[:8])
    if "member" in body:
        about = f"{about} {body['member']['name']}".lstrip()
    return f"{body['kind']} {about}".rstrip() + f": {body['reason'][:60]}"


def _fact(body: Body) -> str:
    """Its words stand in quotes: who said them is told behind."""
    text = f' "{body["text"][:60]}"' if body["text"] else ""
    return f"{body['kind']} of {body['subject']}{' taken back' * ('withdrawn' in body)}{text}"


FAULTS: Final = {"block": "a block against the rules", "votes": "two statements that exclude each other"}

_TELLERS: Mapping[str, Callable[[Body, Mapping[str, str]], str]] = {
    "network.genesis": lambda body, _: f"{body['name']}, {len(body['members'])} members",
    "build.request": lambda body, _: f"{body['purl']} from {body['source']['file']}",
    "build.draw": lambda body, names: f"{body['request'][:8]}: {_nodes(body['builders'], names)}",
    "build.commit": lambda body, _: f"{body['request'][:8]}",
    "build.reveal": lambda body, _: f"{body['request'][:8]} {body['outcome']} {body['phase']}".rstrip(),
    "build.cancel": lambda body, _: f"{body['request'][:8]}",
    "build.verdict": _verdict,
    "artifact.add": lambda body, _: f"{body['file']} sha256:{body['sha256'][:12]} {body['verdict']}",
    "fact.add": lambda body, _: _fact(body),
    "fault.evidence": lambda body, names: (
        f"{_nodes([body['validator']], names)} signed {FAULTS[body['kind']]}"
    ),
    "motion.propose": _motion,
    "motion.approve": lambda body, _: f"{body['motion'][:8]}",
    "artifact.withdraw": lambda body, _: (
        f"{body['purl']} sha256:{body['sha256'][:12]}: {body['reason'][:60]}"
    ),
    "block.seal": lambda body, _: f"block {body['height']} in view {body['view']}",
}
