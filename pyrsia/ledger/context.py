"""What the handlers of one block share: the state under their writes, the block's time, what is derived.

Handlers check everything before they write anything: an entry that does not apply leaves no trace.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from pyrsia.ledger import entries, seats
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.roster import Numbers
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import View
from pyrsia.wire.epochs import Validator

Verify = Callable[[bytes, bytes, bytes], bool]  # (public key, message, signature)


class Parse(Protocol):
    """Gives entries whose signatures are checked, and checks those inside bodies (`execute.Parses`)."""

    def __call__(self, raw: bytes) -> Entry: ...

    def holds(self, key: bytes, text: bytes, signature: bytes) -> bool: ...


class NotApplied(Exception):  # (an answer, not an error: it never leaves the callers of `execute`)
    """Why an entry may not stand in this block.

    Attributes:
        later: the state may come to allow it before its `until`.
        code: of the refusal that its author reads.
    """

    def __init__(self, why: str, *, later: bool = False, code: str = "entry-refused") -> None:
        super().__init__(why)
        self.why = why
        self.later = later
        self.code = code


@dataclass(slots=True)
class Context:
    """One block being executed, as its handlers see it.

    Attributes:
        numbers: the network's, as they were before the block: a change holds from the next one.
        holds: whether a signature inside a body holds.
        now: block time in milliseconds.
        first_leaf: leaf index of the block's first entry.
        applied, derived: the block's leaves so far, without the seal.
        facts: the block's facts by id, in order; `facts.keep` writes them.
        successors: the validators of the next epoch, once an entry of this block has changed them: it is the last.
    """

    genesis: Genesis
    view: View
    numbers: Numbers
    holds: Verify
    now: int
    height: int
    first_leaf: int
    applied: list[bytes] = field(default_factory=list)
    derived: list[bytes] = field(default_factory=list)
    facts: dict[str, list[str]] = field(default_factory=dict)
    successors: tuple[Validator, ...] = ()
    _epoch: Epoch | None = None

    @property
    def epoch(self) -> Epoch:
        """The one that the block stands in; read once, and only by who asks."""
        if self._epoch is None:
            self._epoch = seats.current(self.view)
        return self._epoch

    def derive(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add a derived entry to the block; its body and its leaf index."""
        leaf = self.first_leaf + len(self.applied) + len(self.derived)
        self.derived.append(entries.derive(kind, body, net=self.genesis.net))
        return {"body": body, "leaf": leaf}
