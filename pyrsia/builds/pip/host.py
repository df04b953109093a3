"""Facts about the interpreter that runs this process: the default target, and the environment's fingerprint."""

import os
import platform
import sys
import zlib

from pyrsia.builds.environment import fingerprint
from pyrsia.builds.pip.target import Target
from pyrsia.errors import Malformed, Refusal


def target() -> Target:
    """The target of this interpreter.

    Raises:
        Refusal: `no-sandbox` on a system that builds are not made for.
    """
    name, _, version = _libc().partition("-")
    try:
        short = ".".join(version.split(".")[:2])
        return Target(
            platform.machine(), f"{name}-{short}", sys.platform, platform.python_version().rstrip("+")
        )
    except Malformed as error:
        raise Refusal(
            "no-sandbox",
            what=f"packages cannot be built here: {error}",
            who="this machine",
            do="run builds with CPython on Linux; fetching and verifying work everywhere",
        ) from error


def environment() -> str:
    """`host:<hex>`: interpreter, platform, C library and compressor."""
    return fingerprint(facts())


def facts() -> dict[str, str]:
    """What of this machine may shape the bytes of a pure package."""
    return {
        "arch": platform.machine(),
        "implementation": platform.python_implementation(),
        "libc": _libc(),
        "os": sys.platform,
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }


def _libc() -> str:
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        text = ""
    if text:
        return text.replace(" ", "-")
    return "musl-1.2"  # PEP 656: the only series in use
