"""A node's database and vote record, opened together: whether this validator may still vote is decided here.

A vote record that is damaged or gone, and a database that lost what was acknowledged, stop the vote of this
key. The second is written down beside them, because the database that takes its place looks whole at the next
start. Until keys can be rotated that is for good: the node follows and serves.
Nor does it sign tree heads then, for it has forgotten which it signed, and would sign smaller ones anew.

Source: docs/storage.md, "Start and recovery"; docs/consensus.md, "Mute and Halt"; docs/adr/0024.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from pyrsia.errors import DatabaseDamaged, Malformed, ProofInvalid, Refusal
from pyrsia.files import write_whole
from pyrsia.ledger import entries, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import tree
from pyrsia.node.archive import Archive
from pyrsia.store import rescue, votes
from pyrsia.store.rocks import Database
from pyrsia.store.votes import Mark, VotesWal

DATABASE: Final = "db"
VOTES: Final = "votes.wal"
STOPPED: Final = "voting.stopped"  # why this key must not vote again; a person removes it with the key


@dataclass(frozen=True, slots=True)
class Facts:
    """What was opened.

    Attributes:
        votes: None for followers and for a validator that may not vote.
        may_cosign: whether the database knows the newest tree head that this node signed.
    """

    database: Database
    archive: Archive
    votes: VotesWal | None
    may_vote: bool
    may_cosign: bool
    notices: tuple[str, ...]

    def close(self) -> None:
        try:
            self.database.close()
        finally:
            if self.votes is not None:
                self.votes.close()


def open_facts(data: Path, genesis: Genesis, *, validator: bool) -> Facts:
    """Open what lies in `data`, as whole as it is. Inside trio only.

    Raises:
        Refusal: `data-in-use`.
        Unavailable: the disk said no.
    """
    wal, why = _open_votes(data) if validator else (None, "")
    losses: list[str] = []

    def lost(what: str) -> None:
        """What was acknowledged is gone; a record that promised nothing lost nothing."""
        fresh = wal is not None and wal.marked == Mark() and not wal.records
        if validator and not fresh and not (data / STOPPED).exists():
            losses.append(_stop(data, f"{what}; the vote record outlived what it speaks of"))

    try:
        opened = rescue.open_database(
            data / DATABASE,
            mark=None if wal is None else wal.marked,
            measure=partial(measure, genesis=genesis),
            on_loss=lost,
        )
    except BaseException:
        if wal is not None:
            wal.close()
        raise
    why = losses[0] if losses else why
    if wal is not None and losses:
        wal.close()
        wal = None
    archive = Archive(opened.database, genesis)
    if wal is not None:
        opened.database.witness = _witness(wal, archive)
    may_cosign = not (data / STOPPED).exists()
    notices = (f"stopped voting: {why}" if why else "", opened.said)
    return Facts(opened.database, archive, wal, not why, may_cosign, tuple(filter(None, notices)))


def _open_votes(data: Path) -> tuple[VotesWal | None, str]:
    """The vote record, or why this key must not vote."""
    try:
        return None, (data / STOPPED).read_text(encoding="utf-8").strip() or "its database was lost"
    except FileNotFoundError:
        pass
    if votes.missing(data / VOTES) and (data / DATABASE).exists():  # the record is made before the database
        return None, _stop(data, f"the vote record {data / VOTES} is gone")
    try:
        return VotesWal.open(data / VOTES), ""
    except Refusal as refusal:
        if refusal.code != "data-damaged":
            raise
        return None, f"{refusal.what}; {refusal.do}"


def _stop(data: Path, what: str) -> str:
    """Write down, durably, that this key must not vote again; the sentence that was written."""
    why = (
        f"{what}; this key must not vote again: the node catches up from its peers, follows and serves, until"
        " the members have rotated the key (this version cannot yet)"
    )
    write_whole(data / STOPPED, f"{why}\n".encode(), 0o600)
    return why


def _witness(wal: VotesWal, archive: Archive) -> Callable[[int], Callable[[], Awaitable[None]]]:
    """Marks in the vote record what each sync of the database covers."""

    def covered(sequence: int) -> Callable[[], Awaitable[None]]:
        height = 0 if archive.head is None else archive.head.height
        return partial(wal.mark, Mark(height, sequence))

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
