"""What package clients see: the projects of the final log, and files brought from peers when asked for."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.views import Placed
from pyrsia.node.archive import Archive
from pyrsia.node.proofs import Proofs
from pyrsia.node.shelf import Shelf
from pyrsia.serve.views import ProjectFile, Refused
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S, NodeId
from pyrsia.verify import standing
from pyrsia.wire import purl as purls
from pyrsia.wire.text import unb32

_PYPI = "pkg:pypi/"


@dataclass(slots=True)
class _Download:
    """One that runs. `refusal`: how it ended, if badly; None also when its asker was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    refusal: Refusal | None = None


class Catalog:
    """The packages of one node's log (`serve.views.Catalog`)."""

    def __init__(
        self,
        archive: Archive,
        shelf: Shelf,
        proofs: Proofs,
        bundle: Callable[[str], Awaitable[bytes | None]],
        missed: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`missed`: told of each versionless purl that a client asked for in vain."""
        self._archive = archive
        self._shelf = shelf
        self._proofs = proofs
        self._bundle = bundle
        self._missed = missed
        self.fetched = 0
        self._running: dict[str, _Download] = {}

    def revision(self) -> int:
        return self._archive.size

    def projects(self) -> Sequence[str]:
        names = (name.removeprefix(_PYPI) for name in views.projects(self._archive.state))
        return sorted(name for name in names if ":" not in name)

    def packages(self, start: str) -> Sequence[str]:
        return sorted(name for name in views.projects(self._archive.state) if name.startswith(start))

    def files(self, name: str) -> Sequence[ProjectFile]:
        reads = self._archive.state
        placed = views.project_files(reads, name)
        if not placed and not views.project_files(reads, name, every=True):  # (not: withdrawn or disputed)
            self._missed(name if name.startswith("pkg:") else _PYPI + name)
        return [_file(one) for one in placed if views.offered(reads, one.body["sha256"], one.body["purl"])]

    def refused(self, name: str) -> Sequence[Refused]:
        reads = self._archive.state
        found: list[Refused] = []
        for one in views.project_files(reads, name, every=True):
            try:
                self._may_be_used(one)
            except Refusal as refusal:
                found.append(Refused(_file(one), refusal))
        return found

    def file(self, sha256: str) -> ProjectFile | None:
        found = views.artifact(self._archive.state, sha256)
        return None if found is None else _file(self._may_be_used(found))

    def _may_be_used(self, found: Placed) -> Placed:
        """
        Raises:
            Refusal: `withdrawn` or `disputed`: the file and its history stay, nobody is given it.
        """
        record = views.status(self._archive.state, found.body["sha256"], found.body["purl"])
        if record is not None:
            standing.refuse_unless_offered(record)
        return found

    def local(self, sha256: str) -> Path | None:
        return self._shelf.local(bytes.fromhex(sha256))

    async def blob(self, sha256: str) -> Path:
        """The file's path; many askers share one download."""
        found = views.artifact(self._archive.state, sha256)
        if found is None:
            raise Refusal(
                "not-found",
                what=f"the log names no file {sha256[:16]}",
                who="the client's request",
                do="check it",
            )
        body = self._may_be_used(found).body
        return await self._shared(sha256, lambda: self._whole(body))

    async def _whole(self, blob: dict[str, Any]) -> Path:
        path = await self._fetch(blob, blob["agreeing"])
        self.fetched += 1
        return path

    async def _shared(self, sha256: str, fetch: Callable[[], Awaitable[Path]]) -> Path:
        """The blob from here, or from the one download of it; its refusal is everybody's.

        When the asker that downloads goes away, the next one takes over.
        """
        while True:
            local = self.local(sha256)
            if local is not None:
                return local
            running = self._running.get(sha256)
            if running is None:
                return await self._download(sha256, fetch)
            await running.done.wait()
            if running.refusal is not None:
                told = running.refusal
                raise Refusal(told.code, what=told.what, who=told.who, do=told.do)

    async def _download(self, sha256: str, fetch: Callable[[], Awaitable[Path]]) -> Path:
        running = self._running[sha256] = _Download()
        try:
            return await fetch()
        except Refusal as refusal:
            running.refusal = refusal
            raise
        finally:
            del self._running[sha256]
            running.done.set()

    async def metadata(self, sha256: str) -> bytes | None:
        found = views.artifact(self._archive.state, sha256)
        if found is None:
            return None
        self._may_be_used(found)
        blob, holders = found.body.get("metadata"), found.body["agreeing"]
        if blob is None:
            return None
        path = await self._shared(blob["sha256"], lambda: self._fetch(blob, holders))
        return await trio.Path(path).read_bytes()

    async def proof(self, sha256: str) -> bytes | None:
        return self._proofs.of_artifact(sha256)

    async def attestations(self, sha256: str) -> bytes | None:
        return await self._bundle(sha256)

    async def _fetch(self, blob: dict[str, Any], holders: Sequence[str]) -> Path:
        """Bring one blob from the builders that agreed on it."""
        sources = [NodeId(unb32(node)) for node in holders]
        try:
            with trio.fail_after(MAX_HTTP_FETCH_WAIT_S.value):
                return await self._shelf.fetch(
                    bytes.fromhex(blob["manifest"]), bytes.fromhex(blob["sha256"]), blob["size"], sources
                )
        except (Unavailable, trio.TooSlowError) as error:
            raise Refusal(
                "unavailable",
                what=f"none of the {len(sources)} builders that hold {blob['sha256'][:16]} gave it: {error}",
                who="the builders or the network between",
                do="try again when one of them is back; see `pyrsia peers`",
            ) from None


def _file(placed: Placed) -> ProjectFile:
    body = placed.body
    package = purls.parse(body["purl"])
    return ProjectFile(
        filename=body["file"],
        sha256=body["sha256"],
        size=body["size"],
        upload_time_ms=body["time_ms"],
        purl=body["purl"],
        name=package.name,
        version=package.version,
        verdict=body["verdict"],
        log_index=placed.leaf,
        request=body["request"],
        requires_python=body.get("requires_python", ""),
        metadata_sha256=body["metadata"]["sha256"] if "metadata" in body else "",
        upstream=body["upstream"],
        agreeing=tuple(body["agreeing"]),
        dissenting=tuple(one["builder"] for one in body["dissenting"]),
    )
