"""The founding document: who the members are and which numbers the network lives by.

Entry 0 of the log and every client's trust file, byte for byte. Decides whether a document can found a
network; changing members later is governance's business.

Source: docs/ledger.md, "Genesis"; docs/agreement.md, "Members and quorum".
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.units import MAX_VALIDATORS, NodeId
from pyrsia.wire import canonical
from pyrsia.wire.epochs import Validator
from pyrsia.wire.text import b32, unb32

ROLES: Final = ("builder", "issuer", "storage", "validator")
ISOLATIONS: Final = ("confined", "namespace")  # weakest first; what `min_isolation` may say
MIN_VALIDATORS: Final = 4  # below it one fault stops or splits the network
MAX_MEMBERS: Final = 150  # their keys fill one entry of 60,000 bytes
RULES: Final = (1,)  # every rules version that this code can execute

_KEYS: Final = {"validator": ("vote", "log", "cosign", "chain_end"), "builder": ("build",)}
LABEL: Final = shape.label(64)
# It starts the origin line of checkpoints, and a signed note's key name has neither space nor plus.
_NAME: Final = shape.matching(r"[A-Za-z0-9._~:/-]{1,64}", "a name of letters, digits and ._~:/-")
MEMBER: Final = shape.fields(
    build=shape.key_or_empty,
    capabilities=shape.sorted_set(shape.ascii_name(32), 32),
    chain_end=shape.key_or_empty,
    cosign=shape.key_or_empty,
    domain=LABEL,
    log=shape.key_or_empty,
    name=LABEL,
    node=shape.node,
    operator=LABEL,
    roles=shape.sorted_set(shape.one_of(*ROLES), len(ROLES)),
    vote=shape.key_or_empty,
)
# The numbers that a network may change later have one form here and in `network.set`.
AGREEING: Final = shape.whole(1, 100)
MIN_BUILDERS: Final = 3  # of two, either one alone could stop everything
BUILDERS: Final = shape.whole(MIN_BUILDERS, 100)
ENVIRONMENTS: Final = shape.sorted_set(shape.ascii_name(200), 64)
LIMITS: Final = shape.table(shape.ascii_name(32), shape.whole(0, canonical.MAX_INT), 16)
_BODY: Final = shape.fields(
    agreeing=AGREEING,
    builders=BUILDERS,
    created_ms=shape.whole(0, canonical.MAX_INT),
    demo=shape.flag,
    environments=ENVIRONMENTS,
    limits=LIMITS,
    members=shape.list_of(MEMBER, MAX_MEMBERS),
    min_isolation=shape.one_of(*ISOLATIONS),
    name=_NAME,
    rules=shape.whole(1, 1_000),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One member as genesis or a motion admits it. Keys that its roles do not need are empty bytes."""

    node: NodeId
    name: str
    operator: str
    domain: str
    roles: frozenset[str]
    capabilities: frozenset[str]
    vote: bytes
    log: bytes
    cosign: bytes
    build: bytes
    chain_end: bytes

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Member":
        """From fields that have the form of `MEMBER`."""
        return cls(
            node=NodeId(unb32(fields["node"])),
            name=fields["name"],
            operator=fields["operator"],
            domain=fields["domain"],
            roles=frozenset(fields["roles"]),
            capabilities=frozenset(fields["capabilities"]),
            vote=bytes.fromhex(fields["vote"]),
            log=bytes.fromhex(fields["log"]),
            cosign=bytes.fromhex(fields["cosign"]),
            build=bytes.fromhex(fields["build"]),
            chain_end=bytes.fromhex(fields["chain_end"]),
        )

    @property
    def text(self) -> str:
        return b32(self.node)

    @property
    def seat(self) -> Validator | None:
        """How other validators know it, None if it does not validate."""
        if "validator" not in self.roles:
            return None
        return Validator(self.node, self.vote, self.log, self.cosign, self.chain_end)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Every key that it has: one key a purpose."""
        every = (self.node, self.vote, self.log, self.cosign, self.build, self.chain_end)
        return tuple(key for key in every if key)


@dataclass(frozen=True)
class Genesis:
    """A checked genesis document; `raw` is the leaf, byte for byte."""

    raw: bytes
    body: dict[str, Any]
    chain_id: bytes
    members: tuple[Member, ...]  # sorted by node id text
    validators: tuple[Member, ...]  # sorted by vote key: the position is the member index in consensus

    @classmethod
    def parse(cls, raw: bytes) -> "Genesis":
        """Read and check a document.

        Raises:
            Malformed: not canonical, a field wrong, or a rule of a network broken.
        """
        document = canonical.decode(raw)
        _DOCUMENT(document)
        assert isinstance(document, dict)  # noqa: S101  (the shape above says so)
        body: dict[str, Any] = document["body"]  # type: ignore[assignment]
        members = tuple(Member.of(fields) for fields in body["members"])
        validators = tuple(sorted((m for m in members if "validator" in m.roles), key=lambda m: m.vote))
        _check_rules(body, members, validators)
        return cls(raw, body, blake3(raw).digest(), members, validators)

    @cached_property
    def net(self) -> str:
        return b32(self.chain_id)

    @cached_property
    def origin(self) -> str:
        """Origin line of the log's checkpoints."""
        return f"{self.name}/{self.net[:16]}"

    @cached_property
    def founders(self) -> tuple[Validator, ...]:
        """The validators of epoch 0, sorted by vote key. Who validates now, the state says (`views.validators`)."""
        return tuple(one.seat for one in self.validators if one.seat is not None)

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def builders(self) -> int:
        """K: how many are drawn."""
        return int(self.body["builders"])

    @property
    def agreeing(self) -> int:
        """T: how many must agree."""
        return int(self.body["agreeing"])

    @property
    def demo(self) -> bool:
        return bool(self.body["demo"])

    @property
    def created_ms(self) -> int:
        return int(self.body["created_ms"])

    @property
    def rules(self) -> int:
        return int(self.body["rules"])

    @property
    def min_isolation(self) -> str:
        return str(self.body["min_isolation"])

    @property
    def environments(self) -> tuple[str, ...]:
        return tuple(self.body["environments"])

    @cached_property
    def limits(self) -> dict[str, int]:
        """Role -> entries an hour of block time."""
        return {str(role): int(count) for role, count in self.body["limits"]}

    @cached_property
    def _by_node(self) -> dict[bytes, Member]:
        return {member.node: member for member in self.members}

    def member(self, node: bytes) -> Member | None:
        """The member whose node key is `node` (32 bytes)."""
        return self._by_node.get(node)


