"""The complete history of a package or of a file's digest, checked offline: all of it, in order, nothing left out.

    pyrsia/history/v1
    {"about": {"purl": "pkg:pypi/idna"}, "checkpoint": "<note>", "epochs": <steps>, "path": <path>, "seal": <row>}
    <leaf index> <the leaf's canonical JSON>
    ...

One line a leaf, in log order. The path leads from what these leaves hash to, as the history's own tree, to the
index root in the newest seal below the checkpoint; so a leaf more, less or elsewhere is another root. No leaf and
a path of absence say that nothing ever named the package or the digest.

Source: docs/log.md, "History file".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyrsia._native import merkle
from pyrsia.errors import Malformed
from pyrsia.ledger import index, prefixtree, touches
from pyrsia.ledger.prefixtree import Path
from pyrsia.log.checkpoint import Trusted
from pyrsia.log.note import SignedNote
from pyrsia.units import HASH_BYTES, MAX_ENTRY_BYTES, MAX_HISTORY_BYTES, MAX_HISTORY_LEAVES, MAX_TREE_SIZE
from pyrsia.verify import epochs, leaves
from pyrsia.verify.epochs import Line
from pyrsia.verify.evidence import pinned, refusing, trusted
from pyrsia.verify.leaves import Verify
from pyrsia.verify.pins import Pin
from pyrsia.wire import canonical
from pyrsia.wire import purl as purls

HEADER: Final = b"pyrsia/history/v1"
_MAX_STEPS_BYTES: Final = 262_144  # steps to later epochs, some hundred of a network of four
_MAX_HEAD_BYTES: Final = 262_144 + _MAX_STEPS_BYTES  # a checkpoint of 64 KB, escaped, a path and the seal
_FIELDS: Final = frozenset(("about", "checkpoint", "epochs", "path", "seal"))
_DIGITS: Final = frozenset(b"0123456789")
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose history it is: a package without its version, or a digest. `kind`: purl or digest."""

    kind: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Subject":
        """A purl (its version is dropped) or a SHA-256, with or without `sha256:`.

        Raises:
            Malformed: neither.
        """
        if text.startswith("pkg:"):
            return cls("purl", str(purls.parse(text).versionless))
        digest = text.removeprefix("sha256:")
        if len(digest) != 2 * HASH_BYTES or not _HEX.issuperset(digest):
            raise Malformed("neither a purl (pkg:pypi/name) nor a SHA-256 in lower-case hex")
        return cls("digest", digest)

    @property
    def key(self) -> bytes:
        """Its key in the index."""
        return touches.package_key(self.text) if self.kind == "purl" else touches.digest_key(self.text)


@dataclass(frozen=True, slots=True)
class History:
    """A proven history.

    Attributes:
        time_ms: block time that it is complete for.
        leaves: (leaf index, leaf), in log order; all that there are below the leaf `seal`.
    """

    pin: Pin
    line: Line
    subject: Subject
    head: Trusted
    time_ms: int
    leaves: tuple[tuple[int, bytes], ...]
    seal: int


def pack(
    subject: Subject,
    note: bytes,
    seal: canonical.Json,
    path: Path,
    found: Sequence[tuple[int, bytes]],
    steps: Sequence[bytes] = (),
    first: int = 0,
) -> bytes:
    """The file; of the steps to later epochs as many of the newest as it has room for."""
    head = canonical.encode(
        {
            "about": {subject.kind: subject.text},
            "checkpoint": note.decode(),
            "epochs": epochs.pack(steps, _MAX_STEPS_BYTES - 64, first),
            "path": path.as_json(),
            "seal": seal,
        }
    )
    return b"\n".join([HEADER, head, *(b"%d %b" % one for one in found), b""])


def read(data: bytes, pins: Sequence[Pin], verify: Verify) -> History:
    """Check a history file against the pinned networks.

    Raises:
        Refusal: `not-pinned`, `no-proof` for a gap in the epochs, or `proof-invalid` for everything that does not hold.
    """
    with refusing():
        found = _read(data, pins, verify)
    return found


def _read(data: bytes, pins: Sequence[Pin], verify: Verify) -> History:
    if len(data) > MAX_HISTORY_BYTES.value:
        raise Malformed("a history file that is too long")
    first, _, rest = data.partition(b"\n")
    head_line, ends, rest = rest.partition(b"\n")
    if first != HEADER:
        raise Malformed("not a history file, or one of another version")
    if not ends:
        raise Malformed("a history's second line ends")
    document = canonical.decode(head_line, _MAX_HEAD_BYTES)
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise Malformed("a history has about, checkpoint, epochs, path and seal")
    subject = _subject(document["about"])
    if not isinstance(document["checkpoint"], str):
        raise Malformed("a checkpoint is text")
    note = SignedNote.parse(document["checkpoint"].encode("utf-8", "surrogatepass"))
    pin = pinned(note, pins)
    line, head = trusted(note, pin, document["epochs"], verify)
    roots = leaves.roots(document["seal"], head)
    found = _lines(rest, roots.seal)
    path = Path.from_json(document["path"])
    if found:
        prefixtree.verify_present(roots.index_root, subject.key, _value(found), path)
    else:
        prefixtree.verify_absent(roots.index_root, subject.key, path)
    return History(pin, line, subject, head, roots.time_ms, found, roots.seal)


def _subject(about: Any) -> Subject:
    if not isinstance(about, dict) or len(about) != 1:
        raise Malformed("a history is about one purl or one digest")
    ((kind, text),) = about.items()
    subject = Subject.parse(text) if isinstance(text, str) else None
    if subject is None or (subject.kind, subject.text) != (kind, text):
        raise Malformed("a history is about a versionless purl, or a digest in plain hex")
    return subject


def _lines(data: bytes, before: int) -> tuple[tuple[int, bytes], ...]:
    """(index, leaf) of each line; indices rise and lie below the seal."""
    if data and not data.endswith(b"\n"):
        raise Malformed("a history ends with a line end")
    lines = data.split(b"\n")[:-1]
    if len(lines) > MAX_HISTORY_LEAVES.value:
        raise Malformed("a history of too many leaves")
    found: list[tuple[int, bytes]] = []
    last = -1
    for line in lines:
        number, space, leaf = line.partition(b" ")
        plain = space and _DIGITS.issuperset(number) and 0 < len(number) <= len(str(MAX_TREE_SIZE.value))
        if not plain or (number[:1] == b"0" and number != b"0") or len(leaf) > MAX_ENTRY_BYTES.value:
            raise Malformed("a line of a history is a leaf index, a space and a leaf")
        index_ = int(number)
        if not last < index_ < before:
            raise Malformed("the leaves of a history are not in log order below its seal")
        found.append((index_, leaf))
        last = index_
    return tuple(found)


def _value(found: Sequence[tuple[int, bytes]]) -> bytes:
    """What the index holds for a history of these leaves."""
    hashes = merkle.leaf_hashes([leaf for _, leaf in found])
    places = ((place, hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]) for at, (place, _) in enumerate(found))
    return prefixtree.history_value(index.packed(places))
