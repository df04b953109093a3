"""What of this host a job needs to see: system folders and the interpreter."""

import os
import sys
from pathlib import Path
from typing import Final

SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Names and dynamic linking; nothing here is secret or differs by user.
ETC: Final = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/debian_version",
)


def interpreter() -> str:
    """The real path of the interpreter that runs us, without its virtual environment."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(base)


def prefixes() -> tuple[Path, ...]:
    """The folders outside the system's that the interpreter needs, outermost only."""
    real = Path(interpreter())
    wanted = {Path(sys.base_prefix), Path(sys.base_exec_prefix), Path(sys.prefix)}
    wanted |= {path.resolve() for path in wanted}
    if real.parent.name == "bin":
        wanted.add(real.parent.parent)
    kept: list[Path] = []
    for path in sorted(wanted):
        inside_system = any(str(path) == top or str(path).startswith(top + "/") for top in SYSTEM)
        inside_other = any(path.is_relative_to(other) for other in kept)
        if not inside_system and not inside_other and path != Path("/") and path.is_dir():
            kept.append(path)
    return tuple(kept)


def reachable(path: Path) -> bool:
    """Whether another uid can come to `path` and read it."""
    if not path.stat().st_mode & 0o004:
        return False
    return all(above.stat().st_mode & 0o001 for above in path.parents)
