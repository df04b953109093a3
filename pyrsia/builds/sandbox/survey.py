"""What this host can do for a build, found by trying it, and the choice that follows.

A backend counts as there only if an empty job ran in it just now: a file that exists, or a kernel option
that is set, says too little about containers, security modules and old programs.
"""

import contextlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from pyrsia import errors, units

from . import cgroups, landlock, seccomp
from .bubblewrap import Bubblewrap
from .confined import Confined
from .model import BuildLimits, HostSurvey, Job, Mount, Sandbox
from .unshare import Unshare

_INSTALL = "apt-get install bubblewrap"
# Kernel settings that keep bubblewrap from namespaces: place below /proc/sys, the value that does, the cure.
_SETTINGS = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
)
_CONTAINER = "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ..."


def advise(settings: Path) -> str:
    """The command that lets an installed bubblewrap work; where no setting is to blame, a container is.

    Args:
        settings: /proc/sys.
    """
    for place, refuses, allows in _SETTINGS:
        with contextlib.suppress(OSError):
            if (settings / place).read_text().strip() == refuses:
                return f"sysctl -w {place.replace('/', '.')}={allows}"
    return _CONTAINER


async def _works(sandbox: Sandbox) -> str:
    """An empty sentence if an empty Python job runs, else what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="pyrsia-probe-"))
    try:
        job = Job(
            (*sandbox.python(), "-I", "-c", "import json, os; os.mkdir('made'); print(json.dumps('here'))"),
            mounts=(Mount(folder, "/build", writable=True),),
            limits=BuildLimits(wall_s=units.SANDBOX_PROBE_S.value),
        )
        outcome = await sandbox.run(job)
    except errors.PyrsiaError as error:
        return str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.good and outcome.log.strip() == b'"here"':
        return ""
    words = outcome.log[-300:].decode("utf-8", "replace").strip()
    return f"an empty job ended with {outcome.ended} {outcome.code}: {words}"


async def _shows_roots(sandbox: Sandbox) -> str:
    """ "works" if a job can be led into a file system of its own, here an empty one; else what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="pyrsia-probe-"))
    try:
        job = Job(
            ("/nothing",),
            cwd="/",
            root=folder,
            limits=BuildLimits(wall_s=units.SANDBOX_PROBE_S.value),
        )
        outcome = await sandbox.run(job)
    except errors.PyrsiaError as error:
        return str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # Nothing can be started in it, and that is all that went wrong: 127 is the launcher's word for it.
    return "works" if outcome.code == 127 else f"a job in an empty one ended with {outcome.code}"


async def _first_that_works(candidates: Sequence[Sandbox]) -> tuple[Sandbox | None, str]:
    """The first candidate in which an empty job runs, and "works"; or None, and why the first did not."""
    first = ""
    for candidate in candidates:
        why = await _works(candidate)
        if not why:
            return candidate, "works"
        first = first or why
    return None, first


@dataclass(slots=True)
class _Found:
    """What works here, by name, best first; and every word about it."""

    backends: dict[str, Sandbox] = field(default_factory=dict)
    facts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def namespace(self) -> Sandbox | None:
        return self.backends.get("bubblewrap") or self.backends.get("unshare")


async def _look(*, all_of_them: bool) -> tuple[HostSurvey, _Found]:
    """What was found; with one backend that is best, the others are tried only if asked."""
    abi, found = landlock.abi(), _Found()
    supported = sys.platform == "linux" and platform.machine() in seccomp.ARCHES
    if not supported:
        found.facts.append(("machine", f"{sys.platform} on {platform.machine()}: there is no filter for it"))
    programs = {"bubblewrap": shutil.which("bwrap"), "unshare": _util_linux()}
    for name, program in programs.items():
        if program is None:
            found.facts.append((name, "not installed"))
        elif supported and (all_of_them or not found.backends):
            kind = Bubblewrap if name == "bubblewrap" else Unshare
            # A container may forbid a /proc of the job's own: then the job has none.
            backend, told = await _first_that_works((kind(program), kind(program, proc=False)))
            found.facts.append((name, told))
            if backend is not None:
                found.backends[name] = backend
    found.facts.append(("landlock", f"ABI {abi}" if abi else "not in this kernel"))
    if supported and abi >= landlock.LEAST_ABI and (all_of_them or not found.backends):
        backend, told = await _first_that_works((Confined(abi),))
        found.facts.append(("confined", told))
        if backend is not None:
            found.backends["confined"] = backend
    advice = ""
    if found.namespace is None:
        # One that is there and does not work says that the other would not either.
        advice = advise(Path("/proc/sys")) if any(programs.values()) else _INSTALL
    best = next(iter(found.backends), "")
    isolation = "namespace" if found.namespace else best
    roots = ""
    if all_of_them and found.namespace is not None:
        roots = await _shows_roots(found.namespace)
        found.facts.append(("file systems of builds", roots))
    limits = await trio.to_thread.run_sync(cgroups.told) if all_of_them else ""
    root = os.geteuid() == 0
    return HostSurvey(isolation, best, abi, root, tuple(found.facts), advice, limits, roots == "works"), found


def _util_linux() -> str | None:
    """Path of unshare, where the program that ties it to the node's life is there too."""
    return shutil.which("unshare") if shutil.which("setpriv") else None


async def survey() -> HostSurvey:
    """Try every backend, and the limits. Takes about a quarter of a second."""
    return (await _look(all_of_them=True))[0]


async def choose(allow_confined: bool) -> Sandbox:
    """The best backend that works here.

    Args:
        allow_confined: whether the network's `min_isolation` lets `confined` count.

    Raises:
        Refusal: `no-sandbox`.
    """
    found, here = await _look(all_of_them=False)
    if here.namespace is not None:
        return here.namespace
    confined = here.backends.get("confined")
    if confined is not None and allow_confined:
        return confined
    told = "; ".join(f"{name}: {what}" for name, what in found.facts)
    what = (
        "this machine cannot isolate a build as the network asks"
        if confined
        else "this machine has no sandbox"
    )
    raise errors.Refusal("no-sandbox", what=f"{what} ({told})", who="this machine", do=found.advice)
