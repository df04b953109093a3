"""The `namespace` backend where bubblewrap is absent: util-linux makes the namespaces, our launcher the world.

The same world as bubblewrap's in all that a job can see, made by mounts of our own (`enter.py`). Started as root, the
launcher makes it with root's rights and becomes another uid before the job starts; started by a user, a user
namespace gives it those rights over nothing but the world that it makes.

Source: docs/sandbox.md, "Three backends"; unshare(1), setpriv(1).
"""

import os
import platform
import shutil
from typing import Final

import trio

from . import collect, host, seccomp, world
from .model import Isolation, Job, Outcome
from .supervise import JOB_UID, Prepared, launch, specification, supervise

_INSIDE_UID: Final = 1000


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
        root = os.geteuid() == 0
        writable = tuple(mount.source for mount in job.mounts if mount.writable)
        if root:
            for folder in writable:
                await trio.to_thread.run_sync(collect.give, folder, JOB_UID)
        spec = specification(
            job,
            seccomp=seccomp.assemble("namespace", platform.machine()),
            uid=JOB_UID if root else -1,
            map_to=_INSIDE_UID if root and self._proc else -1,
            place=(await trio.to_thread.run_sync(self._steps, job), -1),
            host_name="builder",
            loopback=True,
        )

        def command(spec_fd: int, status_fd: int) -> list[str]:
            # Without setpriv a killed node would leave `unshare` behind, and with it the job.
            words = [self._setpriv, "--pdeathsig", "KILL", self._program]
            words += ["--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--cgroup"]
            if not root:
                words += ["--user", f"--map-user={_INSIDE_UID}", f"--map-group={_INSIDE_UID}", "--keep-caps"]
            return [*words, "--", *launch(spec_fd, status_fd)]

        # unshare outside, and the warden, which is the first process of the namespace.
        return await supervise(Prepared(command, spec, writable, overhead=2, warden=False), job)

    def _steps(self, job: Job) -> list[world.Step]:
        targets = [mount.target for mount in job.mounts]
        shown = world.of_host(targets) if job.root is None else world.of_root(job.root, targets)
        return [*shown, *world.furniture(job, proc=self._proc), *world.mounts(job)]
