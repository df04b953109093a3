"""Upstream's files for Maven: passed on as they come, and cut where they are not what upstream says they are.

Only what upstream says itself can be checked: its `.sha1`. Nothing here makes a file trustworthy, so each answer says
`x-pyrsia-verified: no`; the check keeps a broken transfer from looking whole.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.desks.supply import Arriving, Upstream
from pyrsia.serve.maven.sums import SumCache, Sums, summed
from pyrsia.units import Limit

_SIDECAR_BYTES: Final = Limit(1_024, "a digest, and perhaps the name of its file")
_SHA1: Final = re.compile(rb"(?:^|[\s=])([0-9A-Fa-f]{40})(?:\s|$)")


@runtime_checkable
class Forgetting(Protocol):
    """An upstream that keeps what it gave."""

    async def forget(self, package: str, path: str) -> None:
        """Ask for it anew the next time."""
        ...


class Checked:
    """A file of upstream's (serve.desks.supply.Arriving); its end is held back until its SHA-1 is as upstream told.

    Args:
        sha1: what it must be; "" where upstream told none.
        spoilt: what is called where it is not that: a copy that is no good must not be the answer for ever.
    """

    def __init__(
        self, arriving: Arriving, sha1: str, sums: SumCache, name: str, spoilt: Callable[[], Awaitable[None]]
    ) -> None:
        self._spoilt = spoilt
        self.size = arriving.size
        self.sha256 = arriving.sha256
        self.sha1 = sha1
        self._arriving = arriving
        self._sums = sums
        self._name = name

    @property
    def path(self) -> Path:
        return self._arriving.path  # which changes when the file is whole

    async def ready(self, offset: int) -> int:
        upto = await self._arriving.ready(offset)
        if upto >= self.size:
            await self._check()
        return upto

    async def whole(self) -> Sums:
        """The checksums, once everything is here.

        Raises:
            Unavailable: it does not come, or is not what upstream says.
        """
        offset = 0
        while offset < self.size:
            offset = await self.ready(offset)
        return await self._check()

    def close(self) -> None:
        self._arriving.close()

    async def _check(self) -> Sums:
        known = self._sums.known(self._name)
        if known is None:
            known = await trio.to_thread.run_sync(summed, self._arriving.path)
            if self.sha1 and known["sha1"] != self.sha1:
                await self._spoilt()
                raise Unavailable("upstream's file is not the one that upstream's own SHA-1 names")
            self._sums.keep(self._name, known)
        return known


async def opened(upstream: Upstream, package: str, path: str, sums: SumCache) -> Checked | None:
    """Upstream's file at `path`; None if it has none.

    Raises:
        Refusal: as `Upstream.file`.
    """
    name = f"{package} {path}"
    sha1 = ""
    kept = upstream.kept(package, path)
    if kept is None or sums.known(name) is None:
        sums.forget(name)  # what was kept may have gone and come again
        sha1 = await told_sha1(upstream, package, path)
    arriving = await upstream.file(package, path)

    async def spoilt() -> None:
        if isinstance(upstream, Forgetting):
            await upstream.forget(package, path)

    return None if arriving is None else Checked(arriving, sha1, sums, name, spoilt)


async def told_sha1(upstream: Upstream, package: str, path: str) -> str:
    """What upstream's `.sha1` says; "" where there is none, or where it cannot be had."""
    try:
        document = await upstream.document(package, f"{path}.sha1", most=_SIDECAR_BYTES.value)
    except (Refusal, Unavailable):
        return ""  # the file itself will tell what is wrong
    found = _SHA1.search(document.data) if document is not None else None
    return found[1].decode("ascii").lower() if found else ""
