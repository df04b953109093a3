"""Asking one witness of other people to cosign our checkpoints: what to send when, what its answer means. No I/O.

A `Feed` is told the newest checkpoint and answers with the size to prove growth from, or with nothing while
nothing is due. It learns from a 409 what the witness cosigned last, waits longer after each failure, and takes
only a line that the witness's configured key signed.

Source: C2SP tlog-witness.md v1.0.0, "add-checkpoint"; docs/auditing.md, "Witness".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from pyrsia.errors import Malformed
from pyrsia.log import note as notes
from pyrsia.log.checkpoint import Checkpoint, parse_size
from pyrsia.log.note import COSIGNATURE, SignatureLine, VerifierKey, Verify
from pyrsia.units import MAX_WITNESSES, Limit, TreeSize

FEED_EVERY_S = Limit(5, "a log that grows all the time asks this often: witnesses serve many logs")
FEED_AGAIN_S = Limit(300, "age that a cosignature of a log at rest may have, half of a head's default age")
FEED_RETRY_S = Limit(5, "after the first failure; a restart of the witness takes seconds")
FEED_RETRY_MOST_S = Limit(600, "a witness that is down for long is asked six times an hour")
FEED_TURNS = Limit(3, "sizes learnt in a row: several nodes may feed one witness, but not for ever")
MAX_ANSWER_LINES = Limit(32, "a witness answers with a line of each of its keys")

_SIZE: Final = "text/x.tlog.size"
_REFUSALS: Final = {
    400: "takes our request for no request",
    403: "does not know a key that signed our checkpoint",
    404: "does not watch our log",
    422: "says that our log does not continue what it cosigned",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A witness to ask: its key, and the submission prefix of its address."""

    key: VerifierKey
    url: str

    def __str__(self) -> str:
        """One line of the configuration; `parse` reads it."""
        return f"{self.key} {self.url}"

    @classmethod
    def parse(cls, text: str) -> "Asked":
        """`VKEY URL`.

        Raises:
            Malformed: another shape, a key that does not cosign, or an address that is none.
        """
        vkey, _, url = text.strip().partition(" ")
        key, url = VerifierKey.parse(vkey), url.strip().rstrip("/")
        if key.kind != COSIGNATURE:
            raise Malformed("a witness's key has type 0x04; this one signs as a log")
        try:
            parts = urlsplit(url)
            fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, a bracket that is left open
            fit = False
        if not fit or any(not "!" <= character <= "~" for character in url):
            raise Malformed("a witness's address is http:// or https://")
        return cls(key, url)


def parse_asked(lines: Sequence[str]) -> tuple[Asked, ...]:
    """What `witness.outside` of a configuration says, one line a witness.

    Raises:
        Malformed: a line that is none, a key that stands twice, or too many.
    """
    if len(lines) > MAX_WITNESSES.value:
        raise Malformed(f"more than {MAX_WITNESSES.value} witnesses")
    asked = tuple(Asked.parse(line) for line in lines)
    if len({one.key.public for one in asked}) != len(asked):
        raise Malformed("one key stands twice")
    return asked


@dataclass(frozen=True, slots=True)
class Given:
    """A cosignature that the witness gave, verified.

    Attributes:
        text: the checkpoint's, which it signed.
        time_s: the time it put into it.
    """

    text: bytes
    line: SignatureLine
    time_s: int


@dataclass(slots=True)
class Feed:
    """One witness. Times are seconds of the caller's monotonic clock.

    Attributes:
        given: its newest cosignature.
        trouble: what went wrong last, for people; empty when all is well.
        refused: it was a no that asking again does not change.
        inconsistent: it said that our log forked; the operator must look.
    """

    key: VerifierKey
    verify: Verify
    given: Given | None = None
    trouble: str = ""
    refused: bool = False
    inconsistent: bool = False
    _size: TreeSize = field(default=TreeSize(0))
    _given_s: float = 0.0
    _due_s: float = 0.0
    _failures: int = 0
    _turns: int = 0

    @property
    def size(self) -> int:
        """What the witness cosigned last, as far as we know."""
        return self._size

    def ask(self, now_s: float, head: Checkpoint) -> TreeSize | None:
        """The old size to ask from now, None if nothing is to be asked."""
        if now_s < self._due_s or head.size < self._size:
            return None  # at a smaller size another node, ahead of us, has asked already
        given = self.given
        if given is not None and given.text == head.text() and now_s - self._given_s < FEED_AGAIN_S.value:
            return None
        return self._size

    def on_answer(self, now_s: float, head: Checkpoint, status: int, kind: str, body: bytes) -> Given | None:
        """The cosignature in the answer to a request for `head`, None if there is none.

        Args:
            kind: the answer's content type.
        """
        try:
            match status:
                case 200:
                    return self._signed(now_s, head, body)
                case 409 if kind.partition(";")[0].strip() == _SIZE:
                    self._learnt(now_s, parse_size(body.decode("ascii").removesuffix("\n")))
                case _:
                    self.on_failure(now_s, _REFUSALS.get(status, f"answered {status}"))
                    self.refused, self.inconsistent = status in _REFUSALS, status == 422
        except (Malformed, UnicodeDecodeError) as error:
            self.on_failure(now_s, f"gave an answer that is none: {error}")
        return None

    def on_failure(self, now_s: float, why: str) -> None:
        """No answer, or one that does not help: wait twice as long as before."""
        self.trouble, self.refused, self.inconsistent, self._turns = why, False, False, 0
        wait_s = min(FEED_RETRY_S.value << min(self._failures, 10), FEED_RETRY_MOST_S.value)
        self._failures += 1
        self._due_s = now_s + wait_s

    def _signed(self, now_s: float, head: Checkpoint, body: bytes) -> Given:
        text = head.text()
        for line in body.splitlines(keepends=True)[: MAX_ANSWER_LINES.value]:
            found = SignatureLine.parse(line)
            if (found.name, found.key_id) != (self.key.name, self.key.id):
                continue  # a client MUST ignore cosignatures of unknown keys
            time_s = notes.verify_line(text, found, self.key, self.verify).time_s or 0
            self.given, self._given_s, self._size = Given(text, found, time_s), now_s, head.size
            self.trouble, self.refused, self.inconsistent, self._failures, self._turns = (
                "",
                False,
                False,
                0,
                0,
            )
            self._due_s = now_s + FEED_EVERY_S.value
            return self.given
        raise Malformed("no line of its key")

    def _learnt(self, now_s: float, size: TreeSize) -> None:
        if size == self._size or self._turns >= FEED_TURNS.value:
            self.on_failure(now_s, "names one size after the other, and cosigns from none")
            return
        self._size, self._turns = size, self._turns + 1
