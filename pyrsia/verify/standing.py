"""What the state says now: values under the state root of a head's newest seal, present or absent.

    {"seal": <row>, "values": [{"key": "status/...", "path": <path>, "value": "<canonical JSON>"}, ...]}

A value that does not exist has no "value", and its path proves that. Nothing else is believed.

Source: docs/log.md, "Verifiable index", "Proof file"; docs/ledger.md, "State keys".
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import index, prefixtree
from pyrsia.ledger.prefixtree import Path
from pyrsia.ledger.standing import DISPUTED, PUBLISHED, status_key
from pyrsia.log.checkpoint import Trusted
from pyrsia.units import MAX_DRAWN
from pyrsia.verify import leaves
from pyrsia.wire import canonical

# The status, the requester's record, and of each builder its record and at most four keys that it no longer has.
_MOST: Final = 2 + 5 * MAX_DRAWN.value

Value = tuple[str, bytes | None, Path]  # state key, value, path


@dataclass(frozen=True, slots=True)
class Standing:
    """Proven values of the state, at one moment.

    Attributes:
        time_ms: block time of the seal: what is proven, is proven as of then.
        values: state key -> value, or None where there is none.
    """

    time_ms: int
    values: Mapping[str, Any]


def pack(seal: canonical.Json, values: Iterable[Value]) -> canonical.Json:
    """The document, from the seal's row and the values with their paths."""
    rows: list[canonical.Json] = []
    for key, value, path in values:
        row: dict[str, canonical.Json] = {"key": key, "path": path.as_json()}
        if value is not None:
            row["value"] = value.decode()
        rows.append(row)
    return {"seal": seal, "values": rows}


def read(document: object, head: Trusted) -> Standing:
    """What a document proves under a trusted head.

    Raises:
        Malformed: anything in it is not proven.
    """
    if not isinstance(document, dict) or set(document) != {"seal", "values"}:
        raise Malformed("the proof of the present state is in an unknown form")
    roots = leaves.roots(document["seal"], head)
    rows = document["values"]
    if not isinstance(rows, list) or len(rows) > _MOST:
        raise Malformed("the proof carries too many values of the state")
    values: dict[str, Any] = {}
    for row in rows:
        key, value = _value(row, roots.state_root)
        if key in values:
            raise Malformed(f"the proof carries {key} twice")
        values[key] = value
    return Standing(roots.time_ms, values)


def _value(row: object, root: bytes) -> tuple[str, Any]:
    if not isinstance(row, dict) or not {"key", "path"} <= set(row) <= {"key", "path", "value"}:
        raise Malformed("a value of the state has key, path and perhaps value")
    key, path, value = row["key"], Path.from_json(row["path"]), row.get("value")
    if not isinstance(key, str) or not key.isascii() or not index.covered(key.encode()):
        raise Malformed("a key of the state that its root does not speak of")
    place = index.state_key(key.encode())
    if value is None:
        prefixtree.verify_absent(root, place, path)
        return key, None
    if not isinstance(value, str):
        raise Malformed("a value of the state is text")
    raw = value.encode("utf-8", "surrogatepass")
    prefixtree.verify_present(root, place, hashlib.sha256(raw).digest(), path)
    return key, canonical.decode(raw)


def offered(standing: Standing, sha256: str, purl: str) -> str:
    """The present status, under its purl, of an artifact that may be used.

    Raises:
        Malformed: the proof leaves out what is needed.
        Refusal: `withdrawn` or `disputed`.
    """
    key = status_key(sha256, purl)
    if key not in standing.values:
        raise Malformed("the proof leaves out the artifact's present status")
    record = standing.values[key]
    if record is None:
        raise Malformed("the network's state knows no such artifact")
    refuse_unless_offered(record)
    return str(record["status"])


def refuse_unless_offered(record: Mapping[str, Any]) -> None:
    """Nothing, for the status of an artifact that may be used.

    Args:
        record: value of the state key `status/<sha256>/<purl>`.

    Raises:
        Refusal: `withdrawn` or `disputed`, with the reason that the log gives.
    """
    status = str(record["status"])
    if status in PUBLISHED:
        return
    why = str(record.get("reason", ""))
    raise Refusal(
        "disputed" if status == DISPUTED else "withdrawn",
        what=f"the artifact's status is {status}{': ' if why else ''}{why}",
        who="the network's members, in its log",
        do="do not use the file; read its history with `pyrsia log history`",
    )
