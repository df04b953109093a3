"""What `/witness/` shows of one node: itself as a witness of others, and the witnesses of its own log."""

from collections.abc import Sequence

from pyrsia.errors import Refusal
from pyrsia.node.outside import Outside
from pyrsia.node.witnessing import Witnessing
from pyrsia.status import EvidenceRow, WitnessStatus


class Witnesses:
    """Both sides behind one face (`serve.witness.WitnessView`); `own` is None where no log is watched."""

    def __init__(self, own: Witnessing | None, outside: Outside) -> None:
        self._own = own
        self._outside = outside

    async def add_checkpoint(self, body: bytes) -> bytes | int:
        if self._own is None:
            raise Refusal(
                "not-found",
                what="this node watches no log",
                who="the client's request",
                do="ask its operator to add yours: `pyrsia witness add-log`",
            )
        return await self._own.add_checkpoint(body)

    def checkpoint(self, origin_hash: str) -> bytes | None:
        own = self._own.checkpoint(origin_hash) if self._own is not None else None
        return own or self._outside.checkpoint(origin_hash)

    def status(self) -> WitnessStatus:
        own = self._own
        return WitnessStatus(
            vkey="" if own is None else str(own.verifier),
            stopped="" if own is None else own.stopped,
            logs=() if own is None else own.watched(),
            outside=self._outside.status(),
        )

    def evidence(self, origin_hash: str) -> tuple[str, Sequence[EvidenceRow]] | None:
        return None if self._own is None else self._own.evidence(origin_hash)
