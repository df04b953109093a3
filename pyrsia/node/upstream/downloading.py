"""How one file comes in: asked for, written, hashed, gone on with after a break, kept if it is what it must be.

What comes before the end may go to readers at once (`store.growing` holds the last part back); what is not what was
announced or expected never becomes whole. A broken connection is gone on with by a range, where a validator or an
expected digest says that it is the same file (RFC 9110 sections 13.1.5 and 14).
"""

import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

import httpx
import trio
from msgspec.structs import replace

from pyrsia.builds.outbound.addresses import bare, shown
from pyrsia.builds.outbound.web import stored
from pyrsia.node.upstream.asking import ABSENT, NoAnswer, Question, head
from pyrsia.node.upstream.digests import Expected
from pyrsia.node.upstream.paths import is_folder
from pyrsia.node.upstream.wanted import Shop, Wanted
from pyrsia.store.growing import Growing
from pyrsia.store.proxied import Copy, Room
from pyrsia.units import Limit

RESUMES = Limit(5, "a line that breaks more often within one file is not worth waiting for")
RESUME_S = Limit(1, "pause before going on, so that a server that restarts is back")
WINDOW_S = Limit(30, "within it some bytes must come, or the connection counts as broken")
WINDOW_BYTES = Limit(30_000, "1 KB a second: what drips slower holds a place and gives nothing")
GROW_BYTES = Limit(16 << 20, "room taken at once for a file whose length nobody announced")
MAX_LENGTH: Final = 1 << 50  # a longer number is no length

_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Incoming:
    """One file on its way, and who waits for it.

    Attributes:
        kept: an older copy that may still be the file.
        begun: it is known what will be given: `growing`, or `copy` that is here, or nothing, or `error`.
        held: digest of the file that this holds in its place, "" for none.
    """

    def __init__(self, wanted: Wanted, expected: Expected, kept: Copy | None) -> None:
        self.wanted, self.expected, self.kept = wanted, expected, kept
        self.begun = trio.Event()
        self.growing: Growing | None = None
        self.copy: Copy | None = None
        self.error: Exception | None = None
        self.held = ""
        self._waiters = 0
        self._moved = trio.Event()

    @property
    def over(self) -> bool:
        """It has turned out; whoever comes now begins anew."""
        return self.begun.is_set() and (self.growing is None or self.growing.over)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._waiters += 1
        self.poke()
        try:
            yield
        finally:
            self._waiters -= 1
            self.poke()

    def poke(self) -> None:
        self._moved.set()
        self._moved = trio.Event()

    def _in_use(self) -> bool:
        return self._waiters > 0 or (self.growing is not None and self.growing.readers > 0)

    async def idle(self) -> None:
        while self._in_use():
            await self._moved.wait()

    async def busy(self) -> None:
        """Until somebody wants it again, or it is over."""
        while not self._in_use() and not self.over:
            await self._moved.wait()

    # -- how it turns out --

    def grow(self, size: int) -> Growing:
        self.growing = Growing(size, sha256=self.expected.sha256, changed=self.poke)
        return self.growing

    def give(self, copy: Copy | None) -> None:
        """This copy, or nothing, is the answer."""
        self.copy = copy
        self.begun.set()
        self.poke()

    def fail(self, error: Exception) -> None:
        """Nothing happens if it is over."""
        if self.growing is not None:
            self.growing.fail(str(error))
        elif not self.begun.is_set():
            self.error = error
        self.begun.set()
        self.poke()


async def bring(shop: Shop, run: Incoming) -> None:
    """Ask one place after the other, and bring the file from the first that has it.

    Raises:
        NoAnswer: one gave no usable answer before it was known to have the file, or broke off for good.
        Refusal: `digest-mismatch`, `too-large`, `busy`, or what the log says of the bytes that came.
        Unavailable, OSError: the disk said no.
    """
    for url in run.wanted.urls:
        if is_folder(url):
            continue  # files of folders are read where they are
        if await _Download(shop, run, url).came():
            return
    shop.had_nothing(run.wanted)
    if run.kept is not None:
        await shop.copies.forget(run.kept.package, run.kept.path)
    run.give(None)


