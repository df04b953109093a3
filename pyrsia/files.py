"""Files that are whole or not there, also after a power cut."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNSYNCED: Final[set[Path]] = set()  # folders of which a power cut may leave nothing


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a file that was synced can still lack its name.

    Raises:
        OSError: as the system says it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def into_place(temporary: Path, target: Path) -> None:
    """Rename to `<aa>/<bb>/<name>`, with every directory that is new made durable from the bottom up.

    Raises:
        OSError: as the system says it.
    """
    for folder in (target.parent.parent, target.parent):
        if not folder.is_dir():
            _UNSYNCED.add(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
        if folder in _UNSYNCED:  # also for who finds it there before its maker has synced it
            sync_folder(folder.parent)
            _UNSYNCED.discard(folder)
    temporary.rename(target)
    sync_folder(target.parent)


def write_whole(
    path: Path, data: bytes, mode: int = 0o666, *, before: Callable[[int], None] = lambda _: None
) -> None:
    """Make `path` hold `data`, by rename, and durable when this returns; until then it is what it was.

    Args:
        mode: of the file from its first byte on, less the umask.
        before: done with the open file when it is whole and before it takes its place.

    Raises:
        OSError: as the system says it; nothing half written is left.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    # What an earlier process of this number left may have another mode.
    temporary.unlink(missing_ok=True)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            before(file.fileno())
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
