"""Links of a source archive that stay inside it become copies of what they lead to; no link is ever made.

A release of a project holds links as test data, and nothing else is wrong with it. What leads out of the archive, to
nothing or in a circle is refused, and copies count like everything else that is unpacked.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-maven.md, "Where the source comes from".
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from pyrsia.builds import members_zip
from pyrsia.builds.members import Hostile, Names, checked_name, shown
from pyrsia.builds.members_zip import ZipMember

_HOPS: Final = 8  # links that lead to links; Linux itself gives up after forty
_TARGET_BYTES: Final = 1_024


def followed(file: BinaryIO, members: Sequence[ZipMember]) -> list[tuple[str, ZipMember]]:
    """(path, record whose bytes stand there) of every file, in the order of `members`.

    Raises:
        Hostile: a link that is not followed; the text says which and why.
    """
    by_path = {one.path: one for one in members}
    names, found = Names(), []
    for one in members:
        if one.folder:
            continue
        for path, source in _copies(file, one, by_path) if one.link else [(one.path, one)]:
            names.admit(path, source.size, folder=False)
            found.append((path, source))
    return found


def _copies(file: BinaryIO, link: ZipMember, by_path: Mapping[str, ZipMember]) -> list[tuple[str, ZipMember]]:
    """What stands in the place of `link`: one file, or all files of a folder."""
    place, hops = _target(file, link), 0
    while (found := by_path.get(place)) is not None and found.link:
        hops += 1
        if hops > _HOPS:
            raise Hostile(f"{shown(link.path)} is a link in a circle")
        place = _target(file, found)
    if found is not None and not found.folder:
        return [(link.path, found)]
    below = [one for path, one in by_path.items() if path.startswith(f"{place}/") and not one.folder]
    if found is None and not below:
        raise Hostile(f"{shown(link.path)} is a link to nothing")
    if any(one.link for one in below):
        raise Hostile(f"{shown(link.path)} is a link to a folder with links")
    return [(link.path + one.path.removeprefix(place), one) for one in below]


def _target(file: BinaryIO, link: ZipMember) -> str:
    """The member's path that a link names, within its own top folder."""
    if link.size > _TARGET_BYTES:
        raise Hostile(f"{shown(link.path)} is a link with a name of {link.size} bytes")
    try:
        text = b"".join(members_zip.content(file, link)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Hostile(f"{shown(link.path)} is a link to a name that is not UTF-8") from error
    place = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), text.rstrip("/")))
    top = link.path.partition("/")[0]
    if text.startswith("/") or not place.startswith(f"{top}/"):
        raise Hostile(f"{shown(link.path)} is a link out of the archive")
    return checked_name(place)
