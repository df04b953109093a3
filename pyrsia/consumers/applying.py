"""The one shell of `pyrsia setup`: reads what a plan wants to see, writes what it says, takes it back.

Order is what makes it safe: the journal is durable before the first file changes, every file is replaced whole, and a
failure puts back what was written until then. A file that changed between plan and write is not written. Symbolic links
are followed: the file behind one is edited, the link stays.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import platformdirs

from pyrsia.consumers import journal
from pyrsia.consumers.edits import Edit, Kind, Place, Plan, Seen, Want
from pyrsia.consumers.journal import Journal, Was
from pyrsia.errors import Refusal
from pyrsia.files import sync_folder, write_whole
from pyrsia.units import Limit

MAX_CONFIG_BYTES = Limit(
    1 << 20, "a client's configuration has some KB; the largest settings.xml seen has 60"
)
MAX_CONFIG_FILES = Limit(200, "drop-ins of one folder; a machine has a dozen")
_OWN_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True)
class Change:
    """One file before and after."""

    path: Path
    was: Was
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: files put back, files removed, folders left because they hold more, copies it kept."""

    files: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    left: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()


def state_folder() -> Path:
    return Path(platformdirs.user_state_dir("pyrsia", appauthor=False)) / "setup"


def journal_path(kind: Kind, place: Place) -> Path:
    """One journal a client; another root or file has another."""
    if place.root == Path("/") and place.file is None and not place.system:
        return state_folder() / f"{kind.name}.json"
    where = f"{place.root.absolute()}\0{place.file and place.file.absolute()}\0{place.system}"
    return state_folder() / f"{kind.name}-{sha256(where.encode()).hexdigest()[:12]}.json"


# -- seeing --------------------------------------------------------------------------------------


def see(kind: Kind, place: Place) -> dict[Path, bytes]:
    """The files that this client's plan wants to see and that exist.

    Raises:
        Refusal: `config-invalid` for one that is too large or no file.
    """
    found: dict[Path, bytes] = {}
    for wanted in kind.reads(place):
        paths = _matching(wanted)
        if len(paths) > MAX_CONFIG_FILES.value:
            raise _odd(wanted, f"there are more than {MAX_CONFIG_FILES.value} such files")
        for path in paths:
            data = _read(path)
            if data is not None:
                found[path] = data
    return found


def _matching(wanted: Path) -> list[Path]:
    """The paths that a pattern means: `*` may stand in any part."""
    fixed = next((at for at, part in enumerate(wanted.parts) if "*" in part), None)
    if fixed is None:
        return [wanted]
    return sorted(Path(*wanted.parts[:fixed]).glob(str(Path(*wanted.parts[fixed:]))))


