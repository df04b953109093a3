"""RECORD: which files an installed distribution claims. It says whose a file is, and proves nothing.

Source: "Recording installed projects" of the Python packaging specifications.
"""

import csv
import io
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from pyrsia.consumers.installed import walking
from pyrsia.units import Limit

MAX_RECORD_LINES = Limit(200_000, "ten times the members that a wheel may have")


def claims(path: Path) -> Iterator[str]:
    """The paths that a RECORD claims, below site-packages or in bin, made plain; all others are left out."""
    data = walking.text(path)
    if data is None:
        return
    lines = io.StringIO(data.decode("utf-8", "replace"), newline="")
    try:
        for number, line in enumerate(csv.reader(lines)):
            if number >= MAX_RECORD_LINES.value:
                return
            rel = posixpath.normpath(line[0]) if line and line[0] else ""
            inside = not rel.startswith(("/", "..")) or re.fullmatch(r"(?:\.\./){3}bin/[^/]+", rel)
            if rel and inside and "\0" not in rel:
                yield rel
    except csv.Error:
        return
