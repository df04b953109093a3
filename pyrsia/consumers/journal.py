"""What a file was before `pyrsia setup` touched it, byte for byte: one journal a client, written before the edit.

    <state>/setup/<client>.json    0600: configuration may hold passwords

A file that was edited several times keeps what it was before the first time. `after` are the digests that our own
edits gave it: anything else is the user's, which an undo does not overwrite.

Source: docs/setup.md, "Undo"; docs/adr/0056-setup-edits-with-a-journal.md.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import msgspec

from pyrsia.errors import Refusal
from pyrsia.units import Limit

MAX_JOURNAL_BYTES = Limit(32 << 20, "a dozen configuration files of 1 MiB in base64, and room")
GONE: Final = ""  # stands for the digest of a file that is not there


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file. `before` is base64 or None where there was no file; `mode`, `uid` and `gid` are of then."""

    path: Annotated[str, msgspec.Meta(min_length=2)]
    before: str | None
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
    uid: int
    gid: int
    after: tuple[str, ...]
    edited: bool = False  # by hand, between two setups

    @property
    def bytes_before(self) -> bytes | None:
        return None if self.before is None else base64.b64decode(self.before)

    def is_ours(self, now: bytes | None) -> bool:
        """Whether the file holds what it held before, or what we made of it."""
        return now == self.bytes_before or (digest(now) in self.after and not self.edited)


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`folders`: those that were made for the files, outermost first."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    client: str
    node: str
    files: tuple[Kept, ...]
    folders: tuple[str, ...] = ()

    def of(self, path: Path) -> Kept | None:
        return next((one for one in self.files if one.path == str(path)), None)

    def with_folder(self, folder: str) -> "Journal":
        """The same with one more folder, in its place."""
        folders = sorted({folder, *self.folders}, key=lambda one: (one.count("/"), one))
        return msgspec.structs.replace(self, folders=tuple(folders))

    def encode(self) -> bytes:
        return json.dumps(msgspec.to_builtins(self), indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Was:
    """A file as it is now. `data` None: there is none."""

    data: bytes | None
    mode: int = 0o644
    uid: int = -1
    gid: int = -1
    missing: tuple[Path, ...] = field(default=())  # folders above it that are not there, outermost first


def digest(data: bytes | None) -> str:
    return GONE if data is None else hashlib.sha256(data).hexdigest()


def kept(path: Path, was: Was, after: bytes | None, earlier: Kept | None) -> Kept:
    """The row for a file that is about to become `after`; `earlier` is its row of a former setup."""
    if earlier is None:
        before = None if was.data is None else base64.b64encode(was.data).decode("ascii")
        return Kept(str(path), before, was.mode, was.uid, was.gid, (digest(after),))
    by_hand = not earlier.is_ours(was.data)
    # Until the edit is done the file is what the former one made of it.
    after_all = tuple(dict.fromkeys((*earlier.after[-3:], digest(after))))
    return msgspec.structs.replace(earlier, after=after_all, edited=earlier.edited or by_hand)


def read(path: Path) -> Journal | None:
    """The journal at `path`; None where there is none.

    Raises:
        Refusal: `data-damaged`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JOURNAL_BYTES.value + 1)
    except FileNotFoundError:
        return None
    try:
        if len(data) > MAX_JOURNAL_BYTES.value:
            raise ValueError("it is too long")
        found = msgspec.json.decode(data, type=Journal)
        for one in found.files:
            if one.before is not None:
                base64.b64decode(one.before, validate=True)
            if not Path(one.path).is_absolute():
                raise ValueError(f"{one.path} is no absolute path")
    except (ValueError, RecursionError) as error:
        raise Refusal(
            "data-damaged",
            what=f"the journal {path} cannot be read: {str(error)[:200]}",
            who="whoever changed it, or the disk",
            do="look at it; what the files held before stands in it in base64. Move it away to begin anew",
        ) from None
    return found
