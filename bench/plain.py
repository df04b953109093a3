"""Baselines in C: a plain loop of our own, and the same loop around OpenSSL's one-shot SHA256().

OpenSSL is asked through its library alone, whose address of the function goes to the loop; so neither its headers
nor a call from Python for each node is needed.
"""

import ctypes
import ctypes.util
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

SOURCE = Path(__file__).with_name("plain.c")


@functools.cache
def loops() -> ctypes.CDLL | None:
    """The compiled loops, or None on a machine without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "plain.so"
        subprocess.run([compiler, "-O3", "-fPIC", "-shared", str(SOURCE), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def one_shots() -> dict[str, ctypes.c_void_p]:
    """The functions that hash one message at a call, by the baseline's name."""
    found = {}
    if (ours := loops()) is not None:
        found["plain C"] = ctypes.cast(ours.plain_sha256, ctypes.c_void_p)
        if (name := ctypes.util.find_library("crypto")) is not None:
            found["OpenSSL one-shot"] = ctypes.cast(ctypes.CDLL(name).SHA256, ctypes.c_void_p)
    return found


def looped(name: str, out_bytes: int, *arguments: object) -> dict[str, Callable[[], bytes]]:
    """By baseline: a call of the loop `name` with each of the one-shot functions."""
    ours = loops()
    calls: dict[str, Callable[[], bytes]] = {}
    for baseline, address in one_shots().items():
        out = ctypes.create_string_buffer(out_bytes)
        loop = functools.partial(ours[name], address, *arguments, out)
        calls[baseline] = functools.partial(_called, loop, out)
    return calls


def _called(loop: Callable[[], object], out: ctypes.Array) -> bytes:
    loop()
    return out.raw
