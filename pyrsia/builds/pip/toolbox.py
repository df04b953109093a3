"""Build tools, unpacked once for each set of wheels, then shown read-only to every hook that needs it.

A set is named by the digests of its wheels and by the environment whose interpreter compiles it. It is made in the
sandbox by our own code, which unpacks and compiles and runs nothing of a stranger's; no hook can write to it. Compiling
costs what it spares three to ten hooks, so only sets that come again are compiled.

Source: docs/builds-pip.md, "Where the time goes".
"""

import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Inside
from pyrsia.builds.sandbox.collect import discard, give
from pyrsia.builds.sandbox.model import Mount
from pyrsia.errors import Unavailable
from pyrsia.units import Limit

INSIDE: Final = "/mnt"  # there in every `rootfs:`, and no interpreter of a host is below it
TOOLS: Final = "tools"  # the folder of all sets; whoever sweeps the place where it lies, leaves it alone
SETS: Final = Limit(64, "sets of tools kept, 5 to 30 MB each; packages of one period share theirs")
PLAIN_USES: Final = Limit(
    4, "hooks with a set before it is compiled: as many as one package needs, looked at twice"
)


@dataclass(slots=True)
class _Set:
    """One set: `folder` once it is there; `users` hooks look at it now, `uses` looked at it ever."""

    folder: Path | None = None
    users: int = 0
    uses: int = 0
    compiled: bool = False
    turn: trio.Lock = field(default_factory=trio.Lock)


class Toolbox:
    """Sets of tools below `home`, the ones not asked for longest forgotten first."""

    def __init__(self, inside: Inside, home: Path) -> None:
        self._inside = inside
        self._home = home
        self._sets: OrderedDict[str, _Set] = OrderedDict()

    @asynccontextmanager
    async def opened(
        self, wheels: Mapping[str, tuple[str, Path]], environment: Environment, *, who: str
    ) -> AsyncIterator[tuple[Mount, ...]]:
        """The mounts that show these tools, for as long as the context lives; none where there are no tools.

        Args:
            wheels: file name -> (SHA-256, path).

        Raises:
            PhaseFailed: the wheels cannot be unpacked beside each other.
            Unavailable: this machine could not do it.
        """
        if not wheels:
            yield ()
            return
        names = [f"{digest} {name}" for name, (digest, _) in sorted(wheels.items())]
        key = hashlib.sha256("\n".join([environment.id, *names]).encode()).hexdigest()
        one = self._sets.setdefault(key, _Set())
        self._sets.move_to_end(key)
        one.users += 1
        try:
            async with one.turn:
                if one.folder is not None and not await trio.to_thread.run_sync(self._there, one.folder):
                    one.folder, one.compiled = None, False
                ripe = one.uses >= PLAIN_USES.value and one.users == 1 and not one.compiled
                if one.folder is None or ripe:
                    paths = {name: path for name, (_, path) in wheels.items()}
                    old, one.folder = (
                        one.folder,
                        await self._made(paths, environment, who, compiled=ripe),
                    )
                    one.compiled = ripe
                    if old is not None:
                        await trio.to_thread.run_sync(discard, old.parent)
                one.uses += 1
            yield (Mount(one.folder, INSIDE),)
        finally:
            one.users -= 1
            with trio.CancelScope(shield=True):
                await self._forget()

    def _there(self, folder: Path) -> bool:
        """Whether a set is still there, whatever swept here; to one that goes by age, a set in use looks young."""
        with suppress(FileNotFoundError):
            os.utime(self._home)
        return folder.is_dir()

    async def _made(
        self, wheels: dict[str, Path], environment: Environment, who: str, *, compiled: bool
    ) -> Path:
        job = {"operation": "lay", "wheels": sorted(wheels), "compile": compiled}
        async with self._inside.run(
            job, wheels, phase="requirements", who=who, environment=environment
        ) as answer:
            return await trio.to_thread.run_sync(self._taken, answer.work / "tools")

    def _taken(self, made: Path) -> Path:
        """Move what the sandbox laid out to a place of its own."""
        try:
            self._home.mkdir(mode=0o755, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="tools-", dir=self._home))
            folder.chmod(0o755)  # the sandbox's uid is another one
            shutil.move(made, folder / "tools")
            if os.geteuid() == 0:
                give(
                    folder, 0
                )  # no later job, which has the same uid as this one, owns what others are shown
        except OSError as error:
            raise Unavailable(f"this machine cannot keep build tools: {error}") from error
        return folder / "tools"

    async def _forget(self) -> None:
        """Drop what is too many and not in use."""
        for key in [key for key, one in self._sets.items() if not one.users]:
            one = self._sets[key]
            if len(self._sets) <= SETS.value and one.folder is not None:
                return
            del self._sets[key]
            if one.folder is not None:
                await trio.to_thread.run_sync(discard, one.folder.parent)
