"""What `/witness/` shows of one node: itself as a witness of others, and the witnesses of its own log."""

from collections.abc import Callable, Sequence

from pyrsia.errors import Refusal
from pyrsia.log import witness
from pyrsia.node.witness.outside import Outside
from pyrsia.node.witness.witnessing import Witnessing
from pyrsia.status import EvidenceRow, WitnessStatus


class Witnesses:
    """Both sides behind one face (`serve.witness.WitnessView`); `own` is None where no log is watched."""

    def __init__(
        self,
        own: Witnessing | None,
        outside: Outside,
        *,
        origin: str,
        conflicts: Callable[[], Sequence[EvidenceRow]],
    ) -> None:
        """`conflicts`: evidence against those who sign our own log, whose origin is `origin`."""
        self._own = own
        self._outside = outside
        self._origin = origin
        self._conflicts = conflicts

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
            origin=self._origin,
            vkey="" if own is None else str(own.verifier),
            stopped="" if own is None else own.stopped,
            logs=() if own is None else own.watched(),
            outside=self._outside.status(),
        )

    def evidence(self, origin_hash: str) -> tuple[str, Sequence[EvidenceRow]] | None:
        watched = self._own.evidence(origin_hash) if self._own is not None else None
        if origin_hash != witness.origin_hash(self._origin):
            return watched
        return self._origin, (*self._conflicts(), *(watched[1] if watched is not None else ()))