class _Download:
    """From one place."""

    def __init__(self, shop: Shop, run: Incoming, url: str) -> None:
        self._shop, self._run, self._url = shop, run, url
        self._sums = run.expected.sums()
        self._room: Room | None = None
        self._file = -1
        self._at = 0
        self._size: int | None = None
        self._first: Copy | None = None  # what the first answer said of it

    async def came(self) -> bool:
        """Whether the place had it; then it is kept and given.

        Raises: as `bring`.
        """
        try:
            if not await self._begin():
                return False
            if self._first is not None:
                await self._finish(self._first)
            return True
        finally:
            if self._file >= 0:
                os.close(self._file)
            if self._room is not None:
                self._room.drop()

    async def _begin(self) -> bool:
        """The first question, and as many more as it takes to the last byte."""
        known = self._known()
        headers = _conditions(known)
        self._shop.counters.asked += 1
        try:
            async with self._run.wanted.asker.answer(
                Question(self._url, self._run.wanted.chain, headers)
            ) as response:
                if response.status_code in ABSENT:
                    return False
                if response.status_code == 304 and known is not None:
                    await self._renewed(known)
                    return True
                await self._open(response)
                await self._read(response)
            return True
        except NoAnswer as error:
            if not self._may_go_on():
                raise
            last = error
        for number in range(RESUMES.value):
            await trio.sleep(RESUME_S.value * number)
            try:
                await self._go_on()
                return True
            except NoAnswer as error:
                last = error
        raise last

    def _known(self) -> Copy | None:
        kept = self._run.kept
        return kept if kept is not None and kept.asked == bare(self._url) else None

    async def _renewed(self, known: Copy) -> None:
        fresh = replace(known, checked_ms=self._shop.now_ms())
        await self._shop.copies.note(fresh)
        self._run.give(fresh)

    async def _open(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise NoAnswer(f"{shown(self._url)}: the answer was {response.status_code} to a plain question")
        wanted = self._run.wanted
        self._size = _length(response)
        self._first = Copy(
            wanted.package,
            wanted.path,
            "",
            "",
            0,
            kind=head(response, "content-type"),
            asked=bare(self._url),
            url=bare(str(response.url)),
            etag=head(response, "etag"),
            modified=head(response, "last-modified"),
        )
        self._room = await self._shop.copies.room(self._size or 0)
        self._file = os.open(self._room.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._size is not None:
            growing = self._run.grow(self._size)
            growing.opened(self._room.path)
            self._run.begun.set()

    async def _read(self, response: httpx.Response) -> None:
        """To the end of the body, which must be where it was announced."""
        async with aclosing(stored(response)) as pieces:
            while await self._window(pieces):
                pass
        if self._size is not None and self._at != self._size:
            raise NoAnswer(f"{shown(self._url)}: {self._at} bytes of {self._size} came")

    async def _window(self, pieces: AsyncGenerator[bytes, None]) -> bool:
        """Some of the body, quickly enough; whether there is more."""
        count = 0
        with trio.move_on_after(WINDOW_S.value):
            while count < WINDOW_BYTES.value:
                piece = await anext(pieces, None)
                if piece is None:
                    return False
                count += len(piece)
                await self._write(piece)
            return True
        raise NoAnswer(f"{shown(self._url)}: {count} bytes in {WINDOW_S.value} s")

    async def _write(self, piece: bytes) -> None:
        assert self._room is not None  # noqa: S101 - `_open` was first
        if self._size is None:
            if self._at + len(piece) > self._room.size:
                await self._room.grow(max(GROW_BYTES.value, len(piece)))
        elif self._at + len(piece) > self._size:
            raise NoAnswer(f"{shown(self._url)}: more than the {self._size} bytes that were announced")
        os.pwrite(self._file, piece, self._at)
        self._sums.update(piece)
        self._at += len(piece)
        self._shop.counters.bytes += len(piece)
        if self._run.growing is not None:
            self._run.growing.wrote(self._at - len(piece), len(piece))

    # -- after a break --

    def _may_go_on(self) -> bool:
        """Whether a part that comes later can be told to be of the same file."""
        if self._first is None or self._size is None or not self._at:
            return False
        return bool(_strong(self._first.etag) or self._first.modified or self._run.expected != Expected())

    async def _go_on(self) -> None:
        assert self._first is not None  # noqa: S101 - `_may_go_on` was asked
        same = _strong(self._first.etag) or self._first.modified
        headers = {"range": f"bytes={self._at}-"} | ({"if-range": same} if same else {})
        self._shop.counters.asked += 1
        async with self._run.wanted.asker.answer(
            Question(self._url, self._run.wanted.chain, headers)
        ) as response:
            found = _RANGE.fullmatch(response.headers.get("content-range", ""))
            if response.status_code != 206 or found is None:
                raise NoAnswer(f"{shown(self._url)}: the rest of the file does not come alone")
            first, last, whole = (int(one) for one in found.groups())
            changed = self._first.etag and head(response, "etag") not in ("", self._first.etag)
            if (first, last + 1, whole) != (self._at, self._size, self._size) or changed:
                raise NoAnswer(f"{shown(self._url)}: another file stands there now")
            await self._read(response)

    # -- the end --

    async def _finish(self, first: Copy) -> None:
        assert self._room is not None  # noqa: S101 - `_open` was first
        try:
            sha256 = self._sums.check()
            if (refusal := self._shop.against(first.package, first.path, sha256)) is not None:
                raise refusal
        except Exception:
            self._shop.counters.refused += 1
            raise
        copy = replace(first, sha256=sha256, size=self._at, checked_ms=self._shop.now_ms())
        self._shop.copies.hold(sha256)
        self._run.held = sha256
        path = await self._room.keep(copy)
        self._shop.absent.forget(copy.package, copy.path)
        if self._run.growing is not None:
            self._run.growing.finish(path)
            self._run.poke()
        else:
            self._run.give(copy)


def _conditions(known: Copy | None) -> dict[str, str]:
    if known is not None and known.etag:
        return {"if-none-match": known.etag}
    return {"if-modified-since": known.modified} if known is not None and known.modified else {}


def _length(response: httpx.Response) -> int | None:
    """What the answer announces; None where it does not."""
    told = response.headers.get("content-length", "")
    if not told.isascii() or not told.isdecimal() or "transfer-encoding" in response.headers:
        return None
    return int(told) if int(told[:20]) < MAX_LENGTH else None


def _strong(etag: str) -> str:
    return etag if etag.startswith('"') else ""
