"""What to do with a database that does not open whole, or opens shorter than what was acknowledged.

Three ends, and no other: it opens whole; a copy of it, recovered up to the first broken record, reaches what
votes.wal last marked and takes its place; or it is set aside under another name, and the node begins anew.
Nothing is deleted but half-made copies, and the oldest of the databases set aside where they are many.

    db             the database                 db.suspect     damage was met while it ran
    db.copy        a copy under examination     db.damaged-N   set aside, oldest first

Order: a copy takes the name only after the original has given it up, and the original gives it up only to a
copy that was accepted or after the copy is gone. So `db.copy` without `db` is an accepted copy.

Source: docs/storage.md, "Start and recovery"; docs/adr/0024.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyrsia.errors import Refusal, Unavailable
from pyrsia.files import sync_folder
from pyrsia.store.rocks import Database, suspicion
from pyrsia.store.votes import Mark
from pyrsia.units import Limit

SET_ASIDE = Limit(3, "damage and its two last repetitions are looked into; a dying disk must not fill up too")

Measure = Callable[[Database], int]
"""The height of a database's newest block; `Refusal` `data-damaged` if its parts do not fit each other."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A database to work with.

    Attributes:
        said: what was done to get it, a sentence for the operator; empty when it opened whole.
    """

    database: Database
    said: str = ""


def open_database(
    path: Path, *, mark: Mark | None, measure: Measure, on_loss: Callable[[str], None]
) -> Opened:
    """The database at `path`, whole, recovered or new.

    Args:
        mark: what votes.wal last recorded of it; None where nothing is recorded, as in followers.
        on_loss: told why, before a database is set aside; what it writes must be durable when it returns.

    Raises:
        Refusal: `data-in-use`.
        Unavailable: the disk said no, or has no room for a copy.
    """
    try:
        return _open(path, mark, measure, on_loss)
    except OSError as error:
        raise Unavailable(f"the database {path}: {error.strerror}") from None


def _open(path: Path, mark: Mark | None, measure: Measure, on_loss: Callable[[str], None]) -> Opened:
    _finish_earlier(path)
    whole = mark or Mark()
    try:
        _refuse_known_damage(path)
        return Opened(_at_least(path, whole, measure))
    except Refusal as refusal:
        if refusal.code != "data-damaged":
            raise
        why = refusal.what
        hopeless = mark is None or isinstance(refusal, _Short) or suspicion(path).exists()
        if not hopeless and _copy_reaches(path, whole, measure):
            kept = _set_aside(path)
            _take_place(_copy(path), path)
            said = (
                f"recovered the database up to all that was acknowledged; the damaged one is {kept} ({why})"
            )
            return Opened(_at_least(path, whole, measure), said)
    _drop(_copy(path))
    on_loss(why)
    kept = _set_aside(path)
    suspicion(path).unlink(missing_ok=True)
    return Opened(Database.open(path), f"set the database aside as {kept} and began a new one: {why}")


class _Short(Refusal):
    """It opened, and lacks what was acknowledged: a copy would be no longer."""


def _at_least(path: Path, mark: Mark, measure: Measure, *, point_in_time: bool = False) -> Database:
    """The database at `path`, open, if it reaches `mark`."""
    database = Database.open(path, point_in_time=point_in_time)
    try:
        found = Mark(measure(database), database.sequence)
        if not found.reaches(mark):
            raise _damaged(
                f"the database {path} ends at block {found.height}, change {found.sequence}; block"
                f" {mark.height}, change {mark.sequence} was on its disk",
                _Short,
            )
    except BaseException:
        database.close()
        raise
    return database


def _refuse_known_damage(path: Path) -> None:
    """What RocksDB would not see, or would answer with a new database."""
    noted = suspicion(path)
    if noted.exists():
        raise _damaged(noted.read_text(encoding="utf-8", errors="replace").strip() or f"{path} is damaged")
    if path.is_dir() and any(path.iterdir()) and not (path / "CURRENT").exists():
        raise _damaged(f"the database {path} has lost its file CURRENT")


def _copy_reaches(path: Path, mark: Mark, measure: Measure) -> bool:
    """Make a copy recovered to a point in time; whether it holds all that was acknowledged."""
    copy = _copy(path)
    _duplicate(path, copy)
    try:
        _at_least(copy, mark, measure, point_in_time=True).close()
    except (Refusal, Unavailable):
        return False
    for file in copy.iterdir():
        _sync(file)
    sync_folder(copy)
    return True


def _duplicate(path: Path, copy: Path) -> None:
    """Tables are immutable and may be shared; everything else is copied."""
    _drop(copy)
    copy.mkdir(mode=0o700)
    for file in path.iterdir():
        if file.suffix == ".sst":
            os.link(file, copy / file.name)
        elif file.is_file() and file.name != "LOCK":
            shutil.copyfile(file, copy / file.name)


def _finish_earlier(path: Path) -> None:
    """Go on where a start was interrupted."""
    copy = _copy(path)
    if path.exists():
        _drop(copy)
        return
    suspicion(path).unlink(missing_ok=True)  # the database that it spoke of is set aside
    if copy.exists():
        _take_place(copy, path)


def _take_place(copy: Path, path: Path) -> None:
    copy.rename(path)
    sync_folder(path.parent)


def _set_aside(path: Path) -> str:
    """Rename the database; its new name. Of those before it the oldest go."""
    older = sorted(_aside(path))
    number = older[-1] + 1 if older else 1
    for old in older[: max(0, len(older) + 1 - SET_ASIDE.value)]:
        shutil.rmtree(_aside_name(path, old), ignore_errors=True)
    target = _aside_name(path, number)
    if path.exists():
        path.rename(target)
        sync_folder(path.parent)
    return target.name


def _aside(path: Path) -> Iterator[int]:
    for folder in path.parent.glob(f"{path.name}.damaged-*"):
        number = folder.name.rpartition("-")[2]
        if number.isascii() and number.isdigit():
            yield int(number)


def _aside_name(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


def _copy(path: Path) -> Path:
    return path.with_name(f"{path.name}.copy")


def _drop(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(what: str, kind: type[Refusal] = Refusal) -> Refusal:
    return kind(
        "data-damaged",
        what=what,
        who="this machine's disk or whoever changed the folder",
        do="start the node again: it sets the database aside and catches up from its peers",
    )