def _read(path: Path) -> bytes | None:
    """A regular file's bytes; None where there is none. A pipe or device is never opened for reading."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _odd(path, error.strerror or "it cannot be read") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        if str(path) == os.devnull:  # how people say "no file" in a variable
            return None
        raise _odd(path, "it is no regular file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(MAX_CONFIG_BYTES.value + 1)
    if len(data) > MAX_CONFIG_BYTES.value:
        raise _odd(path, f"it is larger than {MAX_CONFIG_BYTES.value} bytes")
    return data


def _odd(path: Path, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"{path} cannot be used: {why}",
        who="the file",
        do="look at it, or name another with --file; nothing was changed",
    )


# -- planning ------------------------------------------------------------------------------------


def plan(kind: Kind, place: Place, want: Want) -> tuple[Plan, list[Change]]:
    """What a setup would change; nothing is changed.

    Raises:
        Refusal: from the client's plan; `conflict` where `strict` cannot be had.
    """
    seen = see(kind, place)
    made = kind.plan(place, seen, want)
    if want.strict and made.holes:
        told = "; ".join(hole.what for hole in made.holes)
        raise Refusal(
            "conflict",
            what=f"--strict cannot be had: {told}",
            who=f"how {kind.name} works, or what else configures it",
            do="; ".join(dict.fromkeys(hole.do for hole in made.holes)) + "; nothing was changed",
        )
    return made, [one for edit in made.edits if (one := _change(edit, seen)) is not None]


def _change(edit: Edit, seen: Seen) -> Change | None:
    """None where the file is already what it shall be."""
    path = edit.path if edit.path.is_absolute() else edit.path.absolute()
    try:
        path = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        raise _odd(edit.path, "it is a symbolic link that leads nowhere") from None
    was = _was(path)
    if edit.path in seen and was.data != seen[edit.path]:
        raise _moved(path)
    return None if was.data == edit.data else Change(path, was, edit.data)


def _was(path: Path) -> Was:
    data = _read(path)
    missing = []
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    if data is None:
        return Was(None, missing=tuple(reversed(missing)))
    status = path.stat()
    return Was(data, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _moved(path: Path) -> Refusal:
    return Refusal(
        "conflict",
        what=f"{path} changed while it was looked at",
        who="another program",
        do="run the command again; nothing was changed",
    )


# -- writing -------------------------------------------------------------------------------------


def apply(kind: Kind, place: Place, want: Want) -> tuple[Plan, list[Change]]:
    """Do what the plan says; what was done.

    Raises:
        Refusal: as `plan`; `unavailable` when a file could not be written, and then none is.
    """
    path = journal_path(kind, place)
    with _alone(path):
        made, changes = plan(kind, place, want)
        if changes:
            earlier = journal.read(path)
            _write_all(path, earlier, _journal(kind, want, earlier, changes), changes)
    return made, changes


def _journal(kind: Kind, want: Want, earlier: Journal | None, changes: Sequence[Change]) -> Journal:
    rows = {one.path: one for one in earlier.files} if earlier else {}
    folders = list(earlier.folders) if earlier else []
    for change in changes:
        old = rows.get(str(change.path))
        rows[str(change.path)] = journal.kept(change.path, change.was, change.data, old)
        folders += [str(one) for one in change.was.missing if str(one) not in folders]
    return Journal(1, kind.name, want.node, tuple(rows.values()), tuple(folders))


def _write_all(path: Path, earlier: Journal | None, made: Journal, changes: Sequence[Change]) -> None:
    """The journal, then each file; at the first failure all is as it was."""
    write_whole(path, made.encode(), _OWN_ONLY)
    done: list[Change] = []
    try:
        for change in changes:
            if _read(change.path) != change.was.data:
                raise _moved(change.path)
            done.append(change)
            for folder in change.was.missing:
                folder.mkdir(exist_ok=True)
            _put(change.path, change.data, change.was)
    except (OSError, Refusal) as error:
        for change in reversed(done):
            _put(change.path, change.was.data, change.was)
            for folder in reversed(change.was.missing):
                with suppress(OSError):
                    folder.rmdir()
        if earlier is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, earlier.encode(), _OWN_ONLY)
        if isinstance(error, Refusal):
            raise
        raise _unwritten(done[-1].path, error) from None


def _put(path: Path, data: bytes | None, was: Was) -> None:
    """Make `path` hold `data` with the mode and owner of `was`."""
    if data is None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
        return
    write_whole(path, data, _OWN_ONLY)  # nobody else reads it before its mode is known to be right
    if was.uid >= 0 and (was.uid, was.gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):  # another's file in a folder of ours: it becomes ours
            os.chown(path, was.uid, was.gid)
    path.chmod(was.mode)


def _unwritten(path: Path, error: OSError) -> Refusal:
    denied = isinstance(error, PermissionError)
    return Refusal(
        "unavailable",
        what=f"{path} cannot be written: {error.strerror or error}",
        who="this user's rights" if denied else "this machine",
        do=("run it with sudo, or name a file of your own with --file" if denied else "correct that")
        + "; nothing was changed",
    )


# -- taking back -----------------------------------------------------------------------------------


def undo(kind: Kind, place: Place, *, force: bool) -> Undone:
    """Put back what every file was before the first setup.

    Args:
        force: also where a file was edited by hand since; a copy of it is kept beside the journal.

    Raises:
        Refusal: `not-found` where there is nothing to undo; `conflict` for edits by hand, with nothing changed.
    """
    path = journal_path(kind, place)
    with _alone(path):
        found = journal.read(path)
        if found is None:
            raise _nothing(kind)
        now = {one.path: _read(Path(one.path)) for one in found.files}
        strange = [one for one in found.files if not one.is_ours(now[one.path])]
        if strange and not force:
            raise _by_hand(kind, [one.path for one in strange])
        copies = [_keep_copy(path, one.path, now[one.path]) for one in strange]
        return _put_back(path, found, now, [one for one in copies if one is not None])


def to_undo(kind: Kind, place: Place) -> list[Change]:
    """What an undo would change."""
    found = journal.read(journal_path(kind, place))
    if found is None:
        raise _nothing(kind)
    rows = [Change(Path(one.path), _was(Path(one.path)), one.bytes_before) for one in found.files]
    return [one for one in rows if one.was.data != one.data]


def _put_back(path: Path, found: Journal, now: dict[str, bytes | None], copies: Sequence[Path]) -> Undone:
    files, removed = [], []
    for one in reversed(found.files):
        target, before = Path(one.path), one.bytes_before
        was = Was(before, one.mode, one.uid, one.gid)
        if before is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            files.append(target)
        elif now[one.path] is not None:
            removed.append(target)
        try:
            if now[one.path] != before:
                _put(target, before, was)
            elif before is not None:
                target.chmod(one.mode)
        except OSError as error:  # the journal stays: it can be tried again
            raise _instead(_unwritten(target, error), "correct that and undo again") from None
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


def _hand_on(path: Path, folder: str) -> bool:
    """Leave a folder to the undo of another client that has a file in it."""
    for other in sorted(path.parent.glob("*.json")):
        found = journal.read(other) if other != path else None
        if found is not None and any(one.path.startswith(f"{folder}/") for one in found.files):
            write_whole(other, found.with_folder(folder).encode(), _OWN_ONLY)
            return True
    return False


def _instead(refusal: Refusal, do: str) -> Refusal:
    return Refusal(refusal.code, what=refusal.what, who=refusal.who, do=do)


def _keep_copy(path: Path, of: str, data: bytes | None) -> Path | None:
    if data is None:
        return None
    copy = path.with_name(f"{path.stem}.{Path(of).name}.{sha256(data).hexdigest()[:12]}.kept")
    write_whole(copy, data, _OWN_ONLY)
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


def known(folder: Path | None = None) -> Iterator[Journal]:
    """Every setup that can be undone."""
    for path in sorted((folder or state_folder()).glob("*.json")):
        with suppress(Refusal, OSError):
            found = journal.read(path)
            if found is not None:
                yield found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One setup or undo of a client at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refusal(
                "busy",
                what="another setup of this client runs",
                who="this machine",
                do="wait for it and try again",
            ) from None
        yield


__all__ = [
    "Change",
    "Undone",
    "apply",
    "journal_path",
    "known",
    "plan",
    "see",
    "state_folder",
    "to_undo",
    "undo",
]
