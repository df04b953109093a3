"""The folder of environments of one machine: each by its digest, unpacked, read-only, complete or absent.

    <folder>/<hex>/root          what a job sees as its file system
    <folder>/<hex>/rootfs.tar    the archive, for peers and images
    <folder>/<hex>/facts.json    what it offers
    <folder>/<hex>/lock          what it was made of, where that is known

Several nodes of one machine may share a folder: an environment appears in it by one rename.

Source: docs/environments.md, "Where they are kept".
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from pyrsia.builds.environments.model import ROOTFS, Environment, choose, find
from pyrsia.builds.sandbox.collect import discard
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit

FOLDER: Final = "environments"  # in a node's data directory
PARTS: Final = "parts"  # in it: files that roots are made of, by SHA-256
_NAME: Final = re.compile("[0-9a-f]{64}")
ROOT_ENTRIES = Limit(200_000, "a JDK has 1,000 files, a tool chain 15,000; a desktop stays below this")
HALF_MADE_S = Limit(86_400, "nobody makes an environment for a day; what is older was left by a crash")
KEPT = Limit(12, "three definitions of four dates; at 500 MB each that is 6 GB")


class Store:
    """Finds and keeps environments below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def here(self) -> list[Environment]:
        """By digest. An entry that cannot be read is passed over."""
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(self.folder) if _NAME.fullmatch(name))
            return [one for one in map(self.get, names) if one is not None]
        return []

    def get(self, digest: str) -> Environment | None:
        place = self.folder / digest
        try:
            facts = json.loads((place / "facts.json").read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(facts, dict) or not (place / "root").is_dir():
            return None
        told = {str(key): str(value) for key, value in facts.items()}
        return Environment(ROOTFS + digest, place / "root", told, self.archive(digest))

    def archive(self, digest: str) -> Path | None:
        path = self.folder / digest / "rootfs.tar"
        return path if path.is_file() else None

    def lock(self, digest: str) -> bytes:
        """What it was made of; empty where nobody said."""
        try:
            return (self.folder / digest / "lock").read_bytes()
        except OSError:
            return b""

    def made_of(self, lock: bytes) -> Environment | None:
        """The one that was made of these bytes of a lock."""
        return next((one for one in self.here() if self.lock(one.id.removeprefix(ROOTFS)) == lock), None)

    def of_lock(self, lock: bytes) -> Environment | None:
        """The environment that was made from this lock, if it is here: the same lock makes the same bytes."""
        return next((one for one in self.here() if self.lock(one.id.removeprefix(ROOTFS)) == lock), None)

    def keep(
        self, digest: str, archive: Path, root: Path, facts: Mapping[str, str], lock: bytes = b""
    ) -> Environment:
        """Take `root` (moved) and `archive` (copied) as the environment `digest`. Blocks: call it in a thread.

        Raises:
            Malformed: `root` holds something that no root of ours has.
        """
        known = self.get(digest)
        if known is not None:
            return known
        check(root)
        self.folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
        try:
            new.chmod(0o755)
            _move(root, new / "root")
            shutil.copyfile(archive, new / "rootfs.tar", follow_symlinks=False)
            if _sum(new / "rootfs.tar") != digest:
                raise Malformed("the archive of a root is not the one that it is called by")
            (new / "facts.json").write_text(json.dumps(dict(facts), sort_keys=True) + "\n")
            if lock:
                (new / "lock").write_bytes(lock)
            with contextlib.suppress(OSError):  # another process was quicker
                os.rename(new, self.folder / digest)
        finally:
            if new.exists():
                discard(new)
        found = self.get(digest)
        if found is None:
            raise Malformed(f"the environment {digest[:16]} could not be kept")
        return found

    def remove(self, digest: str) -> None:
        """Delete one; no job may run in it."""
        if _NAME.fullmatch(digest):
            discard(self.folder / digest)

    def trim(self, needed: Sequence[str], most: int = KEPT.value) -> list[str]:
        """Delete the oldest beyond `most` that are not among `needed` (ids); their digests."""
        keep = {one.removeprefix(ROOTFS) for one in needed}
        names = [one.id.removeprefix(ROOTFS) for one in self.here()]
        names.sort(key=lambda name: (name in keep, (self.folder / name / "facts.json").stat().st_mtime))
        gone = [name for name in names[: max(0, len(names) - most)] if name not in keep]
        for name in gone:
            self.remove(name)
        return gone

    def tidy(self) -> None:
        """Delete what a crash left half made, and fetched files that no environment here was made of. Blocks."""
        with contextlib.suppress(FileNotFoundError):
            for path in list(self.folder.iterdir()):
                if path.name.startswith("new-") and _age_s(path) > HALF_MADE_S.value:
                    discard(path)
        needed = {
            word for one in self.here() for word in self.lock(one.id.removeprefix(ROOTFS)).decode().split()
        }
        with contextlib.suppress(FileNotFoundError):
            for path in list((self.folder / PARTS).iterdir()):
                if path.name not in needed and _age_s(path) > HALF_MADE_S.value:
                    discard(path)


def _sum(path: Path) -> str:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _age_s(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


def check(root: Path) -> None:
    """Read every entry's kind, following nothing: files, folders and links only, no setuid, not too many.

    Raises:
        Malformed: otherwise.
    """
    if root.is_symlink():
        raise Malformed("a root is a link")
    left, folders = ROOT_ENTRIES.value, [root]
    while folders:
        with os.scandir(folders.pop()) as listing:
            for entry in listing:
                left -= 1
                state = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    folders.append(Path(entry.path))
                elif not (stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode)):
                    raise Malformed("a root holds a device, a pipe or a socket")
                if not stat.S_ISLNK(state.st_mode) and state.st_mode & 0o6022:
                    raise Malformed("a root holds something setuid, or that others may write")
                if left < 0:
                    raise Malformed(f"a root has more than {ROOT_ENTRIES.value} entries")


def _move(root: Path, to: Path) -> None:
    """By rename; across file systems by a copy that keeps links as links."""
    try:
        os.rename(root, to)
    except OSError:
        shutil.copytree(root, to, symlinks=True)


Fetch = Callable[[str], Awaitable[Path]]


class Kept:
    """`Environments` of a node: its own interpreter, then the roots of a store.

    Args:
        own: the host's.
        fetch: brings the archive of a digest that the log publishes, from peers; None where there are none.
        adopt: unpacks an archive and keeps it.
        needed: ids that stay when what was fetched outgrows `KEPT`: the network's; None: all stay.
    """

    def __init__(
        self,
        own: Environment,
        store: Store,
        fetch: Fetch | None = None,
        adopt: Callable[[Path, str], Awaitable[Environment]] | None = None,
        needed: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self._own = own
        self._store = store
        self._fetch = fetch
        self._adopt = adopt
        self._needed = needed

    def here(self) -> Sequence[Environment]:
        return (self._own, *self._store.here())

    def chosen(self, admitted: Sequence[str], *tools: str, pure: bool = False) -> Environment:
        return choose(self.here(), admitted, tools, pure=pure)

    async def get(self, id: str) -> Environment:
        known = [one for one in (self._own, self._store.get(id.removeprefix(ROOTFS))) if one and one.id == id]
        if known or self._fetch is None or self._adopt is None or not id.startswith(ROOTFS):
            return find(known, id)
        digest = id.removeprefix(ROOTFS)
        try:
            found = await self._adopt(await self._fetch(digest), digest)
        except Refusal as refusal:
            raise Refusal(
                "no-environment",
                what=f"the build environment {id[:24]} is neither here nor to be had from peers ({refusal.what})",
                who="this node",
                do="see `pyrsia build environment list`; make it with `pyrsia build environment make`",
            ) from refusal
        if self._needed is not None:
            await trio.to_thread.run_sync(self._store.trim, [id, *self._needed()])
        return found
