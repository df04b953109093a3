"""The error families: whose fault it is stands in the type.

A caller's bug is a `ValueError`. The other side is `Malformed` (bytes that no honest sender makes) or
`PeerFault` (the same, with a name). The world is `Unavailable`. What a person is told is a `Refusal`:
what was wrong, who is to blame, what to do; its code fixes the HTTP status and the exit code, so that
the same fault reads the same in the terminal, in JSON and over HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


class PyrsiaError(Exception):
    """Root of everything that this package raises on purpose."""


class Malformed(PyrsiaError):
    """Bytes that break a format; the text says which rule. Decoders let nothing else escape."""


class ProofInvalid(Malformed):
    """A proof that does not prove what it claims."""


class PeerFault(PyrsiaError):
    """A peer sent something that no honest peer sends; blame it, keep running.

    Attributes:
        peer: identity of the accused, the 32-byte Ed25519 public key.
        evidence: the bytes that convict it, kept exactly as received.
    """

    def __init__(self, what: str, *, peer: bytes, evidence: bytes = b"") -> None:
        super().__init__(what)
        self.peer = peer
        self.evidence = evidence


class Unavailable(PyrsiaError):
    """The world said no: disk, network, a peer that is gone. Trying again later may help."""


class OtherBytes(Unavailable):
    """What came is whole, and not what it was named as: whatever names it is wrong, or a disk is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one refusal code is told: `http` status (400..599) and process `exit` code (1..3)."""

    http: int
    exit: int


# One row per refusal code. Exit codes: 1 refused, 2 usage, 3 no proof, not pinned or too old.
ANSWERS: Final[dict[str, Answer]] = {
    "bad-request": Answer(400, 2),
    "usage": Answer(400, 2),
    "unauthenticated": Answer(401, 1),
    "forbidden": Answer(403, 1),
    "denied": Answer(403, 1),  # by this node's policy
    "not-found": Answer(404, 1),
    "wrong-host": Answer(421, 1),
    "too-large": Answer(413, 1),
    "busy": Answer(429, 1),
    "unavailable": Answer(503, 1),
    "storage-full": Answer(507, 1),
    "conflict": Answer(409, 1),
    # sources and builds
    "package-unknown": Answer(404, 1),
    "version-unknown": Answer(404, 1),
    "no-sdist": Answer(422, 1),
    "digest-mismatch": Answer(422, 1),
    "index-unreachable": Answer(502, 1),
    "source-unreachable": Answer(502, 1),
    "unresolvable": Answer(422, 1),
    "lock-mismatch": Answer(422, 1),
    "build-failed": Answer(422, 1),
    "no-sandbox": Answer(501, 1),
    "no-environment": Answer(501, 1),
    "no-compiler": Answer(501, 1),
    "too-few-builders": Answer(409, 1),
    "not-yet": Answer(409, 1),
    "inputs-unverified": Answer(422, 1),
    # the log and its proofs
    "entry-refused": Answer(422, 1),
    "receipts-missing": Answer(422, 1),  # of a reveal: storage members have not signed for its blobs
    "proof-invalid": Answer(422, 1),
    "not-pinned": Answer(409, 3),
    "no-proof": Answer(404, 3),
    "too-old": Answer(409, 3),
    "withdrawn": Answer(410, 1),
    "disputed": Answer(409, 1),
    # a node's own house
    "data-in-use": Answer(409, 1),
    "data-foreign": Answer(409, 1),
    "data-damaged": Answer(500, 1),
    "port-taken": Answer(409, 1),
    "not-running": Answer(503, 1),
    "config-invalid": Answer(400, 2),
    "internal": Answer(500, 1),
}


MAX_RETRY_S: Final = (
    86_400  # nothing of ours asks for more patience than a day; a stranger's number may be any
)


MAX_TOLD: Final = 1_000  # characters of each part; the longest of ours names a dozen reasons


class Refusal(PyrsiaError):
    """A clear no, for a person.

    Attributes:
        code: a key of `ANSWERS`.
        what: what was wrong, one sentence without a full stop at its end.
        who: who is to blame ("the index https://...", "this machine", "your command").
        do: what to do about it, one sentence.
        retry_s: with `busy`, the seconds after which there will be room; 0 if nobody can say.
    """

    def __init__(self, code: str, *, what: str, who: str, do: str, retry_s: int = 0) -> None:
        if code not in ANSWERS:
            raise ValueError(f"{code!r} is not a refusal code")
        super().__init__(f"{what} ({who}): {do}")
        self.code = code
        self.what = what
        self.who = who
        self.do = do
        self.retry_s = retry_s

    @property
    def answer(self) -> Answer:
        return ANSWERS[self.code]

    def as_dict(self) -> dict[str, str | int]:
        """The JSON form: the same fields on every channel; `retry_s` only where it is known."""
        fields: dict[str, str | int] = {"code": self.code, "what": self.what, "who": self.who, "do": self.do}
        return {**fields, "retry_s": self.retry_s} if self.retry_s else fields

    def again(self) -> "Refusal":
        """The same for one more who is told; an exception that is raised twice collects both traces."""
        return Refusal(self.code, what=self.what, who=self.who, do=self.do, retry_s=self.retry_s)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Refusal":
        """Rebuild from `as_dict`, or from what a stranger says is one; an unknown code becomes `internal`.

        What it says is kept, written to disk and shown: it is cut, and nothing in it moves or hides output.
        """
        code, retry = fields.get("code", "internal"), fields.get("retry_s", 0)
        return cls(
            code if isinstance(code, str) and code in ANSWERS else "internal",
            what=_told(fields.get("what", "the node refused")),
            who=_told(fields.get("who", "the node")),
            do=_told(fields.get("do", "look into the node's log")),
            retry_s=retry if type(retry) is int and 0 < retry <= MAX_RETRY_S else 0,
        )


def _told(value: object) -> str:
    """As `wire.text.safe`, which raises what is defined here; and lines stay lines."""
    said = str(value)[: MAX_TOLD + 1]
    text = "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in said
    )
    return text if len(text) <= MAX_TOLD else text[: MAX_TOLD - 1] + "\u2026"


def usage(what: str, do: str) -> Refusal:
    """A command that cannot be meant as it was written."""
    return Refusal("usage", what=what, who="your command", do=do)


def first_cause(error: BaseException) -> BaseException:
    """What began it: the first error of a nursery's group, however deep groups lie in it; else the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class StorageFull(Refusal, Unavailable):
    """This node has no disk for it: a refusal for who asked, and for what runs by itself the world that said no."""

    def __init__(self, what: str, *, do: str) -> None:
        super().__init__("storage-full", what=what, who="this node's disk, or what is allocated of it", do=do)

    def again(self) -> "StorageFull":
        return StorageFull(self.what, do=self.do)


class DatabaseDamaged(Refusal):
    """A node's facts are not what was written: its next start sets the database aside (docs/storage.md)."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "data-damaged",
            what=what,
            who="this machine's disk, or whoever changed the folder",
            do="start the node again: it sets the database aside and catches up from its peers",
        )
