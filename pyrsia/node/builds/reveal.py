"""The body of `build.reveal`: what a builder built, its files kept here, its provenance signed by the build key.

Source: docs/builds-how.md, "What else the reveal says"; docs/attestations.md.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from pyrsia.builds import attest
from pyrsia.builds.model import Built, FileOut, Output, Packed
from pyrsia.builds.unbuilt import marked
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import KeyPair
from pyrsia.ledger import entries
from pyrsia.node.storage.shelf import Shelf
from pyrsia.units import MAX_ENTRY_BYTES
from pyrsia.wire import canonical
from pyrsia.wire.text import b32

NONCE_BYTES: Final = 32
ENVELOPE_BYTES: Final = 1_000  # author, nonce, signature and names around a body
RECEIPT_BYTES: Final = 200  # a node id, a signature and their names
PIN: Final = "build"


class Misnamed(Refusal):
    """The request speaks of its lock or source as what they are not: its fault, and no builder's."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "digest-mismatch",
            what=f"the request gives its {what} another size or manifest than it has, so nobody can ask for it",
            who="the requester's node",
            do="ask for it again, from an honest one",
        )


class Reveals:
    """Writes the reveals of one node.

    Args:
        attests: the build key that the log knows now.
    """

    def __init__(self, node_id: bytes, attests: Callable[[], KeyPair], shelf: Shelf) -> None:
        self._node_id = node_id
        self._attests = attests
        self._shelf = shelf

    async def body(self, request_id: str, request: Mapping[str, Any], built: Built) -> dict[str, Any]:
        """The body, all its blobs pinned here.

        Raises:
            ValueError: names or parameters fill the provenance alone.
        """
        built = replace(built, log=marked(built.log))
        outputs = [await self._output(output) for output in built.outputs]
        log = await self._blob(built.log)
        return {
            "attestation": self._attestation(request_id, request, built),
            "environment": built.environment or request["recipe"]["environment"],
            "isolation": built.isolation,
            "lock_sha256": built.lock_sha256,
            "log": log,
            "nonce": secrets.token_bytes(NONCE_BYTES).hex(),
            "outcome": built.outcome,
            "outputs": outputs,
            "phase": built.phase,
            "receipts": [],
            "request": request_id,
            "source": built.source,
        }

    async def keep_lock(self, locked: bytes, said: Mapping[str, Any]) -> None:
        """Pin the lock, as the request's blob that storage members are to keep.

        Raises:
            Misnamed: its digest is right, and its size or manifest is not.
        """
        kept = await self._shelf.put(locked, pin=PIN)
        if kept.as_dict() != said:
            raise Misnamed("lock")

    async def keep_source(self, said: Mapping[str, Any]) -> None:
        """Pin the source, if it was given along: other ones are no blobs of this network.

        Raises:
            Misnamed: as for the lock.
            Unavailable: it is not here any more.
        """
        if "manifest" not in said:
            return
        kept = await self._shelf.keep(bytes.fromhex(said["sha256"]), pin=PIN)
        if kept is None:
            raise Unavailable("the source is not here any more")
        if any(said[name] != value for name, value in kept.as_dict().items()):
            raise Misnamed("source")

    def _attestation(self, request_id: str, request: Mapping[str, Any], built: Built) -> str:
        if built.outcome != "built":
            return ""
        statement = attest.statement(
            request_id=request_id,
            request=request,
            subjects=[(output.name, output.raw.file.sha256) for output in built.outputs],
            builder=b32(self._node_id),
            environment=built.environment,
            isolation=built.isolation,
            lock_sha256=built.lock_sha256,
            inputs=built.tools,
            byproducts=[("log", built.log.sha256)],
        )
        pair = self._attests()
        return attest.envelope(statement, pair.sign, pair.public.hex())

    async def _output(self, output: Output) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "canonical": await self._packed(output.canonical),
            "containment": output.containment,
            "name": output.name,
            "normalised": list(output.normalised),
            "raw": await self._packed(output.raw),
            "stable": output.stable,
            "upstream_relation": output.upstream_relation if output.upstream else "none",
        }
        if output.requires_python:
            fields["requires_python"] = output.requires_python
        if output.upstream is not None:
            fields["upstream"] = await self._packed(output.upstream)
        return fields

    async def _packed(self, packed: Packed) -> dict[str, Any]:
        fields: dict[str, Any] = {
            **await self._blob(packed.file),
            "members": await self._blob(packed.members),
        }
        if packed.metadata is not None:
            fields["metadata"] = await self._blob(packed.metadata)
        if packed.requires_python:
            fields["requires_python"] = packed.requires_python
        return fields

    async def _blob(self, file: FileOut) -> dict[str, Any]:
        return (await self._shelf.adopt(file.path, bytes.fromhex(file.sha256), pin=PIN)).as_dict()


def unfit(body: dict[str, Any], receipts: int = 0) -> str:
    """Why the log could not hold this reveal with so many receipts, in words; empty if it could."""
    try:
        entries.AUTHORED["build.reveal"](body)
        size = len(canonical.encode(body))
    except (Malformed, ValueError) as error:
        return f"the result does not fit into the log: {error}"[:200]
    room = MAX_ENTRY_BYTES.value - ENVELOPE_BYTES - receipts * RECEIPT_BYTES
    return "" if size <= room else f"a reveal of {size} bytes, {room} fit into the log"
