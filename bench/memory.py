"""How much memory a piece of work takes: it runs in a process of its own, whose own pages are watched.

Counted is `RssAnon`, what only that process holds; pages of files the kernel can have back at any time.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_EVERY_S = 0.005


def peak_mb(module: str, function: str, *arguments: str, timeout_s: float = 1_800.0) -> float:
    """The largest RssAnon, in MB of 10^6 bytes, of a process that calls `module.function(*arguments)` and ends.

    Raises:
        RuntimeError: the call failed or took longer than `timeout_s`.
    """
    code = f"import sys; from {module} import {function}; {function}(*sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT) as process:
        peak, end_s = 0, time.monotonic() + timeout_s
        while process.poll() is None:
            peak = max(peak, _anonymous_kb(process.pid))
            if time.monotonic() > end_s:
                process.kill()
                raise RuntimeError(f"{module}.{function} took more than {timeout_s:.0f} s")
            time.sleep(_EVERY_S)
    if process.returncode:
        raise RuntimeError(f"{module}.{function} ended with {process.returncode}")
    return peak * 1024 / 1e6


def held_mb(pid: int) -> float:
    """RssAnon of a running process, in MB of 10^6 bytes."""
    return _anonymous_kb(pid) * 1024 / 1e6


def _anonymous_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)
