"""The shelf of packages that people push to this node: uploads on their way in, and their bounds.

Decides how much is taken (open uploads, one file, all together, rows of a package) and when an upload that nobody
goes on with is dropped. Its digests are counted while it arrives, so keeping it reads nothing again. What lies where
is the store's; who may push is asked before (serve/grants.py).
"""

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import trio

from pyrsia.config import LocalSection
from pyrsia.errors import Refusal
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.serve.desks.supply import LocalRow
from pyrsia.store.local import LocalStore, Pushed
from pyrsia.store.quota import no_disk
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

OPEN_UPLOADS = Limit(256, "a client pushes five files at once: fifty clients; each costs 256 KiB at most")
SHARE = Limit(64, "of them that a token has for sure, whatever others do: twelve clients at once")
IDLE_S = Limit(3_600, "what OCI clients pause for when they resume an upload; longer means abandoned")
PIECE_BYTES = Limit(262_144, "written and hashed at once, in a thread: a millisecond of work")
PACKAGE_ROWS = Limit(20_000, "files, tags and pages of one package; listing them takes a tenth of a second")
PACKAGES = Limit(50_000, "their names are kept in memory: some megabytes")
KEY_CHARS = Limit(1_024, "a path in a registry; the longest of Maven's and Conan's have about 300")
MORE_BYTES = Limit(65_536, "of what a registry remembers of one file; more belongs into a file")

_GB: Final = 1_000_000_000
_ALGORITHMS: Final = ("sha256", "sha512", "sha1", "md5")
# What clients of an ecosystem ask for; four digests take twice the time of two, and layers are the largest files.
_ASKED: Final = {
    "docker": ("sha256", "sha512"),
    "pypi": ("sha256", "md5"),
    "conan": ("sha256", "sha1", "md5"),
}


class LocalUpload:
    """Bytes of one file on their way in (serve.desks.supply.Upload)."""

    def __init__(self, shelf: "LocalPackages", package: str, path: Path, by: str) -> None:
        self.id = path.name
        self.package = package
        self.by = by
        self.size = 0
        self.touched_s = trio.current_time()
        self._shelf = shelf
        self._path = path
        self._pending = bytearray()
        # Two of them are broken as digests; clients compare them all the same, and nothing here trusts them.
        asked = _ASKED.get(package.removeprefix("pkg:").partition("/")[0], _ALGORITHMS)
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in asked}
        self._busy = False
        self._done = False

    async def write(self, piece: bytes) -> None:
        self._begin()
        try:
            self.size += len(piece)
            self._shelf.bound(self)
            self._pending += piece
            if len(self._pending) >= PIECE_BYTES.value:
                await self._in_thread(self._flush)
        except BaseException as error:
            if not isinstance(error, trio.Cancelled):
                self._busy = False
                self.drop()
            raise
        finally:
            self._busy = False

    def digest(self, algorithm: str) -> str:
        found = self._digests[algorithm].copy()
        found.update(self._pending)
        return found.hexdigest()

    async def peek(self) -> Path:
        self._begin()
        try:
            await self._in_thread(self._flush)
        finally:
            self._busy = False
        return self._path

    async def keep(self, key: str, *, by: str, more: Mapping[str, str] | None = None) -> LocalRow:
        """As the protocol says; whatever comes of it, the upload is gone."""
        self._begin()
        try:
            row = self._shelf.row_of(bytes.fromhex(self.digest("sha256")), self.size, by, more)
            self._shelf.admit(self.package, key)
            await self._in_thread(lambda: self._flush(durable=True))
            return await self._shelf.keep(self._path, self.package, key, row)
        finally:
            self._busy = False
            self.drop()

    def drop(self) -> None:
        if self._busy:  # a thread writes: whoever has it ends it
            return
        self._done = True
        self._shelf.forget(self)
        self._path.unlink(missing_ok=True)

    @property
    def idle(self) -> bool:
        return not self._busy

    def _begin(self) -> None:
        if self._busy or self._done:
            raise Refusal(
                "conflict",
                what="another request writes to this upload" if self._busy else "this upload has ended",
                who="the client's request",
                do="send the pieces of one upload one after the other, or begin a new one",
            )
        self._busy = True
        self.touched_s = trio.current_time()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """A piece that was begun is waited for, whatever is cancelled."""
        try:
            await trio.to_thread.run_sync(work, limiter=self._shelf.threads)
        except OSError as error:
            raise no_disk("a package that is pushed cannot be written", error) from None
        self.touched_s = trio.current_time()

    def _flush(self, *, durable: bool = False) -> None:
        for digest in self._digests.values():
            digest.update(self._pending)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(self._pending)
            file.flush()
            if durable:
                os.fdatasync(file.fileno())
        self._pending = bytearray()


