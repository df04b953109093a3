"""The `namespace` backend where bubblewrap is absent: util-linux makes the namespaces, our launcher the world.

The same world as bubblewrap's in all that a job can see, made by mounts of our own (`enter.py`). Started as root, the
launcher makes it with root's rights and becomes another uid before the job starts; started by a user, a user
namespace gives it those rights over nothing but the world that it makes.

Source: docs/sandbox.md, "Three backends"; unshare(1), setpriv(1).
"""

import os
import shutil

from . import host, namespaces, world
from .model import Isolation, Job, Outcome


class Unshare:
    """Runs jobs under unshare. Any number at once."""

    def __init__(self, program: str | None = None, *, proc: bool = True) -> None:
        """
        Args:
            program: path of unshare; setpriv, of the same package, lies beside it.
            proc: mount a /proc of the job's own; where a container forbids that, /proc stays empty.
        """
        self._program = program or shutil.which("unshare") or "unshare"
        self._setpriv = shutil.which("setpriv") or "setpriv"
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
        # Without setpriv a killed node would leave `unshare` behind, and with it the job.
        words = [self._setpriv, "--pdeathsig", "KILL", self._program]
        words += ["--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--cgroup"]
        if os.geteuid() != 0:
            uid = namespaces.INSIDE_UID
            words += ["--user", f"--map-user={uid}", f"--map-group={uid}", "--keep-caps"]
        # unshare outside, and the warden, which is the first process of the namespace.
        return await namespaces.run(
            job, words, (self._steps(job), -1), proc=self._proc, overhead=2, bare=True
        )

    def _steps(self, job: Job) -> list[world.Step]:
        targets = [mount.target for mount in job.mounts]
        shown = world.of_host(targets) if job.root is None else world.of_root(job.root, targets)
        return [*shown, *world.furniture(job, proc=self._proc), *world.mounts(job)]
