"""What plug-ins that run nothing of a stranger's share: results out of files that came from somewhere else.

Source: docs/builds.md, "Witnessed"; docs/builds-how.md, "An HTTP pipeline".
"""

import shutil
from pathlib import Path
from typing import Final

from pyrsia.builds.members import Member, encode
from pyrsia.builds.model import FileOut, Output, Packed, file_out, keep
from pyrsia.units import BUILD_LOG_BYTES

BYTES: Final = "bytes@1"  # the normaliser that takes nothing away
CUT: Final = b"\n[pyrsia: the log was cut here; it has more than its limit]\n"


def cut(log: bytes) -> bytes:
    """`log`, or its beginning and a marker: BUILD_LOG_BYTES in all."""
    most = BUILD_LOG_BYTES.value
    return log if len(log) <= most else log[: most - len(CUT)] + CUT


def marked(log: FileOut) -> FileOut:
    """A log that fills its limit, which is one that was cut there, with the marker at its end; any other as it is."""
    if log.size < BUILD_LOG_BYTES.value:
        return log
    data = log.path.read_bytes()[: BUILD_LOG_BYTES.value]
    return keep(log.path.parent, f"{log.path.name}-cut", cut(data + CUT))


def as_it_is(folder: Path, name: str, source: Path, *, requires_python: str = "") -> Output:
    """`source` as an output: raw, canonical and stable are its bytes, its one member is itself."""
    path = folder / f"file-{name}"
    shutil.copyfile(source, path)
    file = file_out(path)
    members = keep(folder, f"members-{name}", encode([Member(name, file.sha256, file.size, False)]))
    packed = Packed(file, members, None, requires_python)
    return Output(
        name=name,
        raw=packed,
        canonical=packed,
        stable=file.sha256,
        upstream=None,
        upstream_relation="none",
        containment="none",
        normalised=(),
        requires_python=requires_python,
    )
