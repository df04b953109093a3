"""The proof file of an artifact: everything that `pyrsia verify` needs, offline.

Assembled from the final log: the leaves that led to the artifact, each with its way to the root of the
newest checkpoint that a quorum cosigned (docs/log.md, "Proof file").
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from pyrsia.builds import attest
from pyrsia.errors import Refusal
from pyrsia.ledger import index, prefixtree, seats, views
from pyrsia.ledger.standing import status_key
from pyrsia.ledger.state import View
from pyrsia.ledger.views import Placed, RequestView
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.node.log.archive import Archive
from pyrsia.units import MAX_HISTORY_BYTES, MAX_HISTORY_LEAVES, MAX_PROOFFILE_BYTES, LeafIndex, Limit
from pyrsia.verify import evidence, history, leaves, roll, standing
from pyrsia.verify.history import Subject
from pyrsia.wire import canonical
from pyrsia.wire.text import unb32

_LEAVES_A_TURN: Final = 50  # read in about a millisecond
KEPT_STEPS = Limit(128, "steps between epochs kept encoded: those of the newest proofs")
HISTORIES = Limit(
    2, "put together at once: each may hold 32 MB and take a second of the loop's time in turns"
)


def _leaves(request: RequestView, artifact: Placed) -> list[int]:
    """What the verdict was decided from: the last draw's round and nothing of one that came to nothing.

    Of several published files the one that the proof is about.
    """
    placed = [request.request, request.draw, request.verdict, artifact]
    placed += [item for item in (*request.commits, *request.reveals) if item.round == request.round]
    return sorted(item.leaf for item in placed if item is not None)


class Proofs:
    """Proof files out of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._histories = 0  # being put together
        self._ends: dict[int, bytes] = {}

    def of_artifact(self, sha256: str, purl: str = "") -> bytes | None:
        """The `.tlog-proof` of the artifact with this digest (hex); None while no cosigned head covers it.

        Args:
            purl: under which it was published; without one, that of `views.name_of`.

        Raises:
            Refusal: `too-large`; a draw of so many builders makes more evidence than a proof file holds.
        """
        found = views.artifact(self._archive.state, sha256, purl)
        head = self._head()
        if found is None or head is None or found.leaf >= head[1].size:
            return None
        request = views.request(self._archive.state, found.body["request"])
        if request is None:
            return None
        rows = []
        for place in _leaves(request, found):
            leaf = self._archive.entry(place) if place < head[1].size else None
            if leaf is None:
                return None
            rows.append((place, leaf, self._archive.inclusion(place, head[1].size)))
        now = self._now(head[1].size, self._told(found.body, request))
        if now is None:
            return None
        first, steps = self._steps(head[1].size)
        return self._file(found.leaf, head, evidence.pack(rows, now, steps, first))

    def _told(self, artifact: Mapping[str, Any], request: RequestView) -> list[str]:
        """State keys whose values belong to the proof: status, members, and keys that builders no longer have."""
        reads, draw = self._archive.state, request.draw
        if draw is None:
            return []
        keys = [status_key(artifact["sha256"], artifact["purl"]), *roll.wanted(draw.body, request.author)]
        for reveal in request.reveals:
            record = views.member(reads, unb32(reveal.author))
            for hint in attest.key_ids(reveal.body["attestation"]):
                key = f"key/{hint}"
                if record is not None and hint != record["build"] and reads(key.encode()) is not None:
                    keys.append(key)
        return list(dict.fromkeys(keys))

    def _now(self, size: int, keys: Sequence[str]) -> "canonical.Json | None":
        """What the state says at the newest seal of a log of `size`; None where that is not kept any more."""
        trees, seal = self._archive.trees(size - 1), self._seal(size)
        if trees is None or seal is None:
            return None
        values = []
        for key in keys:
            value = self._archive.state(key.encode())
            said, path = prefixtree.prove(trees.state, self._archive.index, index.state_key(key.encode()))
            # The value may have changed since that seal; a newer checkpoint is a moment away.
            if said != (None if value is None else hashlib.sha256(value).digest()):
                return None
            values.append((key, value, path))
        return standing.pack(seal, values)

    def _seal(self, size: int) -> "canonical.Json | None":
        """The row of the newest seal in a log of `size`: its last leaf."""
        leaf = self._archive.entry(size - 1)
        return None if leaf is None else leaves.row(size - 1, leaf, self._archive.inclusion(size - 1, size))

    async def of_history(self, subject: Subject) -> bytes | None:
        """All leaves that touch a package or a digest, with the proof that there are no others.

        None while no cosigned head is there whose index is kept.

        Raises:
            Refusal: `too-large`, or `busy`.
        """
        if self._histories >= HISTORIES.value:
            raise Refusal(
                "busy",
                what=f"{HISTORIES.value} histories are being put together already",
                who="others who ask this node",
                do="ask again in a second, or another node",
            )
        self._histories += 1
        try:
            return await self._history(subject)
        finally:
            self._histories -= 1

    async def _history(self, subject: Subject) -> bytes | None:
        head = self._head()
        trees = None if head is None else self._archive.trees(head[1].size - 1)
        if head is None or trees is None:
            return None
        size = head[1].size
        value, path = prefixtree.prove(trees.packages, self._archive.index, subject.key)
        seal = self._seal(size)
        found = await self._touching(subject, size - 1) if value is not None else []
        first, steps = self._steps(size)
        return None if seal is None else history.pack(subject, head[0], seal, path, found, steps, first)

    async def _touching(self, subject: Subject, before: int) -> list[tuple[int, bytes]]:
        """(leaf index, leaf) below `before` that touch the subject; other tasks have their turn between pages."""
        found: list[tuple[int, bytes]] = []
        first, size = 0, 0
        while page := self._archive.history(subject.key, first, _LEAVES_A_TURN):
            for place, _ in page:
                leaf = self._archive.entry(place) if place < before else None
                if leaf is not None:
                    found.append((place, leaf))
                    size += len(leaf)
            if len(found) > MAX_HISTORY_LEAVES.value or size > MAX_HISTORY_BYTES.value // 2:
                raise Refusal(
                    "too-large",
                    what=f"its history has more than {len(found) - 1} leaves, which is too much for one answer",
                    who=subject.text,
                    do="mirror the log and read it there: pyrsia log mirror",
                )
            first = page[-1][0] + 1
            await trio.lowlevel.checkpoint()
        return found

    def of_leaf(self, index: int) -> bytes | None:
        """A plain tlog-proof of one leaf."""
        head = self._head()
        if head is None or not 0 <= index < head[1].size:
            return None
        first, steps = self._steps(head[1].size)
        return self._file(index, head, evidence.pack_steps(steps, first))

    def _steps(self, size: int) -> tuple[int, list[bytes]]:
        """The steps between epochs up to a log of `size` leaves, and the epoch that the first of them ends.

        All of them, or the newest that one answer can hold, or that this node has.
        """
        number = seats.number(View(self._archive.state))
        while number and self._begins(number) > size:
            number -= 1
        steps: list[bytes] = []
        room = MAX_PROOFFILE_BYTES.value
        while number and room > 0:
            step = self._step(number - 1)
            if step is None:
                break
            steps.insert(0, step)
            room -= len(step)
            number -= 1
        return number, steps

    def _begins(self, epoch: int) -> int:
        record = views.epoch(self._archive.state, epoch)
        return 0 if record is None else record.size

    def _step(self, epoch: int) -> bytes | None:
        """The step that ends an epoch, which never changes."""
        found = self._ends.get(epoch) or self._archive.epoch_end(epoch)
        if found is not None:
            self._ends[epoch] = found
            if len(self._ends) > KEPT_STEPS.value:
                del self._ends[min(self._ends)]
        return found

    def _head(self) -> tuple[bytes, Checkpoint] | None:
        note = self._archive.checkpoint()
        if note is None:
            return None
        checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
        # A follower may hear of a head before it holds the leaves below it.
        return (note, checkpoint) if checkpoint.size <= self._archive.size else None

    def _file(self, index: int, head: tuple[bytes, Checkpoint], extra: bytes | None) -> bytes:
        note, checkpoint = head
        hashes = tuple(self._archive.inclusion(index, checkpoint.size))
        try:
            return TlogProof(extra, LeafIndex(index), hashes, note).encode()
        except ValueError as error:
            raise Refusal(
                "too-large",
                what=f"the proof does not fit its format: {error}",
                who="the number of builders that this network draws",
                do="check the leaves one by one with `pyrsia log prove`",
            ) from None
