"""The files of a composed image, as a result names them; read back from the sandbox and checked by digest.

Source: docs/builds-oci.md.
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.builds import members
from pyrsia.builds.inside import open_plain
from pyrsia.builds.members import Member
from pyrsia.builds.model import FileOut, Output, Packed, PhaseFailed, file_out, keep
from pyrsia.units import BUILD_DISK_BYTES

_DIGEST: Final = re.compile("[0-9a-f]{64}")
AUTHOR: Final = "correct the Dockerfile; docs/builds-oci.md lists what is taken"


def take(source: Path, target: Path, name: str, who: str) -> Path:
    """Copy the blob `name` from the folder that the sandbox left into the result's; its name must be its digest.

    Raises:
        PhaseFailed: otherwise.
    """
    if not _DIGEST.fullmatch(name):
        raise PhaseFailed("build", "a blob is not called by a digest", who=who, do=AUTHOR)
    path = copy(source / name, target / name, who)
    if file_out(path).sha256 != name:
        raise PhaseFailed("build", "a blob is not what it is called", who=who, do=AUTHOR)
    return path


def copy(source: Path, target: Path, who: str) -> Path:
    """Copy one plain file that the sandbox left, through no link.

    Raises:
        PhaseFailed: it is none, or too large.
    """
    handle = open_plain(source, BUILD_DISK_BYTES.value)
    if handle is None:
        raise PhaseFailed("build", "a blob is no plain file or too large", who=who, do=AUTHOR)
    with os.fdopen(handle, "rb") as file, target.open("xb") as out:
        shutil.copyfileobj(file, out)
    return target


def document(folder: Path, name: str, digest: str) -> Output:
    """A file that is one whole: a configuration, a manifest, a layer of a base."""
    file = FileOut(folder / digest, digest, (folder / digest).stat().st_size)
    rows: Sequence[Member] = (Member(name, digest, file.size, False),)
    listed = keep(folder, f"members-{name}", members.encode(rows))
    return _output(name, Packed(file, listed), digest, "full", (), ())


def layer(folder: Path, digest: str, row: Mapping[str, Any]) -> Output:
    file = FileOut(folder / digest, digest, (folder / digest).stat().st_size)
    packed = Packed(file, file_out(folder / f"members-{digest}"))
    missing, notes = tuple(row["missing"]), tuple(row["normalised"])
    return _output(f"sha256~{digest}", packed, row["stable"], row["containment"], notes, missing)


def _output(
    name: str, packed: Packed, stable: str, containment: str, notes: tuple[str, ...], missing: tuple[str, ...]
) -> Output:
    return Output(
        name=name,
        raw=packed,
        canonical=packed,
        stable=stable,
        upstream=None,
        upstream_relation="none",
        containment=containment,
        normalised=notes,
        missing=missing,
    )
