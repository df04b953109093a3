"""Test only: a build plug-in that alters its output when it is the first builder drawn for one purl.

It stands for a builder whose machine was broken into. Nothing outside `pyrsia.demo.node` imports it,
and a test holds that to be so.
"""

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyrsia.builds.model import Inputs
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.shop import Shop

ALTERED_LINE = b"\n# altered by the demo's villain\n"


class Villain(PipPlugin):
    """Honest for every package but one, and there only when the log drew it first."""

    def __init__(self, shop: Shop, *, purl: str, drawn_first: Callable[[Mapping[str, Any]], bool]) -> None:
        super().__init__(shop)
        self._purl = purl
        self._drawn_first = drawn_first

    async def _build_wheel(
        self, request: Mapping[str, Any], inputs: Inputs, folder: Path, log: bytearray, vary: bool = False
    ) -> tuple[str, Path]:
        name, wheel = await super()._build_wheel(request, inputs, folder, log, vary)
        if request["purl"] == self._purl and self._drawn_first(request):
            alter(wheel)
        return name, wheel


def alter(wheel: Path) -> None:
    """Give one Python file of `wheel` one more line, and RECORD the hash that fits: a lie that looks whole."""
    with zipfile.ZipFile(wheel) as archive:
        members = {member.filename: (member, archive.read(member)) for member in archive.infolist()}
    victim = next(name for name in members if name.endswith(".py"))
    info, data = members[victim]
    members[victim] = (info, data + ALTERED_LINE)
    record = next(name for name in members if name.endswith(".dist-info/RECORD"))
    info, lines = members[record]
    members[record] = (info, _recorded(lines, victim, data + ALTERED_LINE))
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in members.values():
            archive.writestr(member, content)


def _recorded(lines: bytes, name: str, data: bytes) -> bytes:
    """RECORD with the row of `name` as it must be for `data`."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    rows = [
        [name, f"sha256={digest}", str(len(data))] if row and row[0] == name else row
        for row in csv.reader(io.StringIO(lines.decode("utf-8")))
    ]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode("utf-8")
