"""What a builder says of a package once the log has published it: its description, its licence, what it was built from.

Of the builders that agreed the first one says it, so that there is one such word and not three; it says it again only
where the words are others. These are facts like anybody's: they change no status, and who counts them is each reader's
policy. What stands in the published files is taken, and nothing is said of what cannot be read.

Source: docs/knowledge.md, "What builders say".
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import describing, inventory
from pyrsia.builds.describing import Description
from pyrsia.builds.inventory import Part
from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.knowledge.homepages import strange_page
from pyrsia.knowledge.said import DESCRIPTION, LICENCE, SBOM
from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.ledger.views import Placed, RequestView
from pyrsia.node.builds import settled
from pyrsia.node.builds.requests import lock_lines
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.serve.desks.knowing import FactsOrder, FactsOutcome, FactTold
from pyrsia.units import MAX_METADATA_BYTES, Limit
from pyrsia.wire.text import b32

TRIES = Limit(3, "at one request; what fails three times has a reason that another block does not change")

Say = Callable[[FactsOrder], Awaitable[FactsOutcome]]
Parse = Callable[[bytes], Description]
Put = Callable[[bytes], Awaitable[BlobRef]]

_log = logging.getLogger("pyrsia.builder")
MANIFEST: Final = "manifest~"  # begins the name of an image's manifest among its files
POM: Final = ".pom"
_REFUSED: Final = "refused"


class Describer:
    """Says of each package what this builder was the first to agree on.

    Args:
        local: where the bytes of a blob lie here; None where they do not.
        say: sees facts into the log, as this node; words that stand already are no new entry.
        put: keeps a document here until the log names it.
    """

    def __init__(
        self,
        node_id: bytes,
        *,
        reads: Reads,
        local: Callable[[bytes], Path | None],
        say: Say,
        put: Put,
        pulse: Pulse,
    ) -> None:
        self._me = b32(node_id)
        self._reads, self._local, self._say, self._put, self._pulse = reads, local, say, put, pulse
        self._tries: dict[str, int] = {}  # request -> how often it was looked at; all of them when it is done

    async def run(self) -> None:
        """Describe what gets a verdict, until cancelled."""
        await settled.watch(self._reads, self._pulse, self._look)

    async def _look(self, request: str) -> None:
        if self._tries.get(request, 0) >= TRIES.value:
            return
        view = views.request(self._reads, request)
        if view is None or view.state != "done":
            return
        if len(self._tries) >= 4 * settled.RECENT.value:
            self._tries.clear()
        self._tries[request] = self._tries.get(request, 0) + 1
        agreeing = view.verdict.body["agreeing"] if view.verdict is not None else ()
        if not agreeing or agreeing[0] != self._me or not view.artifacts:
            self._tries[request] = TRIES.value
            return
        try:
            if await self._describe(view):
                self._tries[request] = TRIES.value
        except (PyrsiaError, OSError) as error:
            _log.warning("describing %s: %s", view.id[:16], error)
        except Exception:  # noqa: BLE001 (one package's surprise must not end the node)
            _log.exception("describing %s", view.id[:16])
            self._tries[request] = TRIES.value

    async def _describe(self, view: RequestView) -> bool:
        """Whether all that is to be said stands in the log."""
        purl = view.request.body["purl"]
        facts = [*_of_description(purl, await self._read(view)), *await self._inventory(purl, view)]
        if not facts:
            return True
        told = await self._say(FactsOrder(tuple(facts)))
        for fact, one in zip(facts, told.outcomes, strict=True):
            if one.outcome == _REFUSED:
                _log.warning("%s of %s is not said: %s", fact.kind, purl, one.error)
        return all(one.outcome != _REFUSED for one in told.outcomes)

    # -- what it says of itself --

    async def _read(self, view: RequestView) -> Description:
        for file in view.artifacts:
            try:
                found = await self._source(file, view)
                if found is not None:
                    data, parse = found
                    return await trio.to_thread.run_sync(parse, data)
            except Malformed as error:
                _log.info("%s says nothing of itself: %s", file.body["file"], error)
        return Description()

    async def _source(self, file: Placed, view: RequestView) -> tuple[bytes, Parse] | None:
        """Where a published file says what the package is, and who reads it; None where it does not, or is not here.

        Raises:
            Malformed: a manifest that is none.
        """
        body, name = file.body, str(file.body["file"])
        blob: Mapping[str, Any] | None = body
        parse: Parse = describing.of_pom
        if "metadata" in body:
            blob, parse = body["metadata"], describing.of_wheel
        elif name.startswith(MANIFEST):
            manifest = await self._bytes(body)
            digest = "" if manifest is None else describing.config_of(manifest)
            blob = next((one.body for one in view.artifacts if one.body["sha256"] == digest), None)
            parse = describing.of_image
        elif not name.endswith(POM):
            return None
        data = None if blob is None else await self._bytes(blob)
        return None if data is None else (data, parse)

    async def _bytes(self, blob: Mapping[str, Any]) -> bytes | None:
        """A small blob that is here."""
        path = self._local(bytes.fromhex(blob["sha256"]))
        if path is None or blob["size"] > MAX_METADATA_BYTES.value:
            return None
        return await trio.Path(path).read_bytes()

    # -- what it was built from --

    async def _inventory(self, purl: str, view: RequestView) -> list[FactTold]:
        body = view.request.body
        lock = await self._bytes(body["lock"])
        if lock is None:
            return []
        files = [Part(one.body["file"], one.body["sha256"]) for one in view.artifacts]
        inputs = [
            inventory.part_of(
                body["ecosystem"],
                {"name": one.name, "version": one.version, "file": one.file, "sha256": one.sha256},
            )
            for one in lock_lines(lock, lambda _: -1)
        ]
        ref = await self._put(inventory.document(purl, view.id, files, inputs))
        fields = {"blob": ref.as_dict(), "components": len(inputs), "format": inventory.FORMAT}
        text = f"what {len(files)} published file{'s were' if len(files) != 1 else ' was'} built from"
        return [FactTold(SBOM, purl, text, fields=fields)]


def _of_description(purl: str, found: Description) -> Iterator[FactTold]:
    about: dict[str, Any] = {}
    if found.homepage and not strange_page(found.homepage):  # a stranger's link costs not the rest
        about["homepage"] = found.homepage
    if found.tags:
        about["tags"] = list(found.tags)
    if found.text or about:
        yield FactTold(DESCRIPTION, purl, found.text, fields=about)
    if found.licence or found.licence_text:
        expression = {"expression": found.licence} if found.licence else {}
        yield FactTold(LICENCE, purl, found.licence_text, fields=expression)
