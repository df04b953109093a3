"""What the two `namespace` backends share: who a job is, inside and outside, and how its command is run."""

import contextlib
import os
import platform
from collections.abc import Sequence
from typing import Final

import trio

from . import collect, seccomp
from .model import Job, Outcome
from .specify import JOB_UID, launch, specification
from .supervise import Prepared, memory_file, supervise
from .world import Step

INSIDE_UID: Final = 1000


async def run(
    job: Job,
    words: Sequence[str],
    place: tuple[list[Step], int] | None,
    *,
    proc: bool,
    overhead: int,
    bare: bool = False,
    told: Sequence[str] = (),
) -> Outcome:
    """Run `job` behind `words`, the command that makes its namespaces.

    Started as root, the job becomes a uid that nothing else on the host uses, and appears as `INSIDE_UID` where a /proc
    of its own lets that be said. Started by a user, `words` or `place` make it that already.

    Args:
        place: the world that the launcher makes; None where `words` made it.
        proc: whether the job has a /proc of its own.
        overhead: processes that `words` and the launcher add to the job's own.
        bare: `words` leave the host's name and a network interface that is down.
        told: options that bubblewrap reads from a descriptor: a command line would show the host's paths to the job.
    """
    root = os.geteuid() == 0
    writable = tuple(mount.source for mount in job.mounts if mount.writable)
    if root:
        for folder in writable:
            await trio.to_thread.run_sync(collect.give, folder, JOB_UID)
    spec = specification(
        job,
        seccomp=seccomp.assemble("namespace", platform.machine()),
        uid=JOB_UID if root else -1,
        map_to=INSIDE_UID if root and proc else -1,
        place=place,
        host_name="builder" if bare else "",
        loopback=bare,
    )

    with contextlib.ExitStack() as ending:
        more: tuple[int, ...] = ()
        if told:
            more = (memory_file("told", b"".join(os.fsencode(word) + b"\0" for word in told)),)
            ending.callback(os.close, *more)
            words = [*words, "--args", str(more[0])]

        def command(spec_fd: int, status_fd: int) -> list[str]:
            return [*words, "--", *launch(spec_fd, status_fd)]

        return await supervise(Prepared(command, spec, writable, overhead, warden=False, more=more), job)
