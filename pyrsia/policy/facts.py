"""What a decision is made of, and what it is. No rules here.

A door (the gateway, `verify`, an export) gathers `Facts` of one file, `evaluate.decide` answers a `Decision`, and the
door tells its reasons in the words that its client prints.
"""

from dataclasses import dataclass
from typing import Final

from pyrsia.knowledge.known import Known

NETWORK: Final = "network"  # published by the log
LOCAL: Final = "local"  # pushed to this node; no other has it
PROXIED: Final = "proxied"  # upstream's, unverified


@dataclass(frozen=True, slots=True)
class Agreeing:
    """A builder or witness whose outputs are the published ones.

    Attributes:
        node: its id in base32.
        operator: who answers for it; votes are counted one an operator.
        isolation: how its build was kept in, as its reveal says; "" for a witness.
    """

    node: str
    operator: str
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One file under one purl, as far as it is known here.

    Attributes:
        purl: canonical, with its version.
        origin: `NETWORK`, `LOCAL` or `PROXIED`.
        status: REPRODUCED, EQUIVALENT, WITNESSED, DISPUTED or WITHDRAWN; "" unless of the network.
        containment: how much of the source the build is known to have used, as `artifact.add` says; "" if unsaid.
        upstream: how the file stands to upstream's: identical, equivalent, different or none.
        verdict: what it was published with; "" where that is its status, or nobody said.
        any_version: whether the version in `purl` is made up, to ask about a package whatever its version: what facts
            say of that one means nothing, and is not asked. `known` is then what they say of the file alone.
        why: the reason that the log gives for a status that it fell to; "" where there is none.
        by_digest: whether who asks named these very bytes, not a version or a tag that led to them.
        known: what facts of the log say of this version; None where nobody asked.
        published_ms: block time of its `artifact.add`, or when it was pushed, or when upstream says that it was
            uploaded; 0 where nobody knows.
    """

    purl: str
    origin: str
    file: str = ""
    sha256: str = ""
    status: str = ""
    agreeing: tuple[Agreeing, ...] = ()
    containment: str = ""
    upstream: str = "none"
    published_ms: int = 0
    known: Known | None = None
    verdict: str = ""
    by_digest: bool = False
    any_version: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one rule speaks for or against a file.

    Attributes:
        rule: its name in policy.toml (`minimum`, `deny`, `age_days`, ...).
        what: a sentence without a full stop.
        do: what would change it; "" where nothing is to be done.
    """

    rule: str
    allows: bool
    what: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the policy about one file: allowed unless a reason is against it."""

    allowed: bool
    reasons: tuple[Reason, ...]
