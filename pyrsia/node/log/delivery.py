"""Final blocks on their way to disk: written as they come, acknowledged once they are synced.

The one place that moves the chain's base. What waits for an entry, a block or a checkpoint hears of it
from here; nothing is acknowledged before the batch that holds it is durable.
"""

from collections.abc import Callable
from functools import partial

from pyrsia.consensus import catchup, recovery
from pyrsia.consensus.effects import Deliver
from pyrsia.ledger.chain import Chain, Commit
from pyrsia.node.consensus.ballots import Ballots
from pyrsia.node.log.archive import Archive
from pyrsia.node.log.submission import Waiters
from pyrsia.node.pulse import Pulse
from pyrsia.node.witness.cosigning import Cosigning
from pyrsia.store.rocks import Database
from pyrsia.units import Limit
from pyrsia.wire.blocks import Block, FinalityProof, StoredBlocks

VOTES_TRIM_BYTES = Limit(
    4 << 20, "eight full blocks with their votes: a start reads this much in milliseconds"
)


def write_first_block(chain: Chain, archive: Archive) -> None:
    """Block 0 of a new log: genesis and its seal."""
    if archive.head is None:
        archive.write(chain.genesis_commit(), None, None)


class Delivery:
    """Writes what agreement hands on, and tells who waits."""

    def __init__(
        self,
        chain: Chain,
        *,
        archive: Archive,
        database: Database,
        votes: Ballots | None,
        cosigning: Cosigning,
        waiters: Waiters,
        pulse: Pulse,
        synced: Callable[[int], None] = lambda height: None,
    ) -> None:
        """What it writes to and tells.

        Args:
            votes: what this node's vote keys signed.
            synced: told after each sync up to which height blocks are on disk.
        """
        self._chain = chain
        self._archive = archive
        self._database = database
        self._votes = votes
        self._cosigning = cosigning
        self._waiters = waiters
        self._pulse = pulse
        self._synced = synced
        self._fresh: list[bytes] = []  # ids of entries that are written and not synced yet
        self._durable = archive.size

    def deliver(self, effect: Deliver) -> None:
        """Write these blocks, in order; the proof goes with the last."""
        last = effect.blocks[-1]
        for block in effect.blocks:
            self._write(self._chain.commit(block.hash), block, effect.proof if block is last else None)
        head = self._chain.head()
        self._cosigning.final(head.tree_size, head.tree_root, head.time_ms)
        self._pulse.beat()

    def _write(self, commit: Commit, block: Block, proof: FinalityProof | None) -> None:
        self._archive.write(commit, block, proof)
        self._chain.final(block.hash)
        self._fresh += [name for name in commit.entry_ids if name]

    def serve(self, first: int, last: int) -> StoredBlocks | None:
        """Final blocks for a member that asks."""
        return catchup.pack(first, last, self._archive.block, self._archive.finality)

    def leaf_of(self, entry_id: bytes) -> int | None:
        """Where an entry stands whose block is on disk; None before that."""
        index = self._archive.leaf_of(entry_id)
        return index if index is not None and index < self._durable else None

    async def run(self) -> None:
        """Sync what was written, acknowledge it, trim the vote record; until cancelled."""
        seen = 0
        while True:
            seen = await self._pulse.after(seen)
            fresh, self._fresh = self._fresh, []
            head = self._chain.head()
            await self._database.sync()
            self._durable = max(self._durable, head.tree_size)
            self._waiters.settled(fresh)
            self._synced(head.height)
            if self._votes is not None and self._votes.size > VOTES_TRIM_BYTES.value:
                await self._votes.trim(partial(recovery.keep, epoch=head.epoch, final_view=head.view))
