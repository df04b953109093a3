"""Test only: a build plug-in that alters its output when it is the first builder drawn for one purl.

It stands for a builder whose machine was broken into. Nothing outside `pyrsia.demo.node` imports it,
and a test holds that to be so.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

ALTERED_LINE = b"\n# altered by the demo's villain\n"


def alter_wheel(wheel: Path) -> Path:
    """A copy of `wheel` in which one Python file has one more line; the name stays."""
    folder = wheel.parent / "altered"
    folder.mkdir()
    target = folder / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as changed:
        victim = next(m.filename for m in source.infolist() if m.filename.endswith(".py"))
        for member in source.infolist():
            data = source.read(member)
            changed.writestr(member, data + ALTERED_LINE if member.filename == victim else data)
    shutil.move(target, wheel)
    return wheel


def saboteur(purl: str) -> Callable[[str, bool, Path], None]:
    """A hook for the builder: alters the raw wheel of `purl` when this node was drawn first."""

    def after_build(built: str, drawn_first: bool, wheel: Path) -> None:
        if built == purl and drawn_first:
            alter_wheel(wheel)

    return after_build
