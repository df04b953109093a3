"""Under which keys of the verifiable index an entry stands: its packages, and the digests that it names.

Decides what "the complete history of X" is complete of. Every type has its rule in one table; a type
without one is an error of ours, so that nothing is left out of a history by being forgotten.

Source: docs/ledger.md, "What an entry touches".
"""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from pyrsia.ledger.bodies.facts import DIGEST, about
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.state import View
from pyrsia.units import Limit
from pyrsia.wire import purl

MAX_TOUCHED = Limit(
    128, "index keys of one entry: a reveal of 32 outputs with 3 files each has 97, so nothing comes near"
)

KEYS_KNOWN = Limit(16_384, "purls of a busy day, 4 MB; parsing one costs more than all else about its key")

_PACKAGE: Final = b"pyrsia/pkg/v1\n"
_DIGEST: Final = b"pyrsia/digest/v1\n"

Rule = Callable[[dict[str, Any], str], Iterator[bytes]]


def package_key(versionless: str) -> bytes:
    """Index key of a package, 32 bytes. `versionless`: its purl without a version, canonical."""
    return hashlib.sha256(_PACKAGE + versionless.encode()).digest()


def digest_key(sha256: str) -> bytes:
    """Index key of a file's digest, 32 bytes. `sha256`: 64 hex digits."""
    return hashlib.sha256(_DIGEST + bytes.fromhex(sha256)).digest()


def touches(entry: Entry, of: str = "") -> tuple[bytes, ...]:
    """The entry's index keys: sorted, distinct, 32 bytes each, at most MAX_TOUCHED.

    Args:
        of: for entries that name a request, or a motion about a package: its purl, from the state.
            Others ignore it.

    Raises:
        KeyError: a type without a rule; ours to mend.
        Malformed: `of` is needed and is no purl; the caller has a bug.
    """
    return tuple(sorted(set(_RULES[entry.kind](entry.body, of))))


def touched(entry: Entry, view: View) -> tuple[bytes, ...]:
    """`touches`, with what it needs looked up in the state after the entry."""
    if entry.kind in _BY_REQUEST:
        return touches(entry, view.get(f"request/{entry.body['request']}")["body"]["purl"])
    if entry.kind == "motion.approve":
        return tuple(sorted(set(_motion(view.get(f"motion/{entry.body['motion']}")["body"], ""))))
    return touches(entry)


def _nothing(body: dict[str, Any], of: str) -> Iterator[bytes]:
    return iter(())


def _request(body: dict[str, Any], of: str) -> Iterator[bytes]:
    yield _package(body["purl"])
    yield digest_key(body["source"]["sha256"])


def _of_request(body: dict[str, Any], of: str) -> Iterator[bytes]:
    yield _package(of)


def _reveal(body: dict[str, Any], of: str) -> Iterator[bytes]:
    yield _package(of)
    for output in body["outputs"]:
        for record in ("canonical", "raw", "upstream"):
            if record in output:
                yield digest_key(output[record]["sha256"])


def _artifact(body: dict[str, Any], of: str) -> Iterator[bytes]:
    yield _package(body["purl"])
    yield digest_key(body["sha256"])
    yield digest_key(body["source_sha256"])


def _release(body: dict[str, Any], of: str) -> Iterator[bytes]:
    yield _package(body["purl"])
    yield digest_key(body["sha256"])


def _fact(body: dict[str, Any], of: str) -> Iterator[bytes]:
    subject = about(body["subject"])
    yield digest_key(subject[len(DIGEST) :]) if subject.startswith(DIGEST) else package_key(subject)


def _motion(body: dict[str, Any], of: str) -> Iterator[bytes]:
    """Of the package or file that it is about; members and numbers are the network's, not a package's."""
    if "purl" in body:
        yield _package(body["purl"])
    if "sha256" in body:
        yield digest_key(body["sha256"])


def _approval(body: dict[str, Any], of: str) -> Iterator[bytes]:
    """Of the motion's package; `touched` also knows the file."""
    if of:
        yield _package(of)


@lru_cache(maxsize=KEYS_KNOWN.value)
def _package(text: str) -> bytes:
    return package_key(str(purl.parse(text).versionless))


_RULES: Final[dict[str, Rule]] = {
    "network.genesis": _nothing,
    "build.request": _request,
    "build.cancel": _of_request,
    "build.commit": _of_request,
    "build.reveal": _reveal,
    "fact.add": _fact,
    "fault.evidence": _nothing,
    "motion.propose": _motion,
    "motion.approve": _approval,
    "artifact.withdraw": _release,
    "build.draw": _of_request,
    "build.verdict": _of_request,
    "artifact.add": _artifact,
    "block.seal": _nothing,
}
_BY_REQUEST: Final = frozenset(
    ("build.cancel", "build.commit", "build.reveal", "build.draw", "build.verdict")
)
