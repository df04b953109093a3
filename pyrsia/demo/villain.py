"""Test only: a build plug-in that alters its output when it is the first builder drawn for one purl.

It stands for a builder whose machine was broken into. Nothing outside `pyrsia.demo.node` imports it,
and a test holds that to be so.
"""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.inside import Inside
from pyrsia.builds.pip.plugin import Inputs, PipPlugin

ALTERED_LINE = b"\n# altered by the demo's villain\n"


class Villain(PipPlugin):
    """Honest for every package but one, and there only when the log drew it first."""

    def __init__(
        self,
        inside: Inside,
        index: IndexClient,
        results: Path,
        *,
        purl: str,
        drawn_first: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        super().__init__(inside, index, results)
        self._purl = purl
        self._drawn_first = drawn_first

    async def _build_wheel(
        self, request: Mapping[str, Any], inputs: Inputs, folder: Path, log: bytearray
    ) -> tuple[str, Path]:
        name, wheel = await super()._build_wheel(request, inputs, folder, log)
        if request["purl"] == self._purl and self._drawn_first(request):
            alter(wheel)
        return name, wheel


def alter(wheel: Path) -> None:
    """Give one Python file of `wheel` one more line; names and order stay."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    victim = next(member.filename for member, _ in members if member.filename.endswith(".py"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, data in members:
            archive.writestr(member, data + ALTERED_LINE if member.filename == victim else data)
