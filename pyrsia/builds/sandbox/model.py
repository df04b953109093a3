"""What a sandboxed job is, what comes back, and the face that every backend shows.

A job speaks of the paths that it sees inside: `/build` for its working folder, `/tmp` for the rest. A
backend that cannot move paths (`confined`) rewrites those words when it starts the job; see `Sandbox.inside`.

Leaves out: how any of it is enforced. Source: docs/sandbox.md, "What a job sees".
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from pyrsia import units

Isolation = Literal["namespace", "confined"]
Ended = Literal["exit", "signal", "wall", "memory", "processes", "disk", "cancelled"]

# What may shape the bytes of an output is the same on every builder.
FIXED_ENVIRONMENT: Final[Mapping[str, str]] = {
    "HOME": "/tmp",  # noqa: S108 - the job's own, not the host's
    "TMPDIR": "/tmp",  # noqa: S108
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
EGRESS_PORT: Final = 7999  # of the job's own loopback
_MAX_SOCKET_PATH: Final = 107  # unix(7)
DEFAULT_PATH: Final = "/usr/bin:/bin"
TRUNCATED: Final = b"\n[pyrsia: the log was cut here; the build wrote more than its limit]\n"


@dataclass(frozen=True, slots=True)
class BuildLimits:
    """What one job may use. All are totals over its whole process tree unless they say otherwise."""

    wall_s: float = units.BUILD_WALL_S.value
    cpu_s: int = units.BUILD_CPU_S.value  # of one process
    memory_bytes: int = units.BUILD_MEMORY_BYTES.value
    processes: int = units.BUILD_PROCESSES.value
    disk_bytes: int = units.BUILD_DISK_BYTES.value
    file_bytes: int = units.BUILD_FILE_BYTES.value  # of one file
    log_bytes: int = units.BUILD_LOG_BYTES.value


@dataclass(frozen=True, slots=True)
class Mount:
    """One file or folder of the host that the job sees.

    Attributes:
        source: where it is on the host; as root, a writable folder is given to the job's uid.
        target: absolute path inside, never `/`.
        writable: only folders may be.
    """

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One program to run inside. It gets this environment, this input and these mounts, and nothing else.

    Attributes:
        root: folder that is shown as the file system, read-only, in place of the host's own programs; None for those.
            Its /proc, /dev, /sys, /run and /tmp are not shown: the job has its own.
        egress: Unix socket of the host that the job reaches as `http://127.0.0.1:EGRESS_PORT`; None for no way out.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/build"
    mounts: tuple[Mount, ...] = ()
    limits: BuildLimits = field(default_factory=BuildLimits)
    stdin: bytes = b""
    root: Path | None = None
    egress: Path | None = None

    def environment(self) -> dict[str, str]:
        """The whole environment of the job: its own words, under the fixed ones."""
        return {"PATH": DEFAULT_PATH} | dict(self.env) | dict(FIXED_ENVIRONMENT)

    def check(self) -> None:
        """Refuse what no backend can run.

        Raises:
            ValueError: the caller has a bug.
        """
        if not self.argv:
            raise ValueError("a job needs a program")
        texts = [*self.argv, *self.env, *self.env.values(), self.cwd, *(m.target for m in self.mounts)]
        if any("\0" in text for text in texts):
            raise ValueError("a zero byte in an argument, a variable or a path")
        if any("=" in name for name in self.env):
            raise ValueError("a variable's name holds '='")
        for mount in self.mounts:
            parts = mount.target.split("/")
            if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
                raise ValueError(f"{mount.target!r} is not a plain absolute path inside")
            if mount.writable and not mount.source.is_dir():
                raise ValueError(f"{mount.target!r} is writable and not a folder")
        if self.root is not None and not self.root.is_dir():
            raise ValueError("a job's root is not a folder")
        if self.egress is not None and len(os.fsencode(self.egress)) > _MAX_SOCKET_PATH:
            raise ValueError(f"a Unix socket's path has at most {_MAX_SOCKET_PATH} bytes")
        if len({mount.target for mount in self.mounts}) != len(self.mounts):
            raise ValueError("two mounts at one place")
        for mount in self.mounts:
            if any(mount.target.startswith(other.target + "/") for other in self.mounts):
                # Its place would be looked for in the other's content, through whatever links a stranger left there.
                raise ValueError(f"{mount.target!r} lies inside another mount")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the job used, as far as the host tells; for people, never for the log."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0  # highest sum seen over the tree
    processes: int = 0  # highest count seen
    disk_bytes: int = 0  # highest sum seen in what it may write


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        code: exit status, or minus the signal's number.
        ended: `exit` and `signal` are the job's own doing; the others name the limit that it broke.
        log: standard output and error as they came, at most `log_bytes` and a marker.
    """

    code: int
    ended: Ended
    log: bytes
    log_truncated: bool
    usage: Usage

    @property
    def good(self) -> bool:
        return self.ended == "exit" and self.code == 0


@dataclass(frozen=True, slots=True)
class HostSurvey:
    """What this host gives.

    Attributes:
        isolation: the best isolation that works here, "" for none.
        backend: the program or fence that gives it: `bubblewrap`, `unshare` or `confined`; "" for none.
        landlock: ABI version, 0 for none.
        facts: what was tried, and what was found, for people.
        advice: the one command for more isolation, "" where there is no more.
        limits: what bounds memory and processes; "" where it was not looked at.
        roots: whether a build can have a file system of its own, as all but pure packages need.
    """

    isolation: str
    backend: str
    landlock: int
    root: bool
    facts: tuple[tuple[str, str], ...]
    advice: str
    limits: str = ""
    roots: bool = False


class Sandbox(Protocol):
    """A backend. Instances hold no state of a job; any number of jobs may run at once."""

    @property
    def isolation(self) -> Isolation: ...

    async def run(self, job: Job) -> Outcome:
        """Run `job` to its end; cancelling kills its whole tree before it returns.

        Raises:
            Refusal: `no-environment` or `no-sandbox`: this backend cannot give the job its root or its way out.
            Unavailable: the job could not be started or could not be killed; nothing is known of its outputs.
        """
        ...

    def inside(self, path: str) -> str:
        """How a program inside can write `path` (absolute, as in a mount's target) in words it was not
        given as an argument or variable: those are rewritten for it. Relative paths hold everywhere."""
        ...

    def python(self) -> tuple[str, ...]:
        """The start of an argv: the interpreter that runs Pyrsia, without its virtual environment."""
        ...
