"""Who is a member and which numbers hold, as the state has it now: genesis, and the motions since.

Everything that nodes must agree on about members asks here. Who of them validates is `seats`' business: it stays
what it is until an epoch changes it.

Source: docs/ledger.md, "Members and numbers".
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pyrsia.ledger import state
from pyrsia.ledger.genesis import Genesis, Member
from pyrsia.ledger.state import View, load
from pyrsia.wire.text import b32

ISSUER: Final = "issuer"  # the role of those who bring advisories
EVERY_MEMBER: Final = "member"  # the role of `limits` that all members have
_MEMBERS: Final = 256  # records of one network, read for every entry
_CONFIGS: Final = 8  # the newest and those of blocks that are not final


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the network lives by.

    Attributes:
        limits: role -> entries an hour of block time.
        builders, agreeing: K and T.
        following: the rules version to come and the height where it begins, if one is agreed.
    """

    agreeing: int
    builders: int
    environments: frozenset[str]
    limits: dict[str, int]
    min_isolation: str
    rules: int
    following: tuple[int, int] | None

    def rules_at(self, height: int) -> int:
        """The rules version of the block at `height`."""
        if self.following is not None and height >= self.following[1]:
            return self.following[0]
        return self.rules

    def quota(self, member: Member) -> int:
        """Entries an hour: the most that one of its roles, or being a member, allows."""
        limit = self.limits.get
        most = limit(EVERY_MEMBER, 0)
        for role in member.roles:
            most = max(most, limit(role, 0))
        return most


def found(view: View, genesis: Genesis) -> None:
    """Block 0: members and the network's numbers enter the state."""
    for fields, member in zip(genesis.body["members"], genesis.members, strict=True):
        _write(view, fields)
        _claim(view, member)
    view.put(state.MEMBERS, [member.text for member in genesis.members])
    view.put(state.CONFIG, {name: value for name, value in genesis.body.items() if name != "members"})


# -- asked --


def numbers(view: View, genesis: Genesis) -> Numbers:
    """The numbers that the state holds; before block 0 those of genesis."""
    raw = view.raw(state.CONFIG)
    return _parsed(genesis.body) if raw is None else _numbers(raw)


def member(view: View, node: bytes) -> Member | None:
    """The member whose node key is `node` (32 bytes), if it is one now."""
    raw = view.raw(f"member/{b32(node)}")
    if raw is None:
        return None
    found, left = _member(raw)
    return None if left else found


def operator(view: View, node: str) -> str:
    """Who runs a node, also one that has left; for an unknown one its own id."""
    raw = view.raw(f"member/{node}")
    return node if raw is None else _member(raw)[0].operator


def members(view: View) -> list[Member]:
    """Everybody who is a member now, sorted by node id text."""
    return [_member(view.raw(f"member/{text}") or b"")[0] for text in view.get(state.MEMBERS, [])]


def fields(view: View, node: str) -> dict[str, Any] | None:
    """The record of a member now."""
    found: dict[str, Any] | None = view.get(f"member/{node}")
    return None if found is None or "left" in found else found


def taken(view: View, key: bytes) -> bool:
    """Whether a key is or was anybody's: a key that is revoked never comes back."""
    return view.raw(f"key/{key.hex()}") is not None


# -- changed --


def admit(view: View, told: dict[str, Any]) -> None:
    """A new member with these fields."""
    newcomer = Member.of(told)
    _write(view, told)
    _claim(view, newcomer)
    everybody = view.get(state.MEMBERS, [])
    if newcomer.text not in everybody:
        view.put(state.MEMBERS, sorted([*everybody, newcomer.text]))


def dismiss(view: View, node: str, leaf: int) -> None:
    """A member leaves. Its record stays, so that its builds keep their operator and its keys their owner."""
    view.put(f"member/{node}", {**view.get(f"member/{node}"), "left": leaf})
    view.put(state.MEMBERS, [text for text in view.get(state.MEMBERS, []) if text != node])


def change(view: View, told: dict[str, Any]) -> None:
    """A member's fields become these; new keys are its own from now on, old ones nobody's again."""
    _write(view, told)
    _claim(view, Member.of(told))


def _write(view: View, told: dict[str, Any]) -> None:
    view.put(f"member/{told['node']}", told)


def _claim(view: View, owner: Member) -> None:
    for key in owner.keys:
        view.put(f"key/{key.hex()}", owner.text)


@lru_cache(_MEMBERS)
def _member(raw: bytes) -> tuple[Member, bool]:
    """By its bytes: the same bytes are the same member, whatever the state around them."""
    record = load(raw)
    return Member.of(record), "left" in record


@lru_cache(_CONFIGS)
def _numbers(raw: bytes) -> Numbers:
    return _parsed(load(raw))


def _parsed(config: dict[str, Any]) -> Numbers:
    following = config.get("next_rules")
    return Numbers(
        agreeing=config["agreeing"],
        builders=config["builders"],
        environments=frozenset(config["environments"]),
        limits={role: count for role, count in config["limits"]},
        min_isolation=config["min_isolation"],
        rules=config["rules"],
        following=None if following is None else (following["version"], following["height"]),
    )
