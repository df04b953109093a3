"""What stands beside the packages of a Python environment: programs in bin, and pyvenv.cfg.

A program that no checked package brought is a finding: a shell finds it before others of its name while the environment
is active. The interpreter and what switches the environment on are told as generated: they come with Python or with the
tool that made the environment, and nobody's log speaks of them. Neither it nor its standard library is looked at.

Source: Python's documentation of `venv`; what `venv`, virtualenv and uv write.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.rows import GENERATED, REFUSED, SKIPPED, Row

_OF_TOOLS: Final = re.compile(
    r"(?:python|pypy)\d*(?:\.\d+)?t?|[Aa]ctivate(?:\.(?:csh|fish|ps1|bat|nu|xsh))?|activate_this\.py|(?:deactivate|pydoc)\.bat"
)
_OUTSIDE: Final = re.compile(r"\s*include-system-site-packages\s*=\s*true\s*", re.IGNORECASE)


def check(root: Path, told: Collection[str], left_out: Collection[str]) -> Iterator[Row]:
    """
    Args:
        told: paths that have a row already.
        left_out: names in bin of packages that have one row for all of their files.
    """
    config = root / "pyvenv.cfg"
    lines = (walking.text(config, 1 << 20) or b"").decode("utf-8", "replace").splitlines()
    if any(map(_OUTSIDE.fullmatch, lines)):
        yield Row(str(config), "", REFUSED, why="Python also imports packages from outside of this environment",
                  do="set include-system-site-packages = false")  # fmt: skip
    if not (root / "bin").is_dir():
        return
    for one in walking.walk(root / "bin"):
        shown = str(root / "bin" / one.rel)
        if shown in told:
            continue
        if one.rel in left_out:
            yield Row(shown, "", SKIPPED, why="see its package")
        elif _OF_TOOLS.fullmatch(one.rel):
            yield Row(shown, "", GENERATED)
        else:
            yield Row(shown, "", REFUSED, why=f"additional: {one.odd or 'a program'} that no package owns",
                      do="look at it and delete it, or name it or its package with --skip")  # fmt: skip
