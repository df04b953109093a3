"""Taking a setup back: every file as it was before the first one, and nothing of the user's lost on the way.

A file that holds neither what it held before nor what a setup made of it was edited by hand: it stays, and so does
everything else, unless that is forced; a copy is kept then.

Source: docs/setup.md, "Undo".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pyrsia.consumers import journal
from pyrsia.consumers.applying import OWN_ONLY, Change, alone, journal_path, put, read, unwritten, was_of
from pyrsia.consumers.edits import Kind, Place
from pyrsia.consumers.journal import Journal, Was
from pyrsia.errors import Refusal
from pyrsia.files import write_whole


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: files put back, files removed, folders left because they hold more, copies it kept."""

    files: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    left: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()


def undo(kind: Kind, place: Place, *, force: bool) -> Undone:
    """Put back what every file was before the first setup.

    Args:
        force: also where a file was edited by hand since; a copy of it is kept beside the journal.

    Raises:
        Refusal: `not-found` where there is nothing to undo; `conflict` for edits by hand, with nothing changed.
    """
    path = journal_path(kind, place)
    with alone(path):
        found = journal.read(path)
        if found is None:
            raise _nothing(kind)
        now = {one.path: read(Path(one.path)) for one in found.files}
        strange = [one for one in found.files if not one.is_ours(now[one.path]) or _linked(one.path)]
        if strange and not force:
            raise _by_hand(kind, [one.path for one in strange])
        copies = [_keep_copy(path, one.path, now[one.path]) for one in strange]
        return _put_back(path, found, now, [one for one in copies if one is not None])


def _linked(path: str) -> bool:
    """Whether somebody made a link of it since: the journal names the files behind links."""
    return Path(path).is_symlink()


def to_undo(kind: Kind, place: Place) -> list[Change]:
    """What an undo would change."""
    found = journal.read(journal_path(kind, place))
    if found is None:
        raise _nothing(kind)
    rows = [Change(Path(one.path), was_of(Path(one.path)), one.bytes_before) for one in found.files]
    return [one for one in rows if one.was.data != one.data]


def _put_back(path: Path, found: Journal, now: dict[str, bytes | None], copies: Sequence[Path]) -> Undone:
    files, removed = [], []
    for one in reversed(found.files):
        target, before = _behind(Path(one.path)), one.bytes_before
        was = Was(before, one.mode, one.uid, one.gid)
        if before is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            files.append(target)
        elif now[one.path] is not None:
            removed.append(target)
        try:
            if now[one.path] != before:
                put(target, before, was)
            elif before is not None:
                target.chmod(one.mode)
        except OSError as error:  # the journal stays: it can be tried again
            raise _instead(unwritten(target, error), "correct that and undo again") from None
    left = []
    for folder in reversed(found.folders):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            if not _hand_on(path, folder):
                left.append(Path(folder))
    path.unlink()
    return Undone(tuple(files), tuple(removed), tuple(left), tuple(copies))


def _behind(path: Path) -> Path:
    """The file that is written: behind a link that somebody made of it, which stays."""
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError):  # a loop of links
        return path


def _hand_on(path: Path, folder: str) -> bool:
    """Leave a folder to the undo of another client that has a file in it."""
    for other in sorted(path.parent.glob("*.json")):
        found = journal.read(other) if other != path else None
        if found is not None and any(one.path.startswith(f"{folder}/") for one in found.files):
            write_whole(other, found.with_folder(folder).encode(), OWN_ONLY)
            return True
    return False


def _instead(refusal: Refusal, do: str) -> Refusal:
    return Refusal(refusal.code, what=refusal.what, who=refusal.who, do=do)


def _keep_copy(path: Path, of: str, data: bytes | None) -> Path | None:
    if data is None:
        return None
    copy = path.with_name(f"{path.stem}.{Path(of).name}.{sha256(data).hexdigest()[:12]}.kept")
    write_whole(copy, data, OWN_ONLY)
    return copy


def _nothing(kind: Kind) -> Refusal:
    return Refusal(
        "not-found",
        what=f"there is no setup of {kind.name} to undo",
        who="your command, or an undo before it",
        do="see what is set up with `pyrsia setup`; --root and --file must be those of the setup",
    )


def _by_hand(kind: Kind, paths: Sequence[str]) -> Refusal:
    return Refusal(
        "conflict",
        what=f"edited by hand since the setup: {', '.join(paths)}",
        who="whoever edited it",
        do=f"see what an undo would change with `pyrsia setup {kind.name} --undo --print`; take the node out by hand,"
        " or put back what was there before with --force, which keeps a copy of the edited file",
    )
