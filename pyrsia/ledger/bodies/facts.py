"""The body of `fact.add`: what a member says of a package, its versions or a file.

What a policy decides by is a field of its own; `text` is for people, and longer text is a blob.

Source: docs/ledger.md, "Leaves", "Facts".
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.ledger.bodies.builds import BLOB, COMMIT, FILE
from pyrsia.units import (
    MAX_FACT_ALIASES,
    MAX_FACT_BYTES,
    MAX_FACT_RANGES,
    MAX_FACT_VERSIONS,
    MAX_OUTPUTS,
    Limit,
)
from pyrsia.wire import purl

MAX_TAGS = Limit(32, "of one description: more than any registry shows beside a package, 2 KB")
SUBJECTS_KNOWN = Limit(16_384, "a busy day's subjects, 4 MB: an entry's is asked for three times")

SEVERITIES: Final = ("critical", "high", "low", "medium", "none", "unknown")
DIGEST: Final = "sha256:"  # starts the subject that is a file
_ID: Final = shape.ascii_name(64)
_VERSION: Final = shape.ascii_name(100)

ISSUED: Final = frozenset(("advisory", "vex"))  # only a member with the role issuer says these
RATINGS: Final = ("negative", "neutral", "positive", "strong")  # of a review, as crev has them
JUSTIFICATIONS: Final = (  # why a VEX statement says that a package is not affected
    "component-not-present",
    "inline-mitigations-already-exist",
    "vulnerable-code-cannot-be-controlled-by-adversary",
    "vulnerable-code-not-in-execute-path",
    "vulnerable-code-not-present",
)
DEGREES: Final = ("none", "low", "medium", "high")  # of its thoroughness and understanding

RECHECKS: Final = ("agrees", "contradicts", "failed")  # somebody built a request's inputs again
SELF_CHECKS: Final = ("stable", "unstable")  # a builder of the request varied its own build
_FOUND: Final = shape.fields({"found": shape.hash32}, expected=shape.hash32, file=FILE)

Fields = Mapping[str, shape.Check]


def _fields(required: Fields | None = None, optional: Fields | None = None) -> tuple[Fields, Fields]:
    return required or {}, optional or {}


# kind -> its own fields: those that it must have, those that it may have
KINDS: Final[dict[str, tuple[Fields, Fields]]] = {
    "advisory": _fields(
        {"advisory": _ID, "severity": shape.one_of(*SEVERITIES)},
        {
            "aliases": shape.sorted_set(_ID, MAX_FACT_ALIASES.value),
            "cvss": shape.ascii_name(200),
            "modified_ms": shape.time_ms,
            "versions": shape.sorted_set(_VERSION, MAX_FACT_VERSIONS.value),
        },
    ),
    "commit-signature": _fields(
        {"commit": COMMIT, "good": shape.flag, "key": shape.ascii_name(128)},
    ),
    "description": _fields(
        optional={
            "homepage": shape.ascii_name(300),
            "json": shape.text(MAX_FACT_BYTES.value, 1),
            "namespace": shape.label(200),
            "tags": shape.sorted_set(shape.label(64), MAX_TAGS.value),
        }
    ),
    "licence": _fields(optional={"expression": shape.label(200)}),
    "recheck": _fields(
        {"outcome": shape.one_of(*RECHECKS, *SELF_CHECKS), "request": shape.hash32},
        {"files": shape.list_of(_FOUND, MAX_OUTPUTS.value), "self": shape.yes},
    ),
    "review": _fields(
        optional={
            "outcome": shape.one_of("approved", "noted", "rejected"),
            "rating": shape.one_of(*RATINGS),
            "thoroughness": shape.one_of(*DEGREES),
            "understanding": shape.one_of(*DEGREES),
        }
    ),
    "sbom": _fields(
        optional={"components": shape.whole(0, 1_000_000), "format": shape.one_of("cyclonedx", "spdx")}
    ),
    "vex": _fields(
        {
            "advisory": _ID,
            "outcome": shape.one_of("affected", "fixed", "not-affected", "under-investigation"),
        },
        {"justification": shape.one_of(*JUSTIFICATIONS)},
    ),
}

_COMMON: Final[Fields] = {
    "kind": shape.one_of(*KINDS),
    "subject": shape.text(purl.MAX_PURL_CHARS, 1),
    "text": shape.text(MAX_FACT_BYTES.value),
    "valid_from": shape.time_ms,
}
_ANY: Final[dict[str, shape.Check]] = {
    "blob": BLOB,
    "range": shape.list_of(
        shape.fields({"fixed": _VERSION, "last": _VERSION}, introduced=_VERSION), MAX_FACT_RANGES.value
    ),
    "supersedes": shape.hash32,
}
_STATED: Final[dict[str, shape.Check]] = {
    kind: shape.fields({**_ANY, **may}, **_COMMON, **must) for kind, (must, may) in KINDS.items()
}
_WITHDRAWN: Final = shape.fields(**_COMMON, supersedes=shape.hash32, withdrawn=shape.yes)


def _check(body: Any) -> None:
    """A fact that takes an earlier one back says only that; every other one has its kind's fields."""
    if type(body) is dict and "withdrawn" in body:
        _WITHDRAWN(body)
    else:
        shape.tagged("kind", _STATED)(body)
        _check_recheck(body)
    _check_subject(body)


def _check_recheck(body: dict[str, Any]) -> None:
    """Of the same inputs by the same builder, or by somebody else: the words differ, so nobody mixes them up."""
    if body["kind"] != "recheck":
        return
    if (body["outcome"] in SELF_CHECKS) != ("self" in body):
        raise Malformed("a self-check is stable or unstable, another re-check agrees, contradicts or failed")
    names = [one["file"] for one in body.get("files", ())]
    if names != sorted(set(names)):
        raise Malformed("files of a re-check that are not sorted by name, or stand twice")


@lru_cache(SUBJECTS_KNOWN.value)
def about(subject: str) -> str:
    """What a fact's subject is a fact of: a purl without its version, or `sha256:` and a digest.

    Raises:
        Malformed: it is neither a canonical purl nor a digest.
    """
    if subject.startswith(DIGEST):
        shape.hash32(subject[len(DIGEST) :])
        return subject
    return str(purl.parse(subject).versionless)


def _check_subject(body: dict[str, Any]) -> None:
    subject = body["subject"]
    whole = about(subject) == subject and not subject.startswith(DIGEST)
    ranges, versions = body.get("range"), body.get("versions")
    if versions is not None and not (whole and versions):
        raise Malformed("a list of versions speaks of a purl without a version, and is left out when empty")
    if ranges is None:
        return
    if not whole or not ranges:
        raise Malformed("a range speaks of a purl without a version, and is left out when empty")
    if any("fixed" in one and "last" in one for one in ranges):
        raise Malformed("a range ends before the fixed version or with the last, not with both")


AUTHORED: Final[dict[str, shape.Check]] = {"fact.add": _check}
