"""What happened, for a person: the last lines of a run, one for each message that was sent and heard."""

from collections import deque
from typing import TYPE_CHECKING, Any

from pyrsia.wire.blocks import (
    Block,
    Blocks,
    Cert,
    GetBlock,
    GetBlocks,
    GetCerts,
    OneBlock,
    Proposal,
    Statement,
    Status,
    Vote,
)

if TYPE_CHECKING:
    from .world import Node

KINDS = {1: "NOT", 2: "NUL", 3: "FIN"}
BLOCKS = {0: "block", 1: "epoch end", 2: "tail"}
PULSE = (Status, GetBlock, GetBlocks, GetCerts)


class Trace:
    """The newest `lines` lines.

    Attributes:
        everything: also who heard what, and questions; otherwise votes, blocks, certificates and what nodes do.
    """

    def __init__(self, lines: int = 120, everything: bool = False) -> None:
        self.lines: deque[str] = deque(maxlen=lines)
        self.everything = everything

    def event(self, at: float, node: "Node", text: str) -> None:
        self.lines.append(f"{at:9.4f} {self.name(node)} {text}")

    def said(self, at: float, node: "Node", to: tuple[bytes, ...] | None, message: Any) -> None:
        if not self.everything and isinstance(message, PULSE):
            return
        whom = (
            "all"
            if to is None or len(to) > 2
            else ",".join(str(int(one[4:])) if one[:4] == b"node" else one.hex()[:6] for one in to)
        )
        self.lines.append(f"{at:9.4f} {self.name(node)} -> {whom}: {describe(message)}")

    def heard(self, at: float, node: "Node", sender: "Node", message: Any) -> None:
        if self.everything:
            self.lines.append(f"{at:9.4f} {self.name(node)} <- {self.name(sender)}: {describe(message)}")

    @staticmethod
    def name(node: "Node") -> str:
        kind = "liar" if node.villain is not None else "twin" if node.twin else ""
        return f"{node.place}{kind}"

    def __str__(self) -> str:
        return "\n".join(self.lines)


def describe(message: Any) -> str:
    """A message in a few words."""
    match message:
        case Proposal(block, vote):
            return f"proposes {_block(block)}, signed by {vote.signer}"
        case Vote(said, signer, _):
            return f"{_said(said)} by {signer}"
        case Cert(said, members, signers, _):
            return f"certificate {_said(said)} of {list(signers)} of {members}"
        case Status():
            held = f", holds your {_said(message.held.said)}" if message.held is not None else ""
            ask = (
                f", asks {message.ask}"
                if message.ask
                else f", answers {message.answer}"
                if message.answer
                else ""
            )
            at = f"epoch {message.epoch} view {message.view} height {message.final_height}"
            return f"status {at}, {len(message.certs)} certificates{held}{ask}"
        case Blocks(blocks, proof):
            return f"blocks {blocks[0].header.height}..{blocks[-1].header.height}, proven by {_said(proof.cert.said)}"
        case OneBlock(block):
            return f"here is {_block(block)}"
        case GetBlock(block_hash):
            return f"asks for block {block_hash.hex()[:6]}"
        case GetBlocks(first, last):
            return f"asks for heights {first}..{last}"
        case GetCerts(epoch, first, last):
            return f"asks for certificates of epoch {epoch}, views {first}..{last}"
        case _:
            return type(message).__name__


def _said(said: Statement) -> str:
    block = f" {said.block_hash.hex()[:6]}" if said.kind != 2 else ""
    return f"{KINDS.get(said.kind, said.kind)}({said.epoch}.{said.view}{block})"


def _block(block: Block) -> str:
    header = block.header
    gap = len(block.body.justification.gap)
    return (
        f"{BLOCKS.get(header.kind, header.kind)} {block.hash.hex()[:6]} ({header.epoch}.{header.view})"
        f" height {header.height} on {header.parent_hash.hex()[:6]} of view {header.parent_view},"
        f" gap {gap}, {header.n_entries} entries"
    )
