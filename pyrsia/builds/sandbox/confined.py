"""The `confined` backend: no namespaces, but Landlock, a stricter filter, another uid and a warden.

Paths cannot be moved without a mount namespace, so a job's world is copied into a stage, a folder with a
short name of fixed length; `/build` is `<stage>/build`, `/tmp` is `<stage>/tmp`. Words of the job that
name such a place are rewritten. What it wrote is copied back when its tree is dead. Outputs that record
their path can thus differ from those of `namespace`: this backend is for pure packages.

Source: docs/sandbox.md, "Three backends"; docs/adr/0007.
"""

import contextlib
import os
import platform
import secrets
import tempfile
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia import errors, units

from . import collect, host, landlock, seccomp
from .model import Isolation, Job, Mount, Outcome
from .specify import JOB_UID, launch, specification
from .supervise import Prepared, supervise

_TMP: Final = "/tmp"  # noqa: S108 - as the job calls it
_READABLE: Final = (*host.SYSTEM, *host.ETC, "/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_MACHINE: Final = ("/proc/cpuinfo", "/proc/meminfo")
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Confined:
    """Runs jobs one after the other, since all see the same stage; for two at once, make two."""

    def __init__(self, abi: int | None = None, *, parent: Path | None = None) -> None:
        """
        Args:
            abi: Landlock's version, found out where not given.
            parent: where stages are made.
        """
        self._abi = landlock.abi() if abi is None else abi
        base = parent or Path("/var/tmp")  # noqa: S108 - a new folder of our own with a random name
        if not os.access(base, os.W_OK | os.X_OK):
            base = Path(tempfile.gettempdir())
        self._stage = base / f"pyrsia-{secrets.token_hex(4)}"
        self._turn = trio.Lock()

    @property
    def isolation(self) -> Isolation:
        return "confined"

    def inside(self, path: str) -> str:
        return f"{self._stage}{path}"

    def python(self) -> tuple[str, ...]:
        return (host.interpreter(),)

    async def run(self, job: Job) -> Outcome:
        job.check()
        _refuse(job)
        async with self._turn:
            try:
                await trio.to_thread.run_sync(self._set, job)
                outcome = await supervise(self._prepared(job), job)
                await trio.to_thread.run_sync(self._bring_back, job)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(collect.discard, self._stage)
        return outcome

    # -- the stage ---------------------------------------------------------------------------------

    def _place(self, target: str) -> Path:
        return Path(f"{self._stage}{target}")

    def _set(self, job: Job) -> None:
        """Make the stage: copies of what is mounted, and an empty /tmp."""
        root = os.geteuid() == 0
        # Under our own uid nobody else passes: a job may leave a program there that runs as its owner. Another uid
        # must pass through, without listing; what it leaves runs as a uid that owns nothing.
        mode = 0o711 if root else 0o700
        os.mkdir(self._stage, mode)  # fails if somebody else made it
        os.chmod(self._stage, mode)
        mounts = [*job.mounts, Mount(self._stage, _TMP, writable=True)]
        for mount in sorted(mounts, key=lambda mount: mount.target):
            place = self._place(mount.target)
            for above in reversed(place.relative_to(self._stage).parents):
                with contextlib.suppress(FileExistsError):
                    (self._stage / above).mkdir(mode=0o755)
            if mount.source.is_dir():
                place.mkdir(mode=0o755, exist_ok=True)
            if mount.source != self._stage:
                entries, size = units.BUILD_ENTRIES.value, job.limits.disk_bytes
                collect.copy(mount.source, place, entries=entries, size=size)
            if root:
                if mount.writable:
                    collect.give(place, JOB_UID)
                else:
                    _open_to_all(place)

    def _bring_back(self, job: Job) -> None:
        """Replace what writable mounts held by what the job made of it."""
        for mount in job.mounts:
            if mount.writable:
                for old in mount.source.iterdir():
                    collect.discard(old)
                # Twice the limit: the watcher stops a job only at its next look.
                entries, size = 2 * units.BUILD_ENTRIES.value, 2 * job.limits.disk_bytes
                with contextlib.suppress(errors.Malformed):
                    # What breaks a bound here is missing from the outputs, and the build fails for that.
                    collect.copy(self._place(mount.target), mount.source, entries=entries, size=size)

    # -- the job -----------------------------------------------------------------------------------

    def _moved(self, job: Job, text: str) -> str:
        """`text` with every path, alone or in a list with colons, led into the stage."""
        targets = (_TMP, *(mount.target for mount in job.mounts))
        here = tuple(f"{prefix}/" for prefix in host.prefixes())  # an interpreter of a checkout in /tmp
        words = text.split(":")
        for at, word in enumerate(words):
            moves = any(word == target or word.startswith(target + "/") for target in targets)
            if moves and not word.startswith(here):
                words[at] = f"{self._stage}{word}"
        return ":".join(words)

    def _rules(self, job: Job) -> list[tuple[str, int]]:
        """Which rights on which files. Everything else is refused."""
        wanted = [(place, landlock.READ) for place in (*_READABLE, *_MACHINE, *map(str, host.prefixes()))]
        wanted += [(place, landlock.DEVICE) for place in _DEVICES]
        wanted += [(str(self._place(_TMP)), landlock.write(self._abi))]
        for mount in job.mounts:
            rights = landlock.write(self._abi) if mount.writable else landlock.READ
            wanted.append((str(self._place(mount.target)), rights))
        return [
            (place, landlock.fitting(rights, self._abi, folder=os.path.isdir(place)))
            for place, rights in wanted
            if os.path.exists(place)
        ]

    def _prepared(self, job: Job) -> Prepared:
        root = os.geteuid() == 0
        files, network, scopes = landlock.ruleset(self._abi)
        fence: dict[str, Any] = {
            "files": files,
            "network": network,
            "scopes": scopes,
            "rules": self._rules(job),
        }
        program = seccomp.assemble("confined", platform.machine(), same_uid=not root, landlock=self._abi)
        spec = specification(job, seccomp=program, uid=JOB_UID if root else -1, landlock=fence)
        spec["argv"] = [self._moved(job, word) for word in spec["argv"]]
        spec["env"] = {name: self._moved(job, value) for name, value in spec["env"].items()}
        spec["cwd"] = self._moved(job, spec["cwd"])
        spec["stage"] = str(self._stage)
        # An interpreter in root's home: this capability opens the way there, and Landlock everything else not.
        spec["search"] = root and not host.reachable(Path(host.interpreter()))

        folders = (
            self._place(_TMP),
            *(self._place(mount.target) for mount in job.mounts if mount.writable),
        )
        return Prepared(launch, spec, folders, overhead=1, warden=True)


def _refuse(job: Job) -> None:
    """What needs a world of its own cannot be had here; the builder then says nothing about the package."""
    for wanted, code, what in (
        (job.root, "no-environment", "this build needs a file system of its own"),
        (job.egress, "no-sandbox", "planning this build needs a way out through a network of its own"),
    ):
        if wanted is not None:
            raise errors.Refusal(
                code,
                what=f"{what}, which isolation `confined` does not give",
                who="this machine",
                do="see `pyrsia doctor` for the one command that gives isolation `namespace`",
            )


def _open_to_all(place: Path) -> None:
    """Let the job's uid read a copy that root made."""
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o777 | (0o555 if path.is_dir() else 0o444))
