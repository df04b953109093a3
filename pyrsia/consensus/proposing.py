"""What a leader may stand on, and the block that it makes of it (rule L).

Source: docs/agreement.md, "Leading", "Epochs".
"""

from collections.abc import Mapping
from typing import NamedTuple

from pyrsia.units import MAX_GAP_VIEWS
from pyrsia.wire.blocks import (
    EPOCH_END,
    NORMAL,
    NUL,
    TAIL,
    ZERO,
    Block,
    Body,
    Cert,
    Header,
    Justification,
    entries_root,
)

from .application import BlockRef, Draft, Drafted, Slot
from .committee import Committee
from .tree import BlockTree, ref
from .views import ViewState


class Stand(NamedTuple):
    """Where the next block stands.

    Attributes:
        parent: a checked block.
        parent_view: the view of the certificate; another one's than the parent's for the second and later tails.
        tail: whether the block can only be a tail.
    """

    parent: BlockRef
    parent_view: int
    justification: Justification
    tail: bool


class Lacking(NamedTuple):
    """Why there is nothing to stand on yet: a certificate of `view` is missing, or a block (its hash)."""

    view: int
    block_hash: bytes | None = None


def stand(
    view: int, views: Mapping[int, ViewState], tree: BlockTree, floor: Cert | None
) -> Stand | Lacking | None:
    """The newest certified block below `view`, and why one may stand on it; None if that block was refused.

    Args:
        floor: certificate of the last final block, if it is known.
    """
    gap: list[Cert] = []
    final = tree.final
    at = view - 1
    while at > final.view:
        state = views.get(at)
        cert = state.block_cert() if state is not None else None
        if cert is not None:
            return _stand_on(cert, gap, tree)
        skipped = state.certs.get(NUL) if state is not None else None
        if skipped is None or len(gap) >= MAX_GAP_VIEWS.value:
            return Lacking(at)
        gap.append(skipped)
        at -= 1
    if final.view > 0 and floor is None:
        return Lacking(final.view)
    # (In the first view of an epoch the floor is the epoch's start, and there is no certificate of this epoch.)
    return Stand(
        final, final.view, Justification(floor if final.view else None, tuple(reversed(gap))), tail=False
    )


def _stand_on(cert: Cert, gap: list[Cert], tree: BlockTree) -> Stand | Lacking | None:
    block_hash = cert.said.block_hash
    missing = tree.settle(block_hash)
    if missing is not None:
        return Lacking(cert.view, missing)
    if block_hash not in tree.checked:
        return None
    end = tree.ends_at(block_hash)
    parent = tree.blocks[block_hash] if end is None else end
    return Stand(ref(parent.header), cert.view, Justification(cert, tuple(reversed(gap))), end is not None)


def tail_of(parent: BlockRef) -> Draft:
    """The content of a tail: none."""
    return Draft(parent.height, (), parent.tree_size, parent.tree_root, parent.beacon)


def block(committee: Committee, at: Stand, slot: Slot, draft: Drafted) -> Block:
    """The block of a leader for its view."""
    ends = bool(draft.next_members)
    header = Header(
        chain_id=committee.chain_id,
        epoch=committee.epoch,
        view=slot.view,
        height=draft.height,
        parent_hash=at.parent.hash,
        parent_view=at.parent_view,
        proposer=slot.proposer,
        time_ms=slot.time_ms,
        kind=TAIL if at.tail else EPOCH_END if ends else NORMAL,
        n_entries=len(draft.entries),
        entries_root=entries_root(draft.entries),
        tree_size=draft.tree_size,
        tree_root=draft.tree_root,
        members_hash=committee.members_hash,
        next_members_hash=draft.next_members if ends else committee.members_hash,
        just_hash=at.justification.hash(),
        reveal=ZERO if at.tail else slot.reveal,
        beacon=draft.beacon,
        next_chain=ZERO if at.tail else slot.next_chain,
    )
    return Block(header, Body(draft.entries, at.justification))
