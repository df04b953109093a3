"""What runs in the sandbox over the files of a pipeline: archives are listed member by member, or refused by name.

It runs inside the sandbox and imports only the standard library. Source: docs/builds-how.md, "An HTTP pipeline".
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from pyrsia.builds import members_zip
from pyrsia.builds.members import Member, encode, stable
from pyrsia.builds.unpack import serve

ZIPS = (".jar", ".whl", ".zip")


def inspect(job: dict[str, Any], inputs: Path, work: Path) -> dict[str, Any]:
    """List each file of `files` ({name, file}); what is no ZIP is its own one member."""
    found = []
    for number, one in enumerate(job["files"]):
        path = inputs / one["file"]
        listed = _members(path) if one["name"].endswith(ZIPS) else [_alone(one["name"], path)]
        (work / f"{number}.members").write_bytes(encode(listed))
        found.append({"stable": stable(listed)})
    return {"files": found}


def _members(path: Path) -> list[Member]:
    with path.open("rb") as file:
        listed = []
        for one in members_zip.read(file, strict=False):
            if one.folder:
                continue
            digest = hashlib.sha256()
            for piece in members_zip.content(file, one):
                digest.update(piece)
            listed.append(Member(one.path, digest.hexdigest(), one.size, one.exec))
    return listed


def _alone(name: str, path: Path) -> Member:
    with path.open("rb") as file:
        return Member(name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, False)


if __name__ == "__main__":
    sys.exit(serve({"inspect": inspect}, Path(sys.argv[1]), Path(sys.argv[2])))
