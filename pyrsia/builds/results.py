"""What every plug-in makes of a build: a folder for its files, and an answer that says built or failed.

A build that fails is an answer; a disk that is full is this machine's, and says nothing about a package.

Source: docs/builds-how.md, "Step by step".
"""

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from pyrsia.builds.model import Built, Inputs, Output, PhaseFailed, keep
from pyrsia.builds.unbuilt import cut
from pyrsia.errors import Refusal, Unavailable

Make = Callable[[Path, bytearray], Awaitable[tuple[Output, ...]]]


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results of one plug-in wait until the node has adopted them.

    Attributes:
        home: folder of folders, made when it is needed.
        isolation: that the plug-in's builds have.
    """

    home: Path
    isolation: str

    async def of(self, request: Mapping[str, Any], inputs: Inputs, source: str, make: Make) -> Built:
        """What `make` builds, or how it failed; its folder is gone where this raises.

        Args:
            source: how the source was got, see `Built`.
            make: builds into a folder, writes into a log, and gives the outputs.

        Raises:
            Unavailable: this machine could not build; nothing should be said about the package.
        """
        environment = request["recipe"]["environment"]
        folder = await trio.to_thread.run_sync(self._new_folder)
        log = bytearray()
        try:
            try:
                outputs = await make(folder, log)
            except PhaseFailed as error:
                said = bytes(log) + error.log
                return self._failed(folder, error, inputs.lock_sha256, source, environment, said)
            return Built(
                outcome="built",
                phase="",
                lock_sha256=inputs.lock_sha256,
                source=source,
                outputs=outputs,
                environment=environment,
                isolation=self.isolation,
                log=keep(folder, "log", cut(bytes(log))),
                folder=folder,
                tools=inputs.tools,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"this machine cannot keep what was built: {error}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    async def failed(
        self, error: Refusal, lock_sha256: str, phase: str, *, source: str, environment: str = ""
    ) -> Built:
        """The answer of a builder that did not come as far as a build.

        Args:
            phase: that `error` ended, where it does not say so itself.

        Raises:
            Unavailable: the disk said no.
        """
        if not isinstance(error, PhaseFailed):
            error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
        folder = await trio.to_thread.run_sync(self._new_folder)
        try:
            return self._failed(folder, error, lock_sha256, source, environment, error.log)
        except OSError as full:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"this machine cannot keep what was built: {full}") from full

    def _failed(
        self, folder: Path, error: PhaseFailed, lock_sha256: str, source: str, environment: str, log: bytes
    ) -> Built:
        for left in folder.iterdir():  # of an attempt that nobody adopts
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        return Built(
            outcome="failed",
            phase=error.phase,
            lock_sha256=lock_sha256,
            source=source,
            outputs=(),
            environment=environment,
            isolation=self.isolation,
            log=keep(folder, "log", cut(log)),
            folder=folder,
            why=error.what,
        )

    def _new_folder(self) -> Path:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="built-", dir=self.home))
        except OSError as error:
            raise Unavailable(f"this machine cannot keep what is built: {error}") from error
