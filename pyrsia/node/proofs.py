"""The proof file of an artifact: everything that `pyrsia verify` needs, offline.

Assembled from the final log: the leaves that led to the artifact, each with its way to the root of the
newest checkpoint that a quorum cosigned (docs/log.md, "Proof file").
"""

from collections.abc import Callable

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.node.archive import Archive
from pyrsia.units import LeafIndex
from pyrsia.verify import evidence

Reads = Callable[[bytes], bytes | None]


def _leaves(request: RequestView) -> list[int]:
    """What the verdict was decided from: the last draw's round and nothing of one that came to nothing."""
    placed = [request.request, request.draw, request.verdict, request.artifact]
    placed += [item for item in (*request.commits, *request.reveals) if item.round == request.round]
    return sorted(item.leaf for item in placed if item is not None)


class Proofs:
    """Proof files out of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def of_artifact(self, sha256: str) -> bytes | None:
        """The `.tlog-proof` of the artifact with this digest (hex); None while no cosigned head covers it.

        Raises:
            Refusal: `too-large`; a draw of so many builders makes more evidence than a proof file holds.
        """
        found = views.artifact(self._archive.state, sha256)
        head = self._head()
        if found is None or head is None or found.leaf >= head[1].size:
            return None
        request = views.request(self._archive.state, found.body["request"])
        if request is None:
            return None
        leaves = [index for index in _leaves(request) if index < head[1].size]
        rows = []
        for index in leaves:
            leaf = self._archive.entry(index)
            if leaf is None:
                return None
            rows.append((index, leaf, self._archive.inclusion(index, head[1].size)))
        return self._file(found.leaf, head, evidence.pack(rows))

    def of_leaf(self, index: int) -> bytes | None:
        """A plain tlog-proof of one leaf."""
        head = self._head()
        if head is None or not 0 <= index < head[1].size:
            return None
        return self._file(index, head, None)

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
