"""Hooks of build backends (PEP 517), run in the sandbox with their tools laid out beside the source.

Decides what a hook sees: one source, the tools read-only at one place, one environment. Tools are laid out and
compiled once for each set (`toolbox`), not once for each hook.

Source: docs/builds-how.md, "Step by step"; PEP 517.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.inside import Answer, Inside
from pyrsia.builds.model import NamedFile, PhaseFailed
from pyrsia.builds.pip import lock
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.toolbox import Toolbox

AUTHOR: Final = "read the build's log and tell the package's author"


@dataclass(frozen=True, slots=True, order=True)
class Tool:
    """A wheel of the build environment that is here: its line of the lock, and its path."""

    line: lock.Locked
    path: Path


class Hooks:
    """Runs one hook at a time for each caller; callers share the tools."""

    def __init__(self, inside: Inside, toolbox: Toolbox) -> None:
        self._inside = inside
        self._toolbox = toolbox

    @asynccontextmanager
    async def run(
        self,
        hook: str,
        source: NamedFile,
        tools: Mapping[str, tuple[str, Path]],
        place: Place,
        epoch: int,
        *,
        phase: str,
        who: str,
        subdir: str = "",
        version: str = "",
        vary: bool = False,
    ) -> AsyncIterator[Answer]:
        """Run `hook` (`requires`, `metadata` or `build`); its answer lives as long as the context.

        Args:
            tools: file name -> (SHA-256, path), see `tools_of`.
            subdir: folder of the source that is built; "" for all of it.
            version: for tools that would ask a repository's history for it; "" where the source says it itself.
            vary: at another path, with another umask, time zone and order of folders.

        Raises:
            PhaseFailed: the backend gave up, or a limit was broken.
            Unavailable: this machine could not do it.
        """
        job: dict[str, Any] = {
            "operation": "hook",
            "hook": hook,
            "source": inner(source.name),
            "epoch": epoch,
            "native": place.native,
            "subdir": subdir,
            "version": version,
            "vary": vary,
        }
        async with (
            self._toolbox.opened(tools, place.environment, who=who) as mounts,
            self._inside.run(
                job,
                {inner(source.name): source.path},
                phase=phase,
                who=who,
                epoch=epoch,
                environment=place.environment,
                mounts=mounts,
                variables={"TOOLS": mounts[0].target} if mounts else {},
            ) as answer,
        ):
            if "failed" in answer.value:
                last = answer.log.decode("utf-8", "replace").strip().rpartition("\n")[2]
                why = f"the build backend gave up: {last[:200]!a}"
                raise PhaseFailed(phase, why, who=who, do=AUTHOR, log=answer.log)
            yield answer


def tools_of(tools: Sequence[Tool]) -> dict[str, tuple[str, Path]]:
    """Tools as `Hooks.run` takes them."""
    return {one.line.file: (one.line.sha256, one.path) for one in tools}


def inner(filename: str) -> str:
    """The name of an archive inside: its own does not matter for the backend's eyes, its ending does."""
    for ending in (".whl", ".zip", ".tar"):
        if filename.endswith(ending):
            return f"archive{ending}"
    return "archive.tar.gz"