class LocalPackages:
    """What was pushed to this node (serve.desks.supply.Local).

    Attributes:
        said: what a start did that the operator should know, if anything.
        judge: asked by `refusal` about a purl; nothing is refused until it is set (node.packages.supply).
    """

    def __init__(self, store: LocalStore, settings: LocalSection, *, now_ms: NowMs = wall_ms) -> None:
        self.said = store.said
        self.judge: Callable[[str], Refusal | None] = lambda _: None
        self._store = store
        self._quota = settings.quota_gb * _GB
        self._most = settings.upload_gb * _GB
        self._pushers_delete = settings.delete
        self._now_ms = now_ms
        self._uploads: dict[str, LocalUpload] = {}
        self._revision = now_ms()  # not 0: a page of an earlier life must not look like one of this
        self.threads = trio.CapacityLimiter(4)

    # -- reading --

    def owns(self, package: str) -> bool:
        return package in self._store.packages

    def pushers_delete(self) -> bool:
        return self._pushers_delete

    def revision(self) -> int:
        return self._revision

    def refusal(self, package: str, version: str) -> Refusal | None:
        return self.judge(_versioned(package, version))

    def packages(self, start: str) -> Sequence[str]:
        return sorted(one for one in self._store.packages if one.startswith(start))

    def rows(self, package: str, start: str = "", *, most: int | None = None) -> Sequence[LocalRow]:
        if not self.owns(package):
            return ()
        if most is None or self._store.packages[package] <= most:
            return [_told(package, key, row) for key, row in self._store.rows(package, start)]
        return [_told(package, key, row) for key, row in self._store.latest(package, start, most)]

    def keys(self, package: str, start: str = "") -> Sequence[str]:
        return list(self._store.keys(package, start)) if self.owns(package) else ()

    def row(self, package: str, key: str) -> LocalRow | None:
        row = self._store.get(package, key)
        return None if row is None else _told(package, key, row)

    def path(self, sha256: str) -> Path | None:
        digest = _digest(sha256)
        return self._store.path(digest) if digest and self._store.size(digest) is not None else None

    # -- uploads --

    async def open(self, package: str, *keys: str, by: str = "") -> LocalUpload:
        if not self._quota:
            raise Refusal(
                "denied",
                what="this node takes no packages",
                who="its configuration",
                do="its operator sets local.quota_gb in config.toml",
            )
        self._expire()
        if len(self._uploads) >= OPEN_UPLOADS.value and not self._gave_way(by):
            raise Refusal(
                "busy",
                what=f"{OPEN_UPLOADS.value} uploads are open",
                who="the clients that push to this node",
                do="try again later; one that nobody goes on with is dropped after an hour",
                retry_s=60,
            )
        self.admit(package, *(keys or ("",)))
        name = secrets.token_hex(16)
        upload = LocalUpload(self, package, self._store.partial(name), by)
        self._uploads[name] = upload
        return upload

    def _gave_way(self, by: str) -> bool:
        """Whether an upload was dropped for `by`, who has less than a share: the stillest one of who has most."""
        held = Counter(one.by for one in self._uploads.values())
        most, count = held.most_common(1)[0]
        if held[by] >= SHARE.value or count <= SHARE.value:
            return False
        still = min(
            (one for one in self._uploads.values() if one.by == most and one.idle),
            key=lambda one: one.touched_s,
            default=None,
        )
        if still is not None:
            still.drop()
        return still is not None

    def upload(self, id: str) -> LocalUpload | None:
        self._expire()
        return self._uploads.get(id)

    async def run(self) -> None:
        """Drop uploads that nobody goes on with, until cancelled."""
        while True:
            await trio.sleep(IDLE_S.value / 60)
            self._expire()

    def _expire(self) -> None:
        dead_s = trio.current_time() - IDLE_S.value
        for upload in [one for one in self._uploads.values() if one.idle and one.touched_s <= dead_s]:
            upload.drop()

    # -- changing --

    async def link(
        self, package: str, key: str, sha256: str, *, by: str, more: Mapping[str, str] | None = None
    ) -> LocalRow | None:
        digest = _digest(sha256)
        size = self._store.size(digest) if digest else None
        if size is None:
            return None
        row = self.row_of(digest, size, by, more)
        self.admit(package, key)
        if not await self._store.link(package, key, row):
            return None
        self._revision += 1
        return _told(package, key, row)

    async def delete(self, package: str, key: str) -> bool:
        try:
            return await self._store.delete(package, key)
        finally:
            self._revision += 1

    async def keep(self, partial: Path, package: str, key: str, row: Pushed) -> LocalRow:
        """For uploads: a synced file becomes the bytes of a row."""
        try:
            await self._store.keep(partial, package, key, row)
        finally:
            self._revision += 1
        return _told(package, key, row)

    # -- bounds, for uploads --

    def row_of(self, sha256: bytes, size: int, by: str, more: Mapping[str, str] | None) -> Pushed:
        """
        Raises:
            Refusal: `too-large` for what is to be remembered, `storage-full` where the quota is used up.
        """
        self._fits()
        kept = dict(more or {})
        if sum(len(name.encode()) + len(text.encode()) for name, text in kept.items()) > MORE_BYTES.value:
            raise _too_large("what the client says about its file", MORE_BYTES.value)
        return Pushed(sha256, size, self._now_ms(), by, kept)

    def admit(self, package: str, *keys: str) -> None:
        """
        Args:
            keys: rows that are to be written; "" for one that nobody knows yet.

        Raises:
            Refusal: `bad-request` for a key that is none, `too-large` where a package or the node has enough of them.
        """
        if any(len(key) > KEY_CHARS.value or "\0" in key for key in keys) or "\0" in package:
            raise Refusal(
                "bad-request",
                what="a name of the pushed file is too long or holds a zero byte",
                who="the client's request",
                do=f"use at most {KEY_CHARS.value} characters",
            )
        rows = self._store.packages.get(package, 0)
        known = sum(bool(key) and self._store.get(package, key) is not None for key in keys)
        if known < len(keys) and rows + len(keys) - known > PACKAGE_ROWS.value:
            raise _full(f"{PACKAGE_ROWS.value} files of this package are here")
        if not rows and len(self._store.packages) >= PACKAGES.value:
            raise _full(f"{PACKAGES.value} packages are here")

    def bound(self, upload: LocalUpload) -> None:
        """
        Raises:
            Refusal: `too-large` for one file, `storage-full` where all together are.
        """
        if upload.size > self._most:
            raise _too_large("the file", self._most)
        self._fits()

    def share(self) -> tuple[int, int]:
        """Bytes of what was pushed here, and how many it may be."""
        return self._store.used + self._store.remembered, self._quota

    def _fits(self) -> None:
        """
        Raises:
            Refusal: `storage-full` where files, what is remembered of them and uploads take more than they may.
        """
        arriving = sum(one.size for one in self._uploads.values())
        if self._store.used + self._store.remembered + arriving > self._quota:
            raise Refusal(
                "storage-full",
                what=f"this node's {self._quota // _GB} GB for pushed packages are used up",
                who="what was pushed before",
                do="delete versions that nobody uses, or let its operator raise local.quota_gb in config.toml",
            )

    def forget(self, upload: LocalUpload) -> None:
        self._uploads.pop(upload.id, None)


@lru_cache(4_096)  # asked for every answer; a third of what a manifest's costs
def _versioned(package: str, version: str) -> str:
    return str(replace(purls.parse(package), version=version))


def _told(package: str, key: str, row: Pushed) -> LocalRow:
    return LocalRow(package, key, row.sha256.hex(), row.size, row.time_ms, row.by, row.more)


def _digest(sha256: str) -> bytes:
    """The 32 bytes of a digest in lower-case hex; empty for what is none."""
    try:
        found = bytes.fromhex(sha256)
    except ValueError:
        return b""
    return found if len(found) == 32 and found.hex() == sha256 else b""


def _too_large(what: str, most: int) -> Refusal:
    return Refusal(
        "too-large",
        what=f"{what} has more than {most} bytes",
        who="the client's upload",
        do="push less, or let the node's operator raise local.upload_gb in config.toml",
    )


def _full(what: str) -> Refusal:
    return Refusal(
        "too-large", what=what, who="what was pushed before", do="delete versions that nobody uses any more"
    )
