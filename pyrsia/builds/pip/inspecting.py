"""What the sandbox says about one built wheel, and the result's files that come of it.

The wheel is data of a stranger: it is opened in a sandbox of its own, in which nothing of the build ran, and what
comes back is read as plain files within bounds.

Source: docs/builds-pip.md, "Normalising"; docs/builds-how.md, "What else the reveal says".
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trio
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyrsia.builds.inside import Answer, Inside, read_plain
from pyrsia.builds.model import FileOut, NamedFile, Output, Packed, PhaseFailed, file_out, keep
from pyrsia.builds.pip import resolve, simple
from pyrsia.builds.pip.gather import parsed
from pyrsia.builds.pip.hooks import AUTHOR, inner
from pyrsia.builds.pip.places import Place
from pyrsia.units import MAX_METADATA_BYTES, MAX_SOURCE_BYTES, MAX_UNPACKED_BYTES, MAX_WORKER_RESULT_BYTES


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the sandbox said about one wheel; files stand in the folder it was asked to fill."""

    value: Mapping[str, Any]
    canonical: Packed
    raw_members: FileOut
    metadata: FileOut
    upstream: Packed | None
    log: bytes


async def normalise(
    inside: Inside,
    wheel: NamedFile,
    source: NamedFile,
    upstream: NamedFile | None,
    sde: int,
    into: Path,
) -> Inspected:
    """Inspect one wheel in the sandbox and put its canonical form and lists into the folder `into`.

    Raises:
        PhaseFailed: the wheel may not be published; the text says why.
    """
    files = {"wheel.whl": wheel.path, inner(source.name): source.path}
    if upstream is not None:
        files["upstream.whl"] = upstream.path
    job = {
        "operation": "inspect",
        "wheel": "wheel.whl",
        "source": inner(source.name),
        "upstream": "upstream.whl" if upstream else "",
        "epoch": sde,
    }
    async with inside.run(job, files, phase="normalise", who=wheel.name, epoch=sde) as answer:
        return await trio.to_thread.run_sync(_collect, answer, into, upstream)


async def output(
    inside: Inside,
    request: Mapping[str, Any],
    wheel: NamedFile,
    source: NamedFile,
    upstream: Mapping[str, Path],
    folder: Path,
    log: bytearray,
) -> Output:
    """The one output of a build.

    Args:
        upstream: the registry's wheels of the release that ours may be compared with, by file name.
        log: what is found is added to it.
    """
    theirs = counterpart(wheel.name, upstream)
    found = await normalise(inside, wheel, source, theirs, request["recipe"]["sde"], folder)
    log += found.log
    reason = str(found.value["upstream_reason"])
    if reason:
        log += f"pyrsia: upstream's wheel is not compared: {reason}\n".encode()
    elif theirs is not None and theirs.name != wheel.name:
        reason = f"the index has {theirs.name}, built and tagged in another image"
        log += f"pyrsia: upstream's wheel is another one: {reason}\n".encode()
    metadata = parsed(found.metadata.path.read_bytes(), wheel.name)
    same = Version(metadata.version) == Version(request["coordinates"]["version"])
    if metadata.name != canonicalize_name(request["coordinates"]["name"]) or not same:
        raise PhaseFailed("normalise", "the METADATA names another package", who=wheel.name, do=AUTHOR)
    requires = metadata.requires_python
    return Output(
        name=wheel.name,
        raw=Packed(file_out(wheel.path), found.raw_members, found.metadata, requires),
        canonical=replace(found.canonical, requires_python=requires),
        stable=str(found.value["stable"]),
        upstream=replace(found.upstream, requires_python=requires) if found.upstream else None,
        upstream_relation=str(found.value["relation"]),
        containment=str(found.value["containment"]),
        normalised=tuple(found.value["normalised"]),
        requires_python=requires,
        missing=tuple(found.value["missing"]),
        upstream_reason=reason,
    )


def counterpart(name: str, upstream: Mapping[str, Path]) -> NamedFile | None:
    """The registry's wheel that ours is compared with: of the same name, else one for as many platforms."""
    pure = name.endswith("-none-any.whl")
    alike = [one for one in sorted(upstream) if one.endswith("-none-any.whl") == pure]
    chosen = name if name in upstream else next(iter(alike), None)
    return None if chosen is None else NamedFile(chosen, upstream[chosen])


def unfit(name: Any, coordinates: Mapping[str, str], place: Place) -> str:
    """Why the backend's answer is not a wheel of this package for this place; "" when it is."""
    if not isinstance(name, str) or not simple.plain_name(name) or not name.endswith(".whl"):
        return "the backend did not name a wheel"
    try:
        project, version, _, tags = parse_wheel_filename(name)
    except (InvalidWheelFilename, InvalidVersion):
        return f"{name} is not a wheel's name"
    if project != canonicalize_name(coordinates["name"]) or version != Version(coordinates["version"]):
        return f"{name} is another package or version"
    found = "-".join(name.removesuffix(".whl").split("-")[-3:])
    if found in resolve.PURE_TAGS:
        return ""
    if not place.native:
        return f"the wheel is for {found}; only pure Python packages (py3-none-any) are built in this environment"
    platforms = {"any", f"linux_{place.target.arch}"}
    if not tags or not all(tag in place.target.ranks and tag.platform in platforms for tag in tags):
        target = place.target
        return f"the wheel is for {found}, the target is Python {target.python} on linux_{target.arch}"
    return ""


def take(source: Path, path: Path, who: str) -> None:
    """Bring a built wheel out of the sandbox's folder.

    Raises:
        PhaseFailed: it is no plain file, or too large.
    """
    data = read_plain(source, MAX_SOURCE_BYTES.value)
    if data is None:
        raise PhaseFailed("build", "the wheel is no plain file or too large", who=who, do=AUTHOR)
    path.write_bytes(data)


def _collect(answer: Answer, into: Path, upstream: NamedFile | None) -> Inspected:
    """Copy what the inspection wrote into the result's folder."""

    def take(name: str, limit: int) -> FileOut:
        data = read_plain(answer.work / name, limit)
        if data is None:
            raise PhaseFailed("normalise", f"the inspection left no {name}", who="this node", do=AUTHOR)
        return keep(into, name, data)

    listed = MAX_WORKER_RESULT_BYTES.value
    metadata = take("metadata", MAX_METADATA_BYTES.value)
    canonical = Packed(
        take("canonical", MAX_UNPACKED_BYTES.value + listed), take("canonical.members", listed), metadata, ""
    )
    theirs = None
    if upstream is not None and not answer.value.get("upstream_reason"):
        shutil.copyfile(upstream.path, into / "upstream")
        theirs = Packed(
            file_out(into / "upstream"),
            take("upstream.members", listed),
            take("upstream.metadata", MAX_METADATA_BYTES.value),
            "",
        )
    return Inspected(answer.value, canonical, take("raw.members", listed), metadata, theirs, answer.log)
