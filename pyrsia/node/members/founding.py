"""Members as documents: what a node says of itself, and a network founded by several of them.

A member document has the form of a member in genesis with every public key in it; who proposes it leaves out those
that its roles do not need (`fitted`). Nothing in it is secret. The genesis is entry 0 of the log and the trust file of
every client, byte for byte (docs/keys.md, "Trust root").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire import canonical
from pyrsia.wire.text import b32

RULES_VERSION = 1
_NEEDED_BY: Final = {
    "build": "builder",
    "chain_end": "validator",
    "cosign": "validator",
    "log": "validator",
    "vote": "validator",
}


def fitted(document: Mapping[str, Any], roles: Sequence[str], capabilities: Sequence[str]) -> dict[str, Any]:
    """The member that a document makes with these roles: exactly the keys that they need."""
    told = {**document, "roles": sorted(set(roles)), "capabilities": sorted(set(capabilities))}
    return {
        name: "" if _NEEDED_BY.get(name, "") not in ("", *roles) else value for name, value in told.items()
    }


def document(
    keys: KeyRing,
    chain_end: bytes,
    *,
    name: str,
    operator: str,
    domain: str,
    roles: Sequence[str],
    capabilities: Sequence[str],
) -> dict[str, Any]:
    """What a node says of itself, with all its public keys."""
    return {
        "build": keys.build.public.hex(),
        "capabilities": sorted(set(capabilities)),
        "chain_end": chain_end.hex(),
        "cosign": keys.cosign.public.hex(),
        "domain": domain,
        "log": keys.log.public.hex(),
        "name": name,
        "node": b32(keys.node.public),
        "operator": operator,
        "roles": sorted(set(roles)),
        "vote": keys.vote.public.hex(),
    }


@dataclass(frozen=True, slots=True)
class Founder:
    """One founding member. `operator` is who answers for it, `domain` what fails together with it."""

    keys: KeyRing
    name: str
    operator: str
    domain: str
    roles: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    chain_end: bytes = b""  # of its beacon chain; empty: hashed now, which takes a tenth of a second

    def as_member(self) -> dict[str, canonical.Json]:
        """The public half, as genesis writes it; keys of roles it lacks are left empty."""
        end = self._chain_end() if "validator" in self.roles else b""
        told = document(
            self.keys,
            end,
            name=self.name,
            operator=self.operator,
            domain=self.domain,
            roles=self.roles,
            capabilities=self.capabilities,
        )
        return fitted(told, self.roles, self.capabilities)

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
        "limits": [
            ["builder", 3_600_000],
            ["issuer", 3_600_000],
            ["member", 3_600_000],
            ["validator", 3_600_000],
        ],
        "members": list(members),
        "min_isolation": min_isolation,
        "name": name,
        "rules": RULES_VERSION,
    }
    document = canonical.encode({"body": body, "type": "network.genesis", "v": 1})
    Genesis.parse(document)
    return document
