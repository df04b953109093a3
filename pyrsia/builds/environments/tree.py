"""A file system in memory but for its contents, which lie one after the other in a spool; written out sorted.

Decides where a package's file comes to lie (one `/usr`), what is left out, and which two packages contradict each
other. Runs inside the sandbox: only the standard library.

Source: docs/environments.md, "How a root is made"; Debian's merged /usr (file-hierarchy(7)).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Final

from pyrsia.builds.environments.tarball import TarWriter
from pyrsia.builds.members import Hostile, checked_name, shown

MERGED: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_CHUNK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Node:
    """Attributes:
    kind: `file`, `folder` or `link`.
    start, size: of a file's bytes in the spool; a second name has the same ones.
    sha256: of them; two files are the same by it and `exec`.
    target: of a link.
    """

    kind: str
    exec: bool = False
    start: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""


class Tree:
    """Collects members, then writes them.

    Args:
        spool: an empty file that is open for reading and writing.
        dropped: path prefixes of which nothing is taken.
    """

    def __init__(self, spool: BinaryIO, dropped: Iterable[str] = ()) -> None:
        self._spool = spool
        self._end = 0
        self._dropped = tuple(f"{one}/" for one in dropped)
        self._nodes: dict[str, Node] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._nodes

    def folder(self, path: str) -> None:
        place = self._place(path)
        if place:
            self._put(place, Node("folder"))

    def link(self, path: str, target: str) -> None:
        """Raises: Hostile for a target that climbs out of the root."""
        if path in MERGED and target.strip("/") == f"usr/{path}":
            return  # `settle` makes it
        place = self._place(path)
        if not place:
            return
        depth = 0 if target.startswith("/") else place.count("/")
        for part in target.split("/"):
            depth += (part not in ("", ".")) - 2 * (part == "..")
            if depth < 0:
                raise Hostile(f"the link {shown(path)} leads out of the root")
        self._put(place, Node("link", target=target))

    def file(self, path: str, executable: bool, contents: IO[bytes]) -> None:
        place = self._place(path)
        if not place:
            return
        digest, start = hashlib.sha256(), self._end
        self._spool.seek(start)
        while piece := contents.read(_CHUNK):
            digest.update(piece)
            self._spool.write(piece)
            self._end += len(piece)
        node = Node("file", executable, start, self._end - start, digest.hexdigest())
        self._put(place, node)

    def hard(self, path: str, first: str) -> None:
        """A second name; the first one is in the tree already, or both were dropped."""
        place, other = self._place(path), self._place(first)
        if not place:
            return
        node = self._nodes.get(other)
        if node is None or node.kind != "file":
            raise Hostile(f"{shown(path)} is a second name of {shown(first)}, which is no file here")
        self._put(place, Node("file", node.exec, node.start, node.size, node.sha256))

    def _place(self, path: str) -> str:
        """Where `path` comes to lie, "" for nowhere."""
        place = checked_name(path)
        if place.split("/")[0] in MERGED:
            place = f"usr/{place}"
        return "" if f"{place}/".startswith(self._dropped) else place

    def _put(self, place: str, node: Node) -> None:
        known = self._nodes.get(place)
        if known is None:
            self._nodes[place] = node
        elif (known.kind, known.exec, known.sha256, known.target) != (
            node.kind,
            node.exec,
            node.sha256,
            node.target,
        ):
            raise Hostile(f"two packages disagree on {shown(place)}")

    def joined(self, prefix: str) -> bytes:
        """The contents of every file below `prefix`, one after the other in the order of their paths."""
        nodes = [self._nodes[place] for place in sorted(self._nodes) if place.startswith(f"{prefix}/")]
        return b"".join(piece for node in nodes if node.kind == "file" for piece in self._bytes(node))

    def settle(self) -> None:
        """Add the folders above everything and the links of the merged /usr.

        Raises:
            Hostile: something lies below a file or a link.
        """
        for name in MERGED:
            if f"usr/{name}" in self._nodes or name in ("bin", "lib", "sbin"):
                self._nodes.setdefault(f"usr/{name}", Node("folder"))
                self._nodes[name] = Node("link", target=f"usr/{name}")
        for place in list(self._nodes):
            parts = place.split("/")
            for depth in range(1, len(parts)):
                above = "/".join(parts[:depth])
                if self._nodes.setdefault(above, Node("folder")).kind != "folder":
                    raise Hostile(f"{shown(place)} lies below {shown(above)}, which is no folder")

    def write(self, out: BinaryIO, mtime: int) -> None:
        """The archive: settled, sorted by path (so that a folder stands before what is in it)."""
        writer, written = TarWriter(out, mtime), dict[int, str]()
        for place in sorted(self._nodes):
            node = self._nodes[place]
            mode = 0o755 if node.exec or node.kind == "folder" else 0o644
            if node.kind == "folder":
                writer.folder(place)
            elif node.kind == "link":
                writer.link(place, node.target)
            elif node.size and node.start in written:
                writer.hard(place, written[node.start], mode)
            else:
                if node.size:  # an empty file begins where the next one does
                    written[node.start] = place
                writer.file(place, mode, node.size, self._bytes(node))
        writer.close()

    def _bytes(self, node: Node) -> Iterator[bytes]:
        self._spool.seek(node.start)
        left = node.size
        while left and (piece := self._spool.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece
