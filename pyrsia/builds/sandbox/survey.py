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
from pathlib import Path

from pyrsia import errors, units

from . import landlock, seccomp
from .bubblewrap import Bubblewrap
from .confined import Confined
from .model import BuildLimits, HostSurvey, Job, Mount, Sandbox

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


async def _look(*, all_of_them: bool) -> tuple[HostSurvey, Sandbox | None, Sandbox | None]:
    """What was found, and the backends that work; with one that is best, the others are tried only if asked."""
    program, abi, root = shutil.which("bwrap"), landlock.abi(), os.geteuid() == 0
    facts: list[tuple[str, str]] = []
    namespace: Sandbox | None = None
    confined: Sandbox | None = None
    supported = sys.platform == "linux" and platform.machine() in seccomp.ARCHES
    if not supported:
        facts.append(("machine", f"{sys.platform} on {platform.machine()}: there is no filter for it"))
    if program is None:
        facts.append(("bubblewrap", "not installed"))
    elif supported:
        why = ""
        for candidate in (Bubblewrap(program), Bubblewrap(program, proc=False)):
            first, why = why, await _works(candidate)
            if not why:
                namespace = candidate
                break
            why = first or why
        facts.append(("bubblewrap", why or "works"))
    facts.append(("landlock", f"ABI {abi}" if abi else "not in this kernel"))
    if supported and abi >= landlock.LEAST_ABI and (all_of_them or namespace is None):
        fenced = Confined(abi)
        why = await _works(fenced)
        confined = None if why else fenced
        facts.append(("confined", why or "works"))
    advice = ""
    if namespace is None:
        advice = _INSTALL if program is None else advise(Path("/proc/sys"))
    name = "namespace" if namespace else "confined" if confined else ""
    return HostSurvey(name, namespace is not None, abi, root, tuple(facts), advice), namespace, confined


async def survey() -> HostSurvey:
    """Try every backend. Takes about a tenth of a second."""
    return (await _look(all_of_them=True))[0]


async def choose(allow_confined: bool) -> Sandbox:
    """The best backend that works here.

    Args:
        allow_confined: whether the network's `min_isolation` lets `confined` count.

    Raises:
        Refusal: `no-sandbox`.
    """
    found, namespace, confined = await _look(all_of_them=False)
    if namespace is not None:
        return namespace
    if confined is not None and allow_confined:
        return confined
    told = "; ".join(f"{name}: {what}" for name, what in found.facts)
    what = (
        "this machine cannot isolate a build as the network asks"
        if confined
        else "this machine has no sandbox"
    )
    raise errors.Refusal("no-sandbox", what=f"{what} ({told})", who="this machine", do=found.advice)
