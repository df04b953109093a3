"""What plug-ins that run nothing of a stranger's share: results out of files that came from somewhere else.

Source: docs/builds.md, "Witnessed", "An HTTP pipeline".
"""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from pyrsia.builds.members import Member, encode
from pyrsia.builds.model import Built, FileOut, Output, Packed, PhaseFailed, file_out, keep
from pyrsia.errors import Refusal, Unavailable
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


def new_folder(results: Path) -> Path:
    """A folder for one result.

    Raises:
        Unavailable: the disk said no.
    """
    try:
        results.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="built-", dir=results))
    except OSError as error:
        raise Unavailable(f"this machine cannot keep what is built: {error}") from error


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


def failed(
    results: Path,
    error: Refusal,
    *,
    lock_sha256: str,
    phase: str,
    source: str,
    environment: str,
    isolation: str,
    log: bytes = b"",
) -> Built:
    """The answer of a builder whose `phase` ended with `error`."""
    if not isinstance(error, PhaseFailed):
        error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
    folder = new_folder(results)
    kept: FileOut = keep(folder, "log", cut(log + error.log))
    return Built(
        outcome="failed",
        phase=error.phase,
        lock_sha256=lock_sha256,
        source=source,
        outputs=(),
        environment=environment,
        isolation=isolation,
        log=kept,
        folder=folder,
        why=error.what,
    )
