"""What the inspection said of the files of one build, as outputs of a result.

Source: docs/builds-maven.md, "The build".
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.inside import Answer, read_plain
from pyrsia.builds.model import FileOut, Output, Packed, PhaseFailed, file_out, keep
from pyrsia.units import MAX_UNPACKED_BYTES, MAX_WORKER_RESULT_BYTES

ENDINGS: Final = (".jar", ".war", ".ear", ".pom", "-sources.jar")
_MAIN: Final = (".jar", ".war", ".ear")


def is_main(name: str) -> bool:
    """Whether a file of a repository is the artifact itself."""
    return name.endswith(_MAIN) and not name.endswith("-sources.jar")


def collect(
    answer: Answer, files: Mapping[str, Path], upstream: Mapping[str, Path], into: Path, log: bytearray
) -> tuple[Output, ...]:
    """Copy what the inspection wrote into the result's folder.

    Args:
        files: the built files by name, already in `into`.
        upstream: the remotes' files by name.
        log: is told which file of upstream could not be compared, and why.

    Raises:
        PhaseFailed: the inspection left something out.
    """
    said = answer.value.get("files", [])
    if len(said) != len(files):
        raise _left_out("an answer")
    return tuple(
        _output(name, files[name], one, str(number), answer, upstream.get(name), into, log)
        for number, (name, one) in enumerate(zip(sorted(files), said, strict=True))
    )


def _output(
    name: str,
    path: Path,
    said: Mapping[str, Any],
    number: str,
    answer: Answer,
    theirs: Path | None,
    into: Path,
    log: bytearray,
) -> Output:
    listed = MAX_WORKER_RESULT_BYTES.value

    def take(what: str, limit: int) -> FileOut:
        data = read_plain(answer.work / f"{number}.{what}", limit)
        if data is None:
            raise _left_out(what)
        return keep(into, f"{name}.{what}", data)

    reason = str(said["upstream_reason"])
    if reason:
        log += f"pyrsia: upstream's {name} is not compared: {reason}\n".encode()
    packed = None
    if theirs is not None and not reason:
        shutil.copyfile(theirs, into / f"{name}.upstream")
        packed = Packed(file_out(into / f"{name}.upstream"), take("upstream.members", listed))
    return Output(
        name=name,
        raw=Packed(file_out(path), take("raw.members", listed)),
        canonical=Packed(
            take("canonical", MAX_UNPACKED_BYTES.value + listed), take("canonical.members", listed)
        ),
        stable=str(said["stable"]),
        upstream=packed,
        upstream_relation=str(said["relation"]) if packed else "none",
        containment=str(said["containment"]),
        normalised=tuple(said["normalised"]),
        missing=tuple(said["missing"]),
        upstream_reason=reason,
    )


def _left_out(what: str) -> PhaseFailed:
    return PhaseFailed(
        "normalise", f"the inspection left no {what}", who="this node", do="read the build's log"
    )
