"""One leaf in a line: what people read in the log's newest entries."""

from collections.abc import Callable, Mapping
from typing import Any

from pyrsia.errors import Malformed
from pyrsia.ledger import entries
from pyrsia.status import EntryStatus
from pyrsia.wire.text import b32

Body = Mapping[str, Any]


def summary(index: int, leaf: bytes, names: Mapping[str, str]) -> EntryStatus:
    """`leaf` in a line. `names`: node id text -> what people call it."""
    try:
        entry = entries.parse(leaf)
    except Malformed as error:  # cannot be in a log that we executed; said rather than hidden
        return EntryStatus(index, "unreadable", str(error))
    author = b32(entry.author) if entry.author is not None else ""
    told = _TELLERS.get(entry.kind, lambda _, __: "")(entry.body, names)
    by = f" by {names.get(author, author[:8])}" if author else ""
    return EntryStatus(index, entry.kind, f"{told}{by}", author, int(entry.body.get("time_ms", 0)))


def _nodes(ids: list[str], names: Mapping[str, str]) -> str:
    return ", ".join(names.get(one, one[:8]) for one in ids) or "nobody"


def _verdict(body: Body, names: Mapping[str, str]) -> str:
    dissent = [one["builder"] for one in body["dissenting"]]
    against = f", against {_nodes(dissent, names)}" if dissent else ""
    return f"{body['purl']} {body['verdict']}: {_nodes(body['agreeing'], names)}{against}"


_TELLERS: Mapping[str, Callable[[Body, Mapping[str, str]], str]] = {
    "network.genesis": lambda body, _: f"{body['name']}, {len(body['members'])} members",
    "build.request": lambda body, _: f"{body['purl']} from {body['source']['file']}",
    "build.draw": lambda body, names: f"{body['request'][:8]}: {_nodes(body['builders'], names)}",
    "build.commit": lambda body, _: f"{body['request'][:8]}",
    "build.reveal": lambda body, _: f"{body['request'][:8]} {body['outcome']} {body['phase']}".rstrip(),
    "build.cancel": lambda body, _: f"{body['request'][:8]}",
    "build.verdict": _verdict,
    "artifact.add": lambda body, _: f"{body['file']} sha256:{body['sha256'][:12]} {body['verdict']}",
    "fact.add": lambda body, _: f"{body['kind']} of {body['subject']}: {body['text'][:60]}",
    "block.seal": lambda body, _: f"block {body['height']} in view {body['view']}",
}
