"""Bodies of governance: a motion says its kind and that kind's fields; an approval names the motion.

Also `artifact.withdraw` in a maintainer's own name: the same effect by another authority.

Source: docs/ledger.md, "Leaves", "Motions".
"""

from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.ledger.bodies.builds import PARAMETERS, WORD
from pyrsia.ledger.genesis import (
    AGREEING,
    BUILDERS,
    ENVIRONMENTS,
    LIMITS,
    MEMBER,
    Member,
    check_keys,
    check_quorum,
)
from pyrsia.units import MAX_FACT_BYTES, Limit
from pyrsia.wire import canonical

MAX_MAINTAINER_KEYS = Limit(16, "people who may withdraw a release; more belong behind one key of their own")

ROTATED: Final = ("build", "chain_end", "cosign", "log", "vote")  # keys that a member may change
NUMBERS: Final = ("agreeing", "builders", "environments", "limits", "rules")  # what network.set may change

REASON: Final = shape.text(MAX_FACT_BYTES.value, 1)
_REPOSITORY: Final = shape.matching(
    r"https://[a-z0-9](?:[a-z0-9.-]{0,100}[a-z0-9])?(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9_~+-][A-Za-z0-9._~+-]{0,99}){1,8}",
    "the https address of a repository",
)
_TAG: Final = shape.matching(
    r"[A-Za-z0-9._/+-]{0,60}\{version\}[A-Za-z0-9._/+-]{0,60}", "a tag pattern with {version} in it once"
)
_RECIPE: Final = shape.fields(
    {
        "backend": WORD,
        "environment": shape.ascii_name(200),
        "isolation": WORD,
        "normaliser": WORD,
        "parameters": PARAMETERS,
    }
)


def _check_member(body: dict[str, Any]) -> None:
    check_keys(Member.of(body["member"]))


def _check_rotation(body: dict[str, Any]) -> None:
    keys = [body[name] for name in ROTATED if name in body]
    if not keys or len(set(keys)) != len(keys):
        raise Malformed("a rotation names at least one new key, and none twice")


def _check_numbers(body: dict[str, Any]) -> None:
    if not any(name in body for name in NUMBERS):
        raise Malformed(f"network.set changes at least one of {', '.join(NUMBERS)}")
    if "builders" in body and "agreeing" in body:
        check_quorum(body["builders"], body["agreeing"])


_ABOUT: Final = {"purl": shape.release, "reason": REASON, "sha256": shape.hash32}

MOTIONS: Final[dict[str, shape.Check]] = {
    "artifact.withdraw": shape.fields(kind=WORD, **_ABOUT),
    "dispute.resolve": shape.fields(kind=WORD, **_ABOUT),
    "mapping.set": shape.fields(
        keys=shape.sorted_set(shape.hash32, MAX_MAINTAINER_KEYS.value),
        kind=WORD,
        purl=shape.package,
        reason=REASON,
        recipe=_RECIPE,
        replaces=shape.whole(0, canonical.MAX_INT - 1),
        repository=_REPOSITORY,
        tag=_TAG,
    ),
    "member.add": shape.also(shape.fields(kind=WORD, member=MEMBER, reason=REASON), _check_member),
    "member.remove": shape.fields(kind=WORD, node=shape.node, reason=REASON),
    "member.replace": shape.also(
        shape.fields(kind=WORD, member=MEMBER, node=shape.node, reason=REASON), _check_member
    ),
    "member.rotate": shape.also(
        shape.fields(dict.fromkeys(ROTATED, shape.hash32), kind=WORD, node=shape.node, reason=REASON),
        _check_rotation,
    ),
    "network.set": shape.also(
        shape.fields(
            {
                "agreeing": AGREEING,
                "builders": BUILDERS,
                "environments": ENVIRONMENTS,
                "limits": LIMITS,
                "rules": shape.fields(
                    height=shape.whole(1, canonical.MAX_INT), version=shape.whole(1, 1_000)
                ),
            },
            kind=WORD,
            reason=REASON,
        ),
        _check_numbers,
    ),
}

AUTHORED: Final[dict[str, shape.Check]] = {
    "motion.propose": shape.tagged("kind", MOTIONS),
    "motion.approve": shape.fields(motion=shape.hash32),
    "artifact.withdraw": shape.fields(key=shape.hash32, sig=shape.hexed(64), **_ABOUT),
}
