"""Founding a network: from its members' public keys to the genesis document.

The genesis is entry 0 of the log and the trust file of every client, byte for byte (docs/keys.md, "Trust root").
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire import canonical
from pyrsia.wire.text import b32

RULES_VERSION = 1


@dataclass(frozen=True, slots=True)
class Founder:
    """One founding member. `operator` is who answers for it, `domain` what fails together with it."""

    keys: KeyRing
    name: str
    operator: str
    domain: str
    roles: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    chain_end: bytes = b""  # of its beacon chain; empty: hashed now, which takes half a second

    def as_member(self) -> dict[str, canonical.Json]:
        """The public half, as genesis writes it; keys of roles it lacks are left empty."""
        validator = "validator" in self.roles
        builder = "builder" in self.roles
        return {
            "build": self.keys.build.public.hex() if builder else "",
            "capabilities": [*sorted(self.capabilities)],
            "chain_end": self._chain_end().hex() if validator else "",
            "cosign": self.keys.cosign.public.hex() if validator else "",
            "domain": self.domain,
            "log": self.keys.log.public.hex() if validator else "",
            "name": self.name,
            "node": b32(self.keys.node.public),
            "operator": self.operator,
            "roles": [*sorted(self.roles)],
            "vote": self.keys.vote.public.hex() if validator else "",
        }

    def _chain_end(self) -> bytes:
        return self.chain_end or beacon.chain_end(self.keys.chain_seed)


def found(
    name: str,
    founders: Sequence[Founder],
    *,
    builders: int,
    agreeing: int,
    environments: Sequence[str],
    min_isolation: str,
    demo: bool,
    now_ms: int,
) -> bytes:
    """The canonical genesis document.

    Args:
        builders, agreeing: K and T of docs/ledger.md, "Genesis": K >= 3, T > K/2.
        environments: digests of the environments whose results count.

    Raises:
        Malformed: the rules of a genesis do not hold, for example fewer than four validators.
    """
    members = sorted((founder.as_member() for founder in founders), key=lambda member: str(member["node"]))
    body: dict[str, canonical.Json] = {
        "agreeing": agreeing,
        "builders": builders,
        "created_ms": now_ms,
        "demo": demo,
        "environments": [*sorted(environments)],
        "limits": [["builder", 3_600_000], ["member", 3_600_000], ["validator", 3_600_000]],
        "members": list(members),
        "min_isolation": min_isolation,
        "name": name,
        "rules": RULES_VERSION,
    }
    document = canonical.encode({"body": body, "type": "network.genesis", "v": 1})
    Genesis.parse(document)
    return document
