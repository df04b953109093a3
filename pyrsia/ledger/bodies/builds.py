"""Bodies of the entries of a build: asked for, drawn, committed, revealed, judged, published.

Source: docs/ledger.md, "Leaves".
"""

from itertools import pairwise
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import shape
from pyrsia.ledger.genesis import ISOLATIONS, LABEL
from pyrsia.units import MAX_ATTESTATION_BYTES, MAX_DRAWN, MAX_OUTPUTS, Limit

VERDICTS: Final = ("DIVERGED", "EQUIVALENT", "FAILED", "INSUFFICIENT", "REPRODUCED", "WITNESSED")
RELATIONS: Final = ("different", "equivalent", "identical", "none")
SOURCES: Final = ("claimed", "mapping", "registry")
CONTAINMENTS: Final = ("full", "none", "partial")

WORD: Final = shape.ascii_name(100)
FILE: Final = shape.matching(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199}", "a plain file name")
_VERSION: Final = shape.text(100)
BLOB: Final = shape.fields(manifest=shape.hash32, sha256=shape.hash32, size=shape.size)
_PUBLISHED: Final = shape.fields(
    {"metadata": BLOB, "requires_python": _VERSION},
    manifest=shape.hash32,
    members=BLOB,
    sha256=shape.hash32,
    size=shape.size,
)
_OUTPUT: Final = shape.fields(
    {"requires_python": _VERSION, "upstream": _PUBLISHED},
    canonical=_PUBLISHED,
    containment=shape.one_of(*CONTAINMENTS),
    name=FILE,
    normalised=shape.list_of(shape.text(200), 64),
    raw=_PUBLISHED,
    stable=shape.hash32,
    upstream_relation=shape.one_of(*RELATIONS),
)
MAX_PARAMETERS = Limit(32, "of a recipe; a package that needs more has a build file of its own")
PARAMETERS: Final = shape.table(WORD, shape.text(200), MAX_PARAMETERS.value)
COMMIT: Final = shape.matching("[0-9a-f]{40}(?:[0-9a-f]{24})?", "a commit's digest")
_TAG: Final = shape.matching(r"[!#-\[\]-~]{0,220}", "a tag's name, or no text for a commit without one")
_SOURCE: Final = shape.fields(
    {"git": shape.fields(commit=COMMIT, tag=_TAG, tree=shape.hash32), "manifest": shape.hash32},
    file=FILE,
    sha256=shape.hash32,
    size=shape.size,
)
_COORDINATES: Final = shape.fields(
    {"namespace": shape.ascii_name(200)}, name=shape.ascii_name(200), version=shape.ascii_name(100)
)
_TARGET: Final = shape.fields(
    {"compiler": WORD, "jdk": WORD, "python": WORD}, arch=WORD, libc=shape.text(100), os=WORD
)
_RECIPE: Final = shape.fields(
    {"parameters": PARAMETERS},
    backend=WORD,
    cutoff_ms=shape.time_ms,
    environment=shape.ascii_name(200),
    isolation=WORD,
    normaliser=WORD,
    sde=shape.whole(0, 1 << 40),
    v=shape.whole(1, 1),
)
_NODES: Final = shape.list_of(shape.node, MAX_DRAWN.value)
_DISSENTING: Final = shape.list_of(shape.fields(builder=shape.node, why=shape.text(200)), MAX_DRAWN.value)

MAX_RECEIPTS = Limit(34, "f + 1 of the largest network's 100 validators; each costs a check of a signature")
_RECEIPT: Final = shape.fields(node=shape.node, sig=shape.hexed(64))


def _check_receipts(receipts: list[dict[str, Any]]) -> None:
    if any(a["node"] >= b["node"] for a, b in pairwise(receipts)):
        raise Malformed("receipts that are not sorted by node, or two of one")


def _check_reveal(body: dict[str, Any]) -> None:
    """`built` has outputs and no phase, `failed` a phase and no outputs."""
    built = body["outcome"] == "built"
    if built != bool(body["outputs"]) or built == bool(body["phase"]):
        raise Malformed("built with outputs and no phase, or failed with a phase and no outputs")
    if len({output["name"] for output in body["outputs"]}) != len(body["outputs"]):
        raise Malformed("two outputs of one name")
    for output in body["outputs"]:
        if (output["upstream_relation"] == "none") == ("upstream" in output):
            raise Malformed("an upstream file and a relation to it go together")


def _check_draw(body: dict[str, Any]) -> None:
    """Each builder has the operator that ran it at the draw."""
    if len(body["operators"]) != len(body["builders"]):
        raise Malformed("a draw names one operator for each builder")


RECEIPTS: Final = shape.also(shape.list_of(_RECEIPT, MAX_RECEIPTS.value), _check_receipts)

AUTHORED: Final[dict[str, shape.Check]] = {
    "build.request": shape.fields(
        coordinates=_COORDINATES,
        ecosystem=WORD,
        lock=BLOB,
        purl=shape.purl,
        recipe=_RECIPE,
        requester=shape.node,
        source=_SOURCE,
        target=_TARGET,
    ),
    "build.cancel": shape.fields(request=shape.hash32),
    "build.commit": shape.fields(commitment=shape.hash32, request=shape.hash32),
    "build.reveal": shape.also(
        shape.fields(
            attestation=shape.text(MAX_ATTESTATION_BYTES.value),
            environment=shape.ascii_name(200),
            isolation=shape.one_of(*ISOLATIONS),
            lock_sha256=shape.hash32,
            log=BLOB,
            nonce=shape.hexed(32),
            outcome=shape.one_of("built", "failed"),
            outputs=shape.list_of(_OUTPUT, MAX_OUTPUTS.value),
            phase=shape.text(60),
            receipts=RECEIPTS,
            request=shape.hash32,
            source=shape.one_of(*SOURCES),
        ),
        _check_reveal,
    ),
}

DERIVED: Final[dict[str, shape.Check]] = {
    "build.draw": shape.also(
        shape.fields(
            agreeing=shape.whole(1, MAX_DRAWN.value),
            beacon=shape.hash32,
            builders=_NODES,
            commit_deadline=shape.time_ms,
            excluded=LABEL,
            min_isolation=shape.one_of(*ISOLATIONS),
            operators=shape.list_of(LABEL, MAX_DRAWN.value),
            request=shape.hash32,
            reveal_deadline=shape.time_ms,
            round=shape.whole(0, 1),
        ),
        _check_draw,
    ),
    "build.verdict": shape.fields(
        agreeing=_NODES,
        dissenting=_DISSENTING,
        purl=shape.purl,
        request=shape.hash32,
        silent=_NODES,
        source_sha256=shape.hash32,
        verdict=shape.one_of(*VERDICTS),
    ),
    "artifact.add": shape.fields(
        {"metadata": BLOB, "requires_python": _VERSION},
        agreeing=_NODES,
        containment=shape.one_of(*CONTAINMENTS),
        dissenting=_DISSENTING,
        file=FILE,
        manifest=shape.hash32,
        members=BLOB,
        purl=shape.purl,
        request=shape.hash32,
        served=shape.one_of("canonical", "raw", "upstream"),
        sha256=shape.hash32,
        size=shape.size,
        source=shape.one_of(*SOURCES),
        source_sha256=shape.hash32,
        time_ms=shape.time_ms,
        upstream=shape.one_of(*RELATIONS),
        verdict=shape.one_of(*VERDICTS),
    ),
}
