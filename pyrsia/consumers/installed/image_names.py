"""Which image it must be: names and tags as people write them, and `--as`, held against what is proven.

A layout or archive says nothing of its name that could be believed, so without `--as` any proven image will do.
"""

import re
from typing import Final

from pyrsia.consumers.installed.rows import ACCEPTED, NO_PROOF, REFUSED, Row
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

_DIGEST: Final = re.compile("sha256:([0-9a-f]{64})")


def reference(name: str) -> tuple[str, str]:
    """Repository, and tag or digest, of a name at a node. Raises `Refusal` (`usage`)."""
    repository, at, digest = name.partition("@")
    if not at:
        repository, colon, digest = name.rpartition(":")
        if not colon or "/" in digest:
            repository, digest = name, "latest"
    if not re.fullmatch(r"[A-Za-z0-9._/:-]{1,255}", repository) or not re.fullmatch(
        r"[A-Za-z0-9._:-]{1,140}", digest
    ):
        raise Refusal("usage", what=f"{name} is no name of an image", who="your command", do="write NAME:TAG")
    parts = repository.split("/")
    if len(parts) > 1 and (":" in parts[0] or parts[0] in ("docker.io", "localhost")):
        repository = "/".join(parts[1:])
    return repository, digest


def as_asked(row: Row, repository: str, reference: str) -> Row:
    """A proven manifest of another image, tag or digest is not the one that was asked for."""
    by_digest = _DIGEST.fullmatch(reference)
    if by_digest is not None and by_digest[1] != row.sha256:
        return Row(row.what, row.package, REFUSED, row.sha256, why=f"these bytes are not {reference}",
                   do="ask another node, and do not trust this one")  # fmt: skip
    if row.outcome != ACCEPTED:
        return row
    found = purls.parse(row.package)
    try:
        asked = names.read(repository).spellings
    except Problem as problem:
        raise Refusal("usage", what=problem.message, who="your command", do="write NAME:TAG") from None
    if str(found.versionless) not in asked:
        has = names.shown(str(found.versionless)) or row.package
        return Row(row.what, row.package, REFUSED, row.sha256, why=f"these bytes are {has}, not {repository}",
                   do="ask another node, and do not trust this one")  # fmt: skip
    if by_digest is None and found.version != reference:
        return Row(row.what, row.package, NO_PROOF, row.sha256, do="name the tag that is proven, or the digest",
                   why=f"these bytes are proven as {found.version}, not as what {reference} is")  # fmt: skip
    return row


def wanted(expected: str) -> Purl | None:
    """The purl of `--as`; None where there is none. Raises `Refusal` (`usage`)."""
    if not expected:
        return None
    try:
        found = purls.parse(expected)
    except Malformed as error:
        raise Refusal("usage", what=f"{expected[:200]!a} is no purl: {error}", who="your command",
                      do="write --as pkg:docker/NAMESPACE/NAME@TAG") from None  # fmt: skip
    if found.type != "docker":
        raise Refusal("usage", what=f"{found} is no image", who="your command",
                      do="write --as pkg:docker/NAMESPACE/NAME@TAG")  # fmt: skip
    return found


def bound(row: Row, wanted: Purl | None) -> Row:
    """The row of what an image begins with, where the command says which image it must be."""
    if wanted is None or row.outcome != ACCEPTED:
        return row
    found = purls.parse(row.package)
    shown = names.shown(str(found.versionless))
    spellings = names.read(shown).spellings if shown else (str(found.versionless),)
    if str(wanted.versionless) not in spellings:
        return Row(row.what, row.package, REFUSED, row.sha256, do="do not use it as that image",
                   why=f"these bytes are {row.package}, not {wanted}")  # fmt: skip
    if wanted.version not in ("", found.version):
        return Row(row.what, row.package, NO_PROOF, row.sha256, do="name the tag that is proven",
                   why=f"these bytes are proven as {found.version}, not as {wanted.version}")  # fmt: skip
    return row
