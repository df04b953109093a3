"""What nodes that are far behind ask and are told: one form each, and parts of a state that prove nothing wrong."""

from pyrsia.errors import ProofInvalid
from pyrsia.ledger import snapshot
from pyrsia.ledger.places import of_slots
from pyrsia.wire.snapshots import Fork, Rows
from tests.fuzz import laws
from tests.unit.wire.test_snapshots import WORDS

MAX_BYTES = 4_096

_NAMES = sorted(WORDS)


def check(data: bytes) -> bool:
    """The first byte says which word the others are read as."""
    if not data:
        return False
    name = _NAMES[data[0] % len(_NAMES)]
    decode, encode, _ = WORDS[name]
    found = laws.one_form(data[1:], decode, encode)
    for part in found if name == "parts" and found is not None else ():
        _prove(part)
    return found is not None


def _prove(part: Rows | Fork) -> None:
    """A root, or the one refusal."""
    try:
        if isinstance(part, Fork):
            assert len(snapshot.fork_root(part)) == 32
            assert snapshot.fork_root(part) == of_slots(part.place, part.slots)
        else:
            root, pairs = snapshot.rows_root(part)
            assert len(root) == 32
            assert len(pairs) == len(part.rows)
    except ProofInvalid:
        pass


def seeds() -> dict[str, bytes]:
    made = {
        name: bytes((_NAMES.index(name),)) + encode(told) for name, (_, encode, told) in sorted(WORDS.items())
    }
    return {**made, "cut": made["anchor"][:-1], "empty": b""}
