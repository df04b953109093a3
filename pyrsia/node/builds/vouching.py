"""Signatures that agreeing builders give once the log has judged, and the bundle of attestations beside each file.

A builder signs only what it helped to decide, and only after its own log says so; each signature is checked before it
is kept. What is missing is asked for when somebody wants the bundle, of the builders that agreed; whoever has
gathered T keeps them, so that one of them is enough later.

Source: docs/attestations.md.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from pyrsia.builds import dsse, vouch
from pyrsia.builds.vouch import Judged
from pyrsia.errors import Malformed, PyrsiaError, Refusal
from pyrsia.keys import KeyPair
from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.node.builds import settled
from pyrsia.node.kinds import Method
from pyrsia.node.pulse import Pulse
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HASH_BYTES, Limit, NodeId
from pyrsia.wire import canonical
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32, unb32

ASK_S = Limit(2, "a builder signs in microseconds; a longer wait is one that is away")
ANSWER_BYTES = Limit(40_000, "100 builders of two signatures, each with its builder's id")
SUFFIX: Final = ".intoto.jsonl"

Ask = Callable[[NodeId, int, bytes, float], Awaitable[bytes]]
Verify = Callable[[bytes, bytes, bytes], bool]
Handler = Callable[[NodeId, bytes], Awaitable[bytes]]
Signatures = dict[str, dict[str, bytes]]  # kind -> builder -> signature

_log = logging.getLogger("pyrsia.vouching")


class Vouching:
    """What this node signs of verdicts, and has gathered of others' signatures.

    Args:
        attests: this node's build key as the log knows it now.
        ask: sends a request over a link, see `net.links`.
    """

    def __init__(
        self,
        *,
        node_id: bytes,
        network: str,
        reads: Reads,
        database: Database,
        attests: Callable[[], KeyPair],
        ask: Ask,
        verify: Verify,
        pulse: Pulse,
    ) -> None:
        self._me = b32(node_id)
        self._network = network
        self._reads = reads
        self._database = database
        self._attests = attests
        self._ask = ask
        self._verify = verify
        self._pulse = pulse
        self._seen: set[str] = set()
        self.methods: dict[int, Handler] = {Method.VOUCH: self._on_vouch}

    # -- what others ask --

    async def _on_vouch(self, _: NodeId, payload: bytes) -> bytes:
        """All signatures that are here for the file whose SHA-256 is the payload, our own among them.

        Raises:
            Malformed: no SHA-256.
            Refusal: `not-found`.
        """
        if len(payload) != HASH_BYTES:
            raise Malformed(f"request: VOUCH takes a SHA-256, and {len(payload)} bytes came")
        judged = self._judged(payload.hex())
        if judged is None:
            raise Refusal(
                "not-found", what="the log publishes no such file", who="the peer", do="ask when it does"
            )
        held = await self._held(judged)
        return canonical.encode(
            {
                kind: [[builder, held[kind][builder].hex()] for builder in sorted(held[kind])]
                for kind in sorted(held)
            }
        )

    # -- the bundle --

    async def bundle(self, sha256: str) -> bytes | None:
        """The attestations of a published file, an envelope a line (`.intoto.jsonl`); None for an unknown file.

        First each agreeing builder's provenance, from the log; then what T of them signed together, where that many
        signatures could be had.
        """
        judged = self._judged(sha256)
        if judged is None:
            return None
        lines = [judged.reveals[one]["attestation"] for one in judged.agreeing if one in judged.reveals]
        held, texts = await self._held(judged), vouch.statements(judged)
        if any(len(held[kind]) < judged.draw["agreeing"] for kind in texts):
            await self._gather(judged, held)
        for kind, payload in texts.items():
            signed = held[kind]
            if len(signed) >= judged.draw["agreeing"]:
                keys = [(self._key(builder).hex(), signed[builder]) for builder in sorted(signed)]
                lines.append(dsse.envelope(payload, keys))
        return "".join(line + "\n" for line in lines if line).encode()

    async def run(self) -> None:
        """Gather for what this builder agreed on while its fellows are still there, until cancelled."""
        await settled.watch(self._reads, self._pulse, self._settled)

    async def _settled(self, request: str) -> None:
        if request in self._seen:
            return
        found = views.request(self._reads, request)
        if found is None or found.state != "done":
            return
        if len(self._seen) >= 4 * settled.RECENT.value:
            self._seen.clear()
        self._seen.add(request)
        if found.verdict is None or self._me not in found.verdict.body["agreeing"]:
            return
        package = str(purls.parse(found.request.body["purl"]).versionless)
        for artifact in views.project_files(self._reads, package, every=True):
            if artifact.body["request"] != request:
                continue
            judged = self._judged(artifact.body["sha256"])
            if judged is not None and judged.request_id == request:
                await self._gather(judged, await self._held(judged))

    # -- signatures --

    def _judged(self, sha256: str) -> Judged | None:
        artifact = views.artifact(self._reads, sha256)
        request = None if artifact is None else views.request(self._reads, artifact.body["request"])
        if artifact is None or request is None or request.draw is None:
            return None
        agreeing = artifact.body["agreeing"]
        reveals = {
            one.author: one.body
            for one in request.reveals
            if one.round == request.round and one.author in agreeing
        }
        if set(reveals) != set(agreeing):
            return None
        return Judged(
            self._network, artifact.body, request.id, request.request.body, request.draw.body, reveals
        )

    def _key(self, builder: str) -> bytes:
        """The build key that the log knows of a builder now; b"" for one that has left."""
        record = views.member(self._reads, unb32(builder))
        return bytes.fromhex(record["build"]) if record is not None else b""

    async def _held(self, judged: Judged) -> Signatures:
        """The signatures that are here and hold under the builders' keys of now; our own is made when it lacks."""
        held: Signatures = {}
        for kind, payload in vouch.statements(judged).items():
            held[kind] = {}
            for builder in judged.agreeing:
                raw = self._database.get(layout.VOUCHES, _row(judged, kind, builder))
                if raw is not None and self._holds(builder, payload, raw):
                    held[kind][builder] = raw
            if self._me in judged.agreeing and self._me not in held[kind]:
                pair = self._attests()
                if pair.public == self._key(self._me):
                    held[kind][self._me] = pair.sign(dsse.signed_text(payload))
                    await self._keep(judged, kind, self._me, held[kind][self._me])
        return held

    def _holds(self, builder: str, payload: bytes, signature: bytes) -> bool:
        key = self._key(builder)
        return bool(key) and self._verify(key, dsse.signed_text(payload), signature)

    async def _keep(self, judged: Judged, kind: str, builder: str, signature: bytes) -> None:
        self._database.write(Batch().put(layout.VOUCHES, _row(judged, kind, builder), signature))

    async def _gather(self, judged: Judged, held: Signatures) -> None:
        """Ask the agreeing builders, all at once, for what lacks in `held`."""
        texts = vouch.statements(judged)
        lacking = {
            builder
            for kind in texts
            for builder in judged.agreeing
            if builder not in held[kind] and builder != self._me
        }

        async def ask(builder: str) -> None:
            try:
                with trio.move_on_after(ASK_S.value):
                    raw = await self._ask(
                        NodeId(unb32(builder)),
                        Method.VOUCH,
                        bytes.fromhex(judged.artifact["sha256"]),
                        ASK_S.value,
                    )
                    await self._take(judged, texts, raw, held)
            except PyrsiaError as error:
                _log.debug("%s gave no signatures: %s", builder[:8], error)

        async with trio.open_nursery() as nursery:
            for builder in sorted(lacking):
                nursery.start_soon(ask, builder)

    async def _take(self, judged: Judged, texts: Mapping[str, bytes], raw: bytes, held: Signatures) -> None:
        """Keep of an answer what holds; anything else in it is nothing."""
        for kind, builder, signature in _told(raw):
            if kind not in texts or builder not in judged.agreeing or builder in held[kind]:
                continue
            if self._holds(builder, texts[kind], signature):
                held[kind][builder] = signature
                await self._keep(judged, kind, builder, signature)


def _row(judged: Judged, kind: str, builder: str) -> bytes:
    return bytes.fromhex(judged.artifact["sha256"]) + bytes((vouch.KINDS.index(kind),)) + unb32(builder)


def _told(raw: bytes) -> list[tuple[str, str, bytes]]:
    """(kind, builder, signature) of an answer.

    Raises:
        Malformed: it is none.
    """
    if len(raw) > ANSWER_BYTES.value:
        raise Malformed(f"an answer of {len(raw)} bytes about signatures")
    try:
        rows = [
            (str(kind), str(builder), bytes.fromhex(signature))
            for kind, listed in json.loads(raw).items()
            for builder, signature in listed
        ]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("an answer about signatures that cannot be read") from error
    return rows
