"""An image by its name at a node: itself by tag and digest, and what an SBOM that the log names lists. No layers.

Source: docs/knowledge.md, "Auditing a project".
"""

import hashlib
import itertools
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from pyrsia.client import Client
from pyrsia.consumers.auditing import kinds
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents.purls import spelled
from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.known import Known, Sbom
from pyrsia.knowledge.said import SBOM
from pyrsia.units import MAX_DOCUMENT_BYTES, MAX_IMAGE_DOCUMENT_BYTES, Limit
from pyrsia.wire import purl as purls

MAX_SBOMS = Limit(8, "documents that are read of one image: two formats of four issuers, 64 MiB each")
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


def inside(
    text: str,
    known: Iterable[Known | None],
    node: Client,
    into: Gathered,
    *,
    issuers: Collection[str] = (),
) -> None:
    """What the SBOMs list that the log names for an image. Without one nothing of what is inside is known.

    Any member may give one, so none hides another: all are read that fit, and where they differ, or some were not
    read, nobody can say that all of it was asked about.

    Args:
        known: what stands about its purls.
        issuers: those whose SBOMs count; empty: everybody's.
    """
    known = list(known)
    given = {one.leaf: one for said in known if said for one in said.sboms}
    counted = [one for one in given.values() if not issuers or one.issuer in issuers]
    documents = _ordered(counted)
    for one in documents[MAX_SBOMS.value :]:
        why = f"{MAX_SBOMS.value} SBOMs of an image are read"
        into.leave(f"the SBOM of leaf {one.leaf}", why, Place(text))
        into.nobody_knows(f"{text} has more SBOMs than the {MAX_SBOMS.value} that are read")
    read = [_components(text, one, node, into) for one in documents[: MAX_SBOMS.value]]
    listed = {one for one in read if one}
    if len(listed) > 1:
        into.nobody_knows(f"SBOMs of {text} do not list the same, so nobody can say what is inside")
    missing = {one for said in known if said for one in said.lacks(SBOM)}
    if missing & set(issuers or missing):
        into.nobody_knows(f"the node has not all SBOMs of {text}")
    if len(given) > len(counted):
        count = len(given) - len(counted)
        into.not_looked_into([f"{count} of the SBOMs of {text}: `issuers` of the policy names who counts"])
    if not listed:
        whose = " by those that `issuers` names" if issuers else ""
        what = "lists a package that is known here" if documents else "is in the log"
        into.nobody_knows(f"no SBOM of {text}{whose} {what}, so nobody can say what is inside")


def _ordered(sboms: Iterable[Sbom]) -> list[Sbom]:
    """Those with a document, each document once: the newest of each issuer, then the second of each, and so on."""
    by_issuer: dict[str, list[Sbom]] = {}
    for one in sorted({one.sha256: one for one in sboms if one.sha256}.values(), key=lambda one: -one.leaf):
        by_issuer.setdefault(one.issuer, []).append(one)
    turns = itertools.zip_longest(*by_issuer.values())
    return [one for turn in turns for one in turn if one is not None]


def _components(text: str, one: Sbom, node: Client, into: Gathered) -> frozenset[str]:
    """What an SBOM lists, also gathered; nothing for one that cannot be read, which is said."""
    place = Place(f"{text} (SBOM sha256:{one.sha256[:12]})")
    inside = Gathered()
    try:
        kinds.document(Path("its SBOM"), _document(one, node), place.file, inside, artifact=text)
        if not inside.told:
            inside.leave("its SBOM", "it lists nothing", place)
        into.take(inside)
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        into.leave("its SBOM", f"it cannot be read: {refusal.what}", place)
        into.nobody_knows(f"an SBOM of {text} cannot be read")
        return frozenset()
    return frozenset(it.purl for it in inside.components)


def _document(one: Sbom, node: Client) -> bytes:
    data = node.get_bytes(DOCUMENT.format(leaf=one.leaf), most=MAX_DOCUMENT_BYTES.value)
    if hashlib.sha256(data).hexdigest() != one.sha256:
        raise Refusal("unavailable", what="the node gave other bytes", who="the node", do="ask another node")
    return data
