"""What every ecosystem's paths have in common: one spelling, and never upwards."""

from urllib.parse import urlsplit

from pyrsia.builds.outbound import target
from pyrsia.errors import Malformed


def plain(path: str) -> str:
    """`path` in its one spelling, its query with it.

    Raises:
        Malformed: it is written in two ways, leads upwards, or hides a character.
    """
    found = target.parse(f"/x/{path}".encode("ascii", "replace"))
    if found.path != path:
        raise Malformed("a path that is not in its plain spelling")
    return path


def joined(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path}"


def is_folder(url: str) -> bool:
    """Whether it names a place of this machine."""
    return urlsplit(url).scheme == "file"
