"""What a build and its inspection left, read back as one reads a stranger's letter, and made into outputs.

Source: docs/builds-conan.md.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.conan import names
from pyrsia.builds.conan.planning import AUTHOR
from pyrsia.builds.inside import Answer, open_plain, read_plain
from pyrsia.builds.model import FileOut, Output, Packed, PhaseFailed, file_out, keep
from pyrsia.units import BUILD_DISK_BYTES, MAX_OUTPUTS, MAX_WORKER_RESULT_BYTES, Limit

_MAX_PACKAGES: Final = Limit(4, "Conan knows four build types")


def package_ids(built: Mapping[str, Any], who: str) -> list[str]:
    """The package ids that a build says it made; whether they are, the inspection computes.

    Raises:
        PhaseFailed: it named none, or what is none.
    """
    rows: Any = built.get("packages")
    rows = rows if isinstance(rows, list) else []
    found = [row.get("package_id") if isinstance(row, dict) else None for row in rows]
    good = [one for one in found if isinstance(one, str) and names.is_package_id(one)]
    if not good or good != found or len(set(good)) != len(good) or len(good) > _MAX_PACKAGES.value:
        raise PhaseFailed("build", "Conan named no packages", who=who, do=AUTHOR)
    return good


def take(source: Path, path: Path, who: str) -> None:
    """Copy a file that a run left: no link, no device, no more than its limit.

    Raises:
        PhaseFailed: it is none of that kind.
    """
    handle = open_plain(source, BUILD_DISK_BYTES.value)
    if handle is None:
        why = f"the run left no plain file {path.name}, or one that is too large"
        raise PhaseFailed("build", why, who=who, do=AUTHOR)
    with os.fdopen(handle, "rb") as file, path.open("xb") as out:
        shutil.copyfileobj(file, out)


def collect(answer: Answer, folder: Path, upstream: Mapping[str, Path], who: str) -> tuple[Output, ...]:
    """Copy what an inspection wrote into the result's folder.

    Args:
        upstream: `<package id>~<file>` or `<file>` -> the remote's own file.
    """

    def listed(name: str, into: str) -> FileOut:
        data = read_plain(answer.work / name, MAX_WORKER_RESULT_BYTES.value)
        if data is None:
            raise PhaseFailed("normalise", f"the inspection left no {name}", who="this node", do=AUTHOR)
        return keep(folder, into, data)

    rows = answer.value["outputs"]
    if not 0 < len(rows) <= MAX_OUTPUTS.value:
        raise PhaseFailed("normalise", f"{len(rows)} outputs of one build", who=who, do=AUTHOR)
    found = []
    for number, row in enumerate(rows):
        place = names.place(row["name"])
        take(answer.work / row["path"], folder / row["name"], who)
        packed = Packed(file_out(folder / row["name"]), listed(f"members-{number}", f"members-{number}"))
        theirs = None
        if row["relation"] != "none" and not row["reason"]:
            copied = folder / f"upstream-{number}"
            shutil.copyfile(upstream[key_of(place)], copied)
            theirs = Packed(file_out(copied), listed(f"upstream-{number}", f"upstream-members-{number}"))
        found.append(
            Output(
                name=row["name"],
                raw=packed,
                canonical=packed,
                stable=row["stable"],
                upstream=theirs,
                upstream_relation=row["relation"] if theirs is not None else "none",
                containment=row["containment"],
                normalised=tuple(row["normalised"]),
                missing=tuple(row["missing"]),
                upstream_reason=row["reason"],
            )
        )
    return tuple(found)


def key_of(place: names.Place) -> str:
    """By which an output finds the remote's file of the same kind, whatever its package revision."""
    return f"{place.package_id}~{place.file}" if place.package_id else place.file
