"""What the oci plug-in does with files of strangers; it only ever runs inside the sandbox.

`read`: what the Dockerfile of a source needs. `compose`: the image. `inspect`: every layer again, by other code than
wrote it, in another sandbox: its members, its canonical form, and whether every file of it comes from the inputs.

Source: docs/builds-oci.md.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any, Final

from pyrsia.builds import members, members_tar, members_zip, unpack
from pyrsia.builds.members import Hostile
from pyrsia.builds.oci import compose, dockerfile, documents, layer
from pyrsia.builds.oci.compose import Base, Root, Shown
from pyrsia.builds.oci.documents import Layer

_ZIPS: Final = (".jar", ".whl", ".zip")
_TARS: Final = (".tar", ".tar.gz", ".tgz")


def read(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """For each platform the base and the published files that are copied out of; and the newest time of the source."""
    newest, text = 0, None
    for name, folder, size, _, time, pieces in unpack.read_source(inputs / job["source"]):
        newest = max(newest, time)
        if not folder and name.partition("/")[2] == job["dockerfile"]:
            if size > dockerfile.MAX_DOCKERFILE_BYTES.value:
                return _told(dockerfile.Refused(1, f"a Dockerfile of {size} bytes", "write a shorter one"))
            text = b"".join(pieces)
    if text is None:
        missing = dockerfile.Refused(0, "the source has no such file", "add it, or name it as `dockerfile`")
        return _told(missing)
    try:
        recipes = [dockerfile.read(text, platform) for platform in job["platforms"]]
    except dockerfile.Refused as error:
        return _told(error)
    rows = [
        {
            "base": one.base,
            "line": one.base_line,
            "origins": sorted({c.origin for c in one.copies if c.origin}),
        }
        for one in recipes
    ]
    return {"newest": newest, "recipes": rows}


def _told(error: dockerfile.Refused) -> dict[str, Any]:
    return {"dockerfile": {"line": error.line, "what": str(error), "do": error.do}}


def make(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Every blob and manifest below `out/`, each under its digest; what the answer calls them."""
    sde, out, vary = job["sde"], _folder(work / "out"), bool(job.get("vary"))
    if vary:
        os.umask(0o027)
    source = unpack.unpack_source(inputs / job["source"], _folder(work / "source"), sde, backwards=vary)
    files = compose.listing(source)
    ignore = source / ".dockerignore"
    if ignore.is_file() and not ignore.is_symlink():
        if ignore.stat().st_size > dockerfile.MAX_DOCKERFILE_BYTES.value:
            raise Hostile("the .dockerignore is longer than a Dockerfile may be")
        files = compose.without_ignored(files, ignore.read_text("utf-8", "replace"))
    roots = {"": Root(files)}
    for digest, name in job["artifacts"].items():
        roots[digest] = _published(inputs / digest, name, digest, _folder(work / digest))
    text = (source / job["dockerfile"]).read_bytes()
    made, blobs = [], dict[str, str]()
    try:
        for platform in job["platforms"]:
            recipe = dockerfile.read(text, platform)
            one = compose.image(recipe, _base(job["bases"][platform]), roots, out, platform, sde)
            blobs |= {row.sha256: "layer" for row in one.layers}
            blobs |= {_keep(out, one.config): "config"}
            made.append((platform, one.manifest))
    except dockerfile.Refused as error:
        return _told(error)
    manifests = [_keep(out, data) for _, data in made]
    top = manifests[0] if len(made) == 1 else _keep(out, documents.index(made))
    return {"blobs": blobs, "manifests": manifests, "top": top}


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _keep(out: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    (out / digest).write_bytes(data)
    return digest


def _base(row: dict[str, Any]) -> Base:
    layers = tuple(Layer(*one) for one in row["layers"])
    return Base(layers, row["settings"], tuple(row["history"]), row["merged"])


def _published(path: Path, name: str, digest: str, into: Path) -> Root:
    """What may be copied out of a published file: what is in it, or the file itself under its own name."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise Hostile("a published file is not what its digest says")
        file.seek(0)
        if name.endswith(_ZIPS):
            for one in members_zip.read(file, strict=False):
                pieces = iter(()) if one.folder else members_zip.content(file, one)
                unpack.put(into, one.path, one.folder, one.exec, pieces)
        elif name.endswith(_TARS):
            for inner, folder, _, executable, _, contents in members_tar.read(file):
                pieces = iter(()) if contents is None else iter(lambda: contents.read(1 << 16), b"")  # noqa: B023
                unpack.put(into, inner, folder, executable, pieces)
    return Root(compose.listing(into), Shown(name, path, False))


def inspect(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Each layer's member list, stable digest, and where its files come from.

    Raises:
        Hostile: a layer that is not in canonical form: it is not what `compose` writes.
    """
    known = _digests(inputs, job)
    rows = {}
    for digest in job["layers"]:
        canonical = work / "canonical"
        with (
            (inputs / digest).open("rb") as file,
            (work / "spool").open("w+b") as spool,
            canonical.open("wb") as out,
        ):
            found = layer.normalise(file, spool, out, job["sde"])
        if {_file_sum(inputs / digest), _file_sum(canonical)} != {digest}:
            raise Hostile("a layer is not in its canonical form")
        (work / f"members-{digest}").write_bytes(members.encode(found.members))
        missing = [one.path for one in found.members if one.sha256 not in known]
        rows[digest] = {
            "containment": _whole(missing, found),
            "missing": missing[:20],
            "normalised": found.notes,
            "stable": found.stable,
        }
    return {"layers": rows}


def normalise(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """Any layer, of whatever tool: its canonical form, member list and stable digest."""
    with (
        (inputs / "layer").open("rb") as file,
        (work / "spool").open("w+b") as spool,
        (work / "canonical").open("wb") as out,
    ):
        found = layer.normalise(file, spool, out, job["sde"])
    (work / "members").write_bytes(members.encode(found.members))
    known = _digests(inputs, job) if "source" in job else set()
    missing = [one.path for one in found.members if one.sha256 not in known]
    return {"containment": _whole(missing, found), "normalised": found.notes, "stable": found.stable}


def _whole(missing: list[str], found: layer.Normalised) -> str:
    return "full" if not missing else "none" if len(missing) == len(found.members) else "partial"


def _digests(inputs: Path, job: dict[str, Any]) -> set[str]:
    """SHA-256 of everything that may be in a layer: files of the source, published files and what is in them."""
    known = {one.sha256 for one in unpack.source_members(inputs / job["source"])}
    for digest, name in job["artifacts"].items():
        known.add(digest)
        with (inputs / digest).open("rb") as file:
            if name.endswith(_ZIPS):
                for one in members_zip.read(file, strict=False):
                    if not one.folder:
                        known.add(_sum(members_zip.content(file, one)))
            elif name.endswith(_TARS):
                for _, folder, _, _, _, contents in members_tar.read(file):
                    if not folder and contents is not None:
                        known.add(_sum(iter(lambda: contents.read(1 << 16), b"")))  # noqa: B023
    return known


def _file_sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sum(pieces: Any) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


OPERATIONS: Final = {"compose": make, "inspect": inspect, "normalise": normalise, "read": read}

if __name__ == "__main__":
    sys.exit(unpack.serve(OPERATIONS, Path(sys.argv[1]), Path(sys.argv[2])))
