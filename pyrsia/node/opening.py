"""A node's database and vote records, opened together: what was lost of them stops the keys that it was memory of.

A vote record that is damaged or gone stops its vote key, and a database that lost what was acknowledged stops the
vote, log and cosign keys: the node has forgotten which votes and tree heads it signed. The second is written
down beside them, because the database that takes its place looks whole at the next start. Until the members have
rotated those keys the node follows and serves.

Source: docs/storage.md, "Start and recovery"; docs/agreement.md, "Mute and Halt"; docs/adr/0024.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from pyrsia.errors import DatabaseDamaged, Malformed, ProofInvalid
from pyrsia.keys import KeyRing
from pyrsia.ledger import entries, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import tree
from pyrsia.node.consensus import ballots
from pyrsia.node.consensus.ballots import Ballots
from pyrsia.node.log.archive import Archive
from pyrsia.node.sync.staging import adopt
from pyrsia.store import rescue
from pyrsia.store.rocks import Database
from pyrsia.store.votes import Mark

DATABASE: Final = "db"
REMEMBERED: Final = (
    "vote",
    "log",
    "cosign",
)  # keys that must not sign without the memory of what they signed


@dataclass(frozen=True, slots=True)
class Facts:
    """What was opened. `notices`: sentences for the operator."""

    database: Database
    archive: Archive
    ballots: Ballots
    notices: tuple[str, ...]

    def close(self) -> None:
        try:
            self.database.close()
        finally:
            self.ballots.close()


def open_facts(data: Path, genesis: Genesis, keys: KeyRing) -> Facts:
    """Open what lies in `data`, as whole as it is. Inside trio only.

    Raises:
        Refusal: `data-in-use`.
        Unavailable: the disk said no.
    """
    memory = Ballots.open(data, keys, first=not (data / DATABASE).exists())

    def lost(what: str) -> None:
        """What was acknowledged is gone; a record that promised nothing lost nothing."""
        if memory.promised:
            memory.stop(_remembering(keys), ballots.lost_database(what))

    try:
        opened = rescue.open_database(
            data / DATABASE, mark=memory.mark, measure=partial(measure, genesis=genesis), on_loss=lost
        )
    except BaseException:
        memory.close()
        raise
    adopted = adopt(opened.database, genesis)
    archive = Archive(opened.database, genesis)
    opened.database.witness = _witness(memory, archive)
    notices = (f"stopped voting: {memory.why}" if memory.why else "", opened.said, adopted)
    return Facts(opened.database, archive, memory, tuple(filter(None, notices)))


def _remembering(keys: KeyRing) -> list[bytes]:
    """The keys, present and to come, that need the database to know what they signed."""
    present = [getattr(keys, purpose).public for purpose in REMEMBERED]
    return [*present, *(keys.coming[purpose].public for purpose in REMEMBERED if purpose in keys.coming)]


def _witness(memory: Ballots, archive: Archive) -> Callable[[int], Callable[[], Awaitable[None]]]:
    """Marks in the vote records what each sync of the database covers."""

    def covered(sequence: int) -> Callable[[], Awaitable[None]]:
        height = 0 if archive.head is None else archive.head.height
        return partial(memory.note, Mark(height, sequence))

    return covered


def measure(database: Database, genesis: Genesis) -> int:
    """The height of the newest block of a database whose families fit each other; 0 for an empty one.

    The newest leaf must lie under the head's root by the stored tiles, and be the seal of the state as it is
    stored: so blocks, leaves, tiles and state are those of one moment.

    Raises:
        Refusal: `data-damaged`.
    """
    try:
        archive = Archive(database, genesis)
        head = archive.head
        if head is None:
            return 0
        index, size = head.tree_size - 1, head.tree_size
        leaf = archive.entry(index)
        if leaf is None or (head.height > 0 and archive.block(head.height) is None):
            raise Malformed("its newest block is not there")
        proof = archive.inclusion(index, size)
        if tree.root_from_inclusion(tree.leaf_hash(leaf), index, size, proof) != head.tree_root:
            raise ProofInvalid("its newest entry does not lead to the root of its log")
        if entries.parse(leaf).body["state_root"] != views.state_root(archive.state):
            raise Malformed("its state is not the one that its newest block sealed")
    except (Malformed, msgspec.DecodeError, KeyError, ValueError) as error:
        raise DatabaseDamaged(f"the database {database.path} does not fit together: {error}") from None
    return head.height
