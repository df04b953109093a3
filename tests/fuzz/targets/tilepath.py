"""Addresses of tiles and bundles, against a reader that splits at the slashes."""

from pyrsia.errors import Malformed
from pyrsia.log import tiles
from pyrsia.log.tiles import Bundle, Tile

MAX_BYTES = 80


def check(data: bytes) -> bool:
    path = data.decode("utf-8", "replace")
    try:
        found = tiles.parse(path)
    except Malformed:
        found = None
    assert found == _split(path), "the two readers disagree"
    if found is not None:
        assert found.path == path
    return found is not None


def _split(path: str) -> Tile | Bundle | None:
    """The same by taking the path apart: what it names, if it is the way to write that."""
    if not path.isascii() or not path.startswith("tile/"):
        return None
    kind, _, rest = path.removeprefix("tile/").partition("/")
    number, partial, width = rest.partition(".p/")
    *front, last = number.split("/")
    groups = [group.removeprefix("x") for group in front]
    if any(not group.startswith("x") for group in front) or (groups and groups[0] == "000"):
        return None
    if any(len(group) != 3 or not group.isdigit() for group in (*groups, last)):
        return None
    index = int("".join((*groups, last)))
    if index >= 1 << 53 or (partial and (not _plain(width) or not 1 <= int(width) <= 255)):
        return None
    wide = int(width) if partial else 256
    if kind == "entries":
        return Bundle(index, wide)
    return Tile(int(kind), index, wide) if _plain(kind) and int(kind) <= 7 else None


def _plain(text: str) -> bool:
    return text.isdigit() and len(text) <= 3 and text == str(int(text))


def seeds() -> dict[str, bytes]:
    paths = [
        "tile/0/000", "tile/0/000.p/1", "tile/1/x001/x234/067", "tile/entries/x001/000.p/255", "tile/7/x255/255",
        "tile/entries/000", "tile/0/x000/001", "tile/00/000", "tile/0/000.p/256", "tile/0/000.p/0",
        "tile/0/000.p/01", "tile/8/000", "tile/64/000", "tile/0/1", "tile/-1/000", "tile/0/000/",
        "tile/0/x009/x007/x199/x254/x740/991", "tile/0/x009/x007/x199/x254/x740/992",
    ]  # fmt: skip
    return {f"{number:02d}": path.encode() for number, path in enumerate(paths)}
