"""Scripts in an environment's bin: whether one is what an installer writes, for this environment's own Python.

Of a wheel's script installers change the first line; for an entry point they write a script of a few lines. Both are
compared with what they may be. A first line that names any other program is no such script, since that runs instead.

Source: "Entry points specification" of the Python packaging specifications; what pip, uv and installer write.
"""

import ast
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Final

from pyrsia.units import Limit

MAX_ENTRY_BYTES = Limit(16 << 10, "a script for an entry point; those of today have 400 bytes")
_DIRECT: Final = re.compile(rb'#!(?P<quote>"?)(?P<python>[^"\n\r]+)(?P=quote)\r?\n')
# For paths that are too long for a first line, or have a space: the shell starts Python with the same file.
_SHELL: Final = re.compile(
    rb"#!/bin/sh\n'''exec' (?P<quote>[\"']?)(?P<python>[A-Za-z0-9_./+@ -]+)(?P=quote) \"\$0\" \"\$@\"\n' '''\n"
)
_MOVABLE: Final = re.compile(
    rb"#!/bin/sh\n'''exec' \"\$\(dirname -- \"\$\(realpath -- \"\$0\"\)\"\)\""
    rb"/'?python[0-9.]{0,5}'? \"\$0\" \"\$@\"\n' '''\n"
)
_PYTHON: Final = re.compile(r"python\d*(\.\d+)?t?")
_IN_WHEELS: Final = (
    b"#!python",
    b"#!pythonw",
    b"#!/usr/bin/env python",
    b"#!/usr/bin/env python3",
    b"#!python\r",
)
_POINT: Final = re.compile(
    r"(?P<name>[^=\s][^=]*?)\s*=\s*(?P<module>[\w.]+)\s*:\s*(?P<call>[\w.]+)\s*(?:\[.*\])?"
)
_PLAIN: Final = re.compile(rb"[\t\n -~]*")
_COMMENT: Final = "# -*- coding: utf-8 -*-"
# How installers tidy the name that the program sees, between the imports and the call.
_TIDYINGS: Final = (
    ("import sys", "sys.argv[0] = sys.argv[0].removesuffix('.exe')"),
    ("import re\nimport sys", r"sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])"),
    ("import re\nimport sys", r"sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])"),
    ("import sys", "if sys.argv[0].endswith('-script.pyw'):\n        sys.argv[0] = sys.argv[0][:-11]\n"
                   "    elif sys.argv[0].endswith('.exe'):\n        sys.argv[0] = sys.argv[0][:-4]"),
)  # fmt: skip


def entry_points(text: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, what is called) of the scripts that a wheel's metadata names."""
    found, section = {}, ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]").strip()
        elif line.startswith(("#", ";")):
            continue
        elif section in ("console_scripts", "gui_scripts") and (told := _POINT.fullmatch(line)):
            found[told["name"]] = told["module"], told["call"]
    return found


def is_entry(data: bytes, module: str, call: str, bin: Path) -> bool:
    """Whether a script does nothing but to call what the entry point says."""
    rest = _behind(data, bin)
    if rest is None or len(rest) > MAX_ENTRY_BYTES.value or not _PLAIN.fullmatch(rest):
        return False
    lines = rest.decode("ascii").split("\n")
    # Another comment could say that the file means something else, in another encoding.
    if any(line.strip() != _COMMENT for line in lines if line.lstrip().startswith("#")):
        return False
    try:
        found = ast.dump(ast.parse("\n".join(lines)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(found == ast.dump(ast.parse(one)) for one in _written(module, call))


def _written(module: str, call: str) -> list[str]:
    name = call.partition(".")[0]
    return [
        f"{imports}\nfrom {module} import {name}\nif __name__ == '__main__':\n    {tidying}\n    sys.exit({call}())\n"
        for imports, tidying in _TIDYINGS
    ]


def is_rewritten(data: bytes, sha256: str, bin: Path) -> bool:
    """Whether a script is the wheel's with its first line made to name this environment's Python."""
    rest = _behind(data, bin)
    if rest is None:
        return False
    return any(hashlib.sha256(first + b"\n" + rest).hexdigest() == sha256 for first in _IN_WHEELS)


def _behind(data: bytes, bin: Path) -> bytes | None:
    """What stands behind a beginning that starts this environment's Python; None for any other beginning."""
    if (movable := _MOVABLE.match(data)) is not None:
        return data[movable.end() :]
    told = _SHELL.match(data) or _DIRECT.match(data)
    if told is None or not _is_ours(os.fsdecode(told["python"]), bin):
        return None
    return data[told.end() :]


def _is_ours(python: str, bin: Path) -> bool:
    folder, name = os.path.split(python)
    if _PYTHON.fullmatch(name) is None or not os.path.isabs(python):
        return False
    if os.path.normpath(folder) == os.path.abspath(bin) or os.path.realpath(folder) == os.path.realpath(bin):
        return True
    # Packages in a plain folder belong to no environment: then it is the Python that runs this.
    here = {sys.executable, os.path.realpath(sys.executable), f"{sys.base_prefix}/bin/{name}"}
    return not (bin.parent / "pyvenv.cfg").exists() and python in here
