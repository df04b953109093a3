"""Finds the compressed bytes of each member of a ZIP file; it only ever runs inside the sandbox.

Operation `cut`: `file` is a name in the input folder. The answer is `spans`, [start, end] of each member's bytes as
they stand in the file, or `odd`: why this is no ZIP file that can be cut. Nothing is unpacked.

Source: docs/delta.md, "Cutting".
"""

import sys
from pathlib import Path
from typing import Any

from pyrsia.builds import members_zip
from pyrsia.builds.members import Hostile
from pyrsia.builds.unpack import serve

LEAST = 1_024  # `transfer.delta.LEAST_PIECE`: shorter members are no pieces of their own


def cut(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """The members' places in one file."""
    del work
    with (inputs / job["file"]).open("rb") as file:
        try:
            members = members_zip.read(file, strict=False)
        except Hostile as error:
            return {"odd": str(error)}
    return {"spans": [[one.start, one.start + one.packed] for one in members if one.packed >= LEAST]}


if __name__ == "__main__":
    sys.exit(serve({"cut": cut}, Path(sys.argv[1]), Path(sys.argv[2])))
