"""Our own tar writer: the same tree gives the same bytes, on every machine and with every Python.

POSIX ustar headers, with a pax header before a member only where ustar has no room (a name over 100 bytes or
outside ASCII, a size over 8 GiB). Owner is 0:0 without names. What order the members come in, the caller says.
It runs inside the sandbox: only the standard library.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; OCI image-spec, layer.md.
"""

from collections.abc import Iterable
from typing import BinaryIO, Final

BLOCK: Final = 512
_END: Final = bytes(2 * BLOCK)
_ROOM: Final = 8**11 - 1
FILE, HARD, LINK, FOLDER = b"0", b"1", b"2", b"5"


class TarWriter:
    """Writes members one after the other into `out`; `close` writes the end."""

    def __init__(self, out: BinaryIO, mtime: int) -> None:
        self._out = out
        self._mtime = mtime

    def folder(self, path: str, mode: int = 0o755) -> None:
        self._header(f"{path}/", FOLDER, mode, 0, "")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._header(path, LINK, 0o777, 0, target)

    def hard(self, path: str, first: str, mode: int) -> None:
        """A second name of a file that was already written as `first`."""
        self._header(path, HARD, mode, 0, first)

    def file(self, path: str, mode: int, size: int, pieces: Iterable[bytes]) -> None:
        """A plain file of exactly `size` bytes.

        Raises:
            ValueError: the pieces are not that many bytes.
        """
        self._header(path, FILE, mode, size, "")
        left = size
        for piece in pieces:
            left -= len(piece)
            self._out.write(piece)
        if left:
            raise ValueError(f"{path!r} has {size - left} bytes, not {size}")
        self._out.write(bytes(-size % BLOCK))

    def close(self) -> None:
        self._out.write(_END)

    def _header(self, path: str, kind: bytes, mode: int, size: int, target: str) -> None:
        name, linked = path.encode(), target.encode()
        records = []
        if len(name) > 100 or not path.isascii():
            records.append(_record("path", path))
        if len(linked) > 100 or not target.isascii():
            records.append(_record("linkpath", target))
        if size > _ROOM:
            records.append(_record("size", str(size)))
        if records:
            body = b"".join(records)
            self._out.write(_ustar(b"././@PaxHeader", b"x", 0o644, len(body), 0, b""))
            self._out.write(body + bytes(-len(body) % BLOCK))
        self._out.write(_ustar(name[:100], kind, mode, min(size, _ROOM), self._mtime, linked[:100]))


def _record(key: str, value: str) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _ustar(name: bytes, kind: bytes, mode: int, size: int, mtime: int, target: bytes) -> bytes:
    fields = b"".join(
        (
            name.ljust(100, b"\0"),
            _octal(mode, 8) + _octal(0, 8) + _octal(0, 8) + _octal(size, 12) + _octal(mtime, 12),
            b" " * 8,
            kind,
            target.ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),  # the names of owner and group
            _octal(0, 8) + _octal(0, 8),
            bytes(167),  # prefix and padding
        )
    )
    total = sum(fields)
    return fields[:148] + b"%06o\0 " % total + fields[156:]


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)
