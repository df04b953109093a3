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
OWN_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True)
class Change:
    """One file before and after."""

    path: Path
    was: Was
    data: bytes | None


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
            data = read(path)
            if data is not None:
                found[path] = data
    return found


def _matching(wanted: Path) -> list[Path]:
    """The paths that a pattern means: `*` may stand in any part."""
    fixed = next((at for at, part in enumerate(wanted.parts) if "*" in part), None)
    if fixed is None:
        return [wanted]
    return sorted(Path(*wanted.parts[:fixed]).glob(str(Path(*wanted.parts[fixed:]))))


def read(path: Path) -> bytes | None:
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
    was = was_of(path)
    if edit.path in seen and was.data != seen[edit.path]:
        raise _moved(path)
    return None if was.data == edit.data else Change(path, was, edit.data)


def was_of(path: Path) -> Was:
    data = read(path)
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
    with alone(path):
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
    write_whole(path, made.encode(), OWN_ONLY)
    done: list[Change] = []
    try:
        for change in changes:
            if read(change.path) != change.was.data:
                raise _moved(change.path)
            done.append(change)
            for folder in change.was.missing:
                folder.mkdir(exist_ok=True)
            put(change.path, change.data, change.was)
    except (OSError, Refusal) as error:
        for change in reversed(done):
            put(change.path, change.was.data, change.was)
            for folder in reversed(change.was.missing):
                with suppress(OSError):
                    folder.rmdir()
        if earlier is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, earlier.encode(), OWN_ONLY)
        if isinstance(error, Refusal):
            raise
        raise unwritten(done[-1].path, error) from None


def put(path: Path, data: bytes | None, was: Was) -> None:
    """Make `path` hold `data` with the mode and owner of `was`."""
    if data is None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)
        return

    def right(handle: int) -> None:
        if was.uid >= 0 and (was.uid, was.gid) != (os.geteuid(), os.getegid()):
            with suppress(PermissionError):  # another's file in a folder of ours: it becomes ours
                os.fchown(handle, was.uid, was.gid)
        os.fchmod(handle, was.mode)

    write_whole(path, data, OWN_ONLY, before=right)


def unwritten(path: Path, error: OSError) -> Refusal:
    denied = isinstance(error, PermissionError)
    return Refusal(
        "unavailable",
        what=f"{path} cannot be written: {error.strerror or error}",
        who="this user's rights" if denied else "this machine",
        do=("run it with sudo, or name a file of your own with --file" if denied else "correct that")
        + "; nothing was changed",
    )


@contextmanager
def alone(path: Path) -> Iterator[None]:
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
