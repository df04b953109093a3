"""The `namespace` backend: bubblewrap makes the world, our launcher the limits and the filter.

A job sees /usr read-only, the interpreter's folders, a /tmp in memory, its mounts, a loopback interface
that leads nowhere, and only its own processes. Started as root, bubblewrap binds what only root can reach
and the launcher becomes another uid before the job starts; started by a user, a user namespace does that.

Source: docs/sandbox.md, "Three backends"; bwrap(1).
"""

import os
import shutil
from pathlib import Path
from typing import Final

from pyrsia import units

from . import host, namespaces, world
from .model import Isolation, Job, Outcome

_INSIDE_ROOT: Final = "/run/pyrsia-root"  # of bubblewrap's world only, as the next
_INSIDE_MOUNT: Final = "/run/pyrsia-mount-"


class Bubblewrap:
    """Runs jobs under bwrap. Any number at once."""

    def __init__(self, program: str | None = None, *, proc: bool = True) -> None:
        """
        Args:
            program: path of bwrap.
            proc: mount a /proc of the job's own; where a container forbids that, /proc stays empty.
        """
        self._program = program or shutil.which("bwrap") or "bwrap"
        self._proc = proc

    @property
    def isolation(self) -> Isolation:
        return "namespace"

    def inside(self, path: str) -> str:
        return path

    def python(self) -> tuple[str, ...]:
        return (host.interpreter(),)

    async def run(self, job: Job) -> Outcome:
        job.check()
        root = os.geteuid() == 0
        place = None
        if job.root is not None:
            place = (self._inner(job, job.root), -1 if root else namespaces.INSIDE_UID)
        # Outside bwrap, inside bwrap (first process of the namespace), warden.
        return await namespaces.run(
            job, [self._program], place, proc=self._proc, overhead=3, told=self._world(job, root=root)
        )

    @staticmethod
    def _inner(job: Job, root: Path) -> list[world.Step]:
        """From bubblewrap's world, in which our interpreter runs, to the one that the job names."""
        targets = [mount.target for mount in job.mounts]
        shown = world.of_root(root, targets, outside=_INSIDE_ROOT)
        return [*shown, *world.moved_furniture(job), *world.mounts(job, _outside(job))]

    def _world(self, job: Job, *, root: bool) -> list[str]:
        outside = _outside(job)
        words = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
        words += ["--hostname", "builder", "--cap-drop", "ALL"]
        if root:
            words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            # The launcher's own second world; see `_inner`. Nothing of a job runs before it is given up.
            words += ["--cap-add", "CAP_SYS_ADMIN"] if job.root is not None else []
        else:
            words += [
                "--unshare-user",
                "--uid",
                str(namespaces.INSIDE_UID),
                "--gid",
                str(namespaces.INSIDE_UID),
            ]
        for place in host.SYSTEM:
            if os.path.islink(place):
                words += ["--symlink", os.readlink(place), place]
            elif os.path.isdir(place):
                words += ["--ro-bind", place, place]
        # Folders above a mount are made anew, open to the job's uid whatever they are on the host.
        bound = [
            *map(str, host.prefixes()),
            *host.ETC,
            _INSIDE_ROOT,
            *outside.values(),
        ]
        aboves = sorted({str(above) for place in bound for above in Path(place).parents} - {"/", "/tmp"})  # noqa: S108
        made = [
            (above, ["--perms", "0755", "--dir", above])
            for above in aboves
            if not any(Path(above).is_relative_to(place) for place in outside.values())
        ]
        for above, making in made:
            words += making if not above.startswith("/tmp/") else []  # noqa: S108
        for place in host.ETC:
            words += ["--ro-bind-try", place, place]
        words += ["--dev", "/dev", "--perms", "1777", "--size", str(units.BUILD_SHM_BYTES.value)]
        words += ["--tmpfs", "/dev/shm"]  # noqa: S108 - the job's own
        words += ["--proc", "/proc"] if self._proc else ["--dir", "/proc"]
        words += ["--perms", "1777", "--size", str(world.tmp_bytes(job)), "--tmpfs", "/tmp"]  # noqa: S108 - the job's own
        for above, making in made:  # an interpreter of a checkout in /tmp
            words += making if above.startswith("/tmp/") else []  # noqa: S108
        for prefix in host.prefixes():
            words += ["--ro-bind", str(prefix), str(prefix)]
        if job.root is not None:
            words += ["--ro-bind", os.path.realpath(job.root), _INSIDE_ROOT]
        for mount in sorted(job.mounts, key=lambda mount: mount.target):
            words += [
                "--bind" if mount.writable else "--ro-bind",
                str(Path(mount.source).absolute()),
                outside[mount.target],
            ]
        # The tree that bubblewrap made lives in memory without a limit: nothing more is written there.
        return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _outside(job: Job) -> dict[str, str]:
    """Where each mount of a job is in bubblewrap's own world, by its target.

    Where the job has a root, that is beside everything: the host's /usr has no place for a mount below the root's.
    """
    moved = job.root is not None
    return {
        mount.target: f"{_INSIDE_MOUNT}{number}" if moved else mount.target
        for number, mount in enumerate(job.mounts)
    }