_DOCUMENT: Final = shape.fields(body=_BODY, type=shape.one_of("network.genesis"), v=shape.whole(1, 1))


def check_keys(member: Member) -> None:
    """A member has exactly the keys that its roles need, each for one purpose.

    Raises:
        Malformed: it has not.
    """
    for role, names in _KEYS.items():
        wanted = role in member.roles
        if any(bool(getattr(member, name)) != wanted for name in names):
            raise Malformed(f"a member has exactly the keys that its roles need ({role})")
    if len(set(member.keys)) != len(member.keys):
        raise Malformed("a key is used twice")


def check_quorum(builders: int, agreeing: int) -> None:
    """T is more than half of K and at most K.

    Raises:
        Malformed: it is not.
    """
    if not builders < 2 * agreeing <= 2 * builders:
        raise Malformed("T (agreeing) is more than half of K (builders) and at most K")


def _check_rules(body: dict[str, Any], members: tuple[Member, ...], validators: tuple[Member, ...]) -> None:
    """What holds across fields: K >= 3, T > K/2, and what docs/ledger.md, "Genesis", lists besides."""
    if body["rules"] not in RULES:
        raise Malformed(f"rules version {body['rules']} is not known here")
    check_quorum(body["builders"], body["agreeing"])
    if not MIN_VALIDATORS <= len(validators) <= MAX_VALIDATORS.value:
        raise Malformed(
            f"{len(validators)} validators, from {MIN_VALIDATORS} to {MAX_VALIDATORS.value} are allowed"
        )
    texts = [member["node"] for member in body["members"]]
    if texts != sorted(set(texts)):
        raise Malformed("members are not sorted by node, or one stands twice")
    if len({member.name for member in members}) != len(members):
        raise Malformed("two members have the same name")
    for member in members:
        check_keys(member)
    # One key per purpose and member: a shared key would let one signature speak for two.
    keys = [key for member in members for key in member.keys]
    if len(set(keys)) != len(keys):
        raise Malformed("a key is used twice")
