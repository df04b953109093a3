"""An image by its name at a node: itself by tag and digest, and what an SBOM that the log names lists. No layers.

Source: docs/knowledge.md, "Auditing a project".
"""

import hashlib
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyrsia.client import Client
from pyrsia.consumers.auditing import kinds
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents.purls import spelled
from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.known import Known
from pyrsia.units import MAX_DOCUMENT_BYTES, MAX_IMAGE_DOCUMENT_BYTES, Limit
from pyrsia.wire import purl as purls

MAX_SBOMS = Limit(8, "documents about one image: two formats of some issuers")
DOCUMENT: Final = "/api/v1/facts/blob/{leaf}"

_NAME: Final = re.compile(
    r"[a-z0-9][A-Za-z0-9._/:-]{0,254}(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})"
)
_UNSEEN: Final = "the layers of {}: only what an SBOM in the log lists is asked about"


def is_name(text: str) -> bool:
    """Whether it can only be an image: a tag or a digest is behind the name, or `docker://` before it."""
    return text.startswith("docker://") or _NAME.fullmatch(text) is not None


def read(text: str, node: Client, into: Gathered) -> tuple[str, ...]:
    """The image as one version by its tag and one by its digest, which facts may mean; their purls.

    Raises:
        Refusal: `usage`: it is no name; `not-running`.
    """
    from pyrsia.consumers.installed.image_names import reference
    from pyrsia.serve.oci import names
    from pyrsia.serve.oci.errors import Problem

    place = Place(text)
    repository, tag = reference(text.removeprefix("docker://"))
    try:
        package = names.read(repository).package
    except Problem as problem:
        raise Refusal("usage", what=problem.message, who="your command", do="write NAME:TAG") from None
    found = [_purl(package, tag)]
    if not tag.startswith("sha256:"):
        digest = _digest(node, repository, tag)
        if digest:
            found.append(_purl(package, digest))
        else:
            into.leave(
                text, "the node gives no such image, so its digest is unknown: asked about by its tag", place
            )
    for one in found:
        into.add(one, place)
    into.not_looked_into([_UNSEEN.format(text)])
    return tuple(found)


def _purl(package: str, version: str) -> str:
    read = purls.parse(package)
    try:
        return spelled(read.type, read.namespace, read.name, version)
    except Malformed as error:
        raise Refusal(
            "usage", what=f"{version} is no tag: {error}", who="your command", do="write NAME:TAG"
        ) from None


def _digest(node: Client, repository: str, tag: str) -> str:
    try:
        data = node.get_bytes(f"/v2/{repository}/manifests/{tag}", most=MAX_IMAGE_DOCUMENT_BYTES.value)
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        return ""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def inside(text: str, known: Iterable[Known | None], node: Client, into: Gathered) -> None:
    """What the SBOMs list that the log names for an image. Without one nothing of what is inside is known.

    Args:
        known: what stands about its purls.
    """
    listed = {one.sha256: one.leaf for said in known if said for one in said.sboms if one.sha256}
    for sha256, leaf in list(listed.items())[: MAX_SBOMS.value]:
        place = Place(f"{text} (SBOM sha256:{sha256[:12]})")
        try:
            _document(leaf, sha256, place, node, into)
        except Refusal as refusal:
            if refusal.code == "not-running":
                raise
            into.leave("its SBOM", f"it cannot be read: {refusal.what}", place)
            into.nobody_knows(f"an SBOM of {text} cannot be read")
    if not listed:
        into.nobody_knows(f"no SBOM of {text} is in the log, so nobody can say what is inside")


def _document(leaf: int, sha256: str, place: Place, node: Client, into: Gathered) -> None:
    data = node.get_bytes(DOCUMENT.format(leaf=leaf), most=MAX_DOCUMENT_BYTES.value)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Refusal("unavailable", what="the node gave other bytes", who="the node", do="ask another node")
    with tempfile.TemporaryDirectory(prefix="pyrsia-audit-") as folder:
        path = Path(folder) / "sbom.json"
        path.write_bytes(data)
        kinds.document(path, place.file, into)
