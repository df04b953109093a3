"""Who the builders and the requester are: the members' records that a proof carries, proven under its head.

Genesis names the first members; motions add, change and dismiss others. The state keeps a record of everybody who
ever was one, and of every key the member whose it is or was, so a proof needs no history of motions.

Source: docs/log.md, "Proof file"; docs/ledger.md, "Members and numbers".
"""

from collections.abc import Mapping
from typing import Any

from pyrsia.errors import Malformed
from pyrsia.ledger.genesis import Member
from pyrsia.verify.standing import Standing


class Roll:
    """The members that one proof speaks of."""

    def __init__(self, now: Standing) -> None:
        self._values: Mapping[str, Any] = now.values

    def member(self, node: str) -> Member:
        """The member with this node id, also one that has left.

        Raises:
            Malformed: the proof does not carry its record, or proves that there never was one.
        """
        key = f"member/{node}"
        if key not in self._values:
            raise Malformed(f"the proof leaves out the record of {node[:8]}")
        record = self._values[key]
        if record is None:
            raise Malformed(f"{node[:8]} never was a member")
        return Member.of(record)

    def left(self, node: str) -> bool:
        """Whether it is no member any more."""
        return "left" in (self._values.get(f"member/{node}") or {})

    def build_keys(self, node: str) -> list[bytes]:
        """Keys with which it may have signed provenance: its own now, and those that the proof shows to be its."""
        keys = [key for key in (self.member(node).build,) if key]
        for name, owner in self._values.items():
            if owner == node and name.startswith("key/"):
                keys.append(bytes.fromhex(name.removeprefix("key/")))
        return keys


def wanted(draw: Mapping[str, Any], requester: str) -> list[str]:
    """State keys of the records that a proof about this draw carries."""
    return [f"member/{node}" for node in sorted({*draw["builders"], requester})]
