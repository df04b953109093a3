"""What a witness answers to `add-checkpoint`, and what it must have on disk before it does. No I/O.

A witness keeps, for each log that it was told to watch, the newest checkpoint that it cosigned, and cosigns
only what begins with that: so nobody can show its cosignature for two histories of one log. It decides in this
order: is it a request (400), do we watch this log (404), did the log sign it (403), is the old size possible
(400) and ours (409), does it follow from what we cosigned (422). What the log signed and what contradicts its
own past is kept as evidence, whatever the answer is.

The caller reads the state, calls `decide`, makes `keep` durable, and only then sends the answer, with nothing
of the same log in between.

Source: C2SP tlog-witness.md v1.0.0, "add-checkpoint"; docs/auditing.md, "Witness".
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.log import note as notes
from pyrsia.log import tree
from pyrsia.log.checkpoint import Checkpoint, parse_size
from pyrsia.log.note import ED25519, Sign, SignatureLine, SignedNote, VerifierKey, Verify
from pyrsia.units import HASH_BYTES, MAX_WITNESS_REQUEST_BYTES, Limit, TreeSize
from pyrsia.wire.text import b32

MAX_PROOF_LINES = Limit(63, "tlog-witness: what a proof between two sizes below 2^63 can have")
MAX_LOG_KEYS = Limit(128, "keys of one log; a network of ours has one for each of at most 100 validators")
MAX_LOGS = Limit(256, "logs that one node cosigns; each keeps some kilobytes and a file's sync a growth")
KEPT_HEADS = Limit(
    16, "cosigned heads of a log kept with signatures, so that a fork below the newest is proved"
)

_ORIGIN: Final = "origin="
_NAME: Final = "pyrsia.witness"
_WHO: Final = "the log, or who sent its checkpoint"


def origin_hash(origin: str) -> str:
    """Under which a log's checkpoint is read: SHA-256 of its origin in lower-case hex (tlog-witness)."""
    return hashlib.sha256(origin.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """A log that this witness cosigns.

    Attributes:
        origin: first line of its checkpoints; the name of its keys unless told otherwise.
        keys: Ed25519 keys (type 0x01) that sign as the log.
        need: how many of them must have signed a checkpoint.
    """

    origin: str
    keys: tuple[VerifierKey, ...]
    need: int = 1

    @property
    def hash(self) -> str:
        return origin_hash(self.origin)

    def __str__(self) -> str:
        """One line of the configuration; `parse` reads it."""
        words = [str(self.need)] if self.need != 1 else []
        words += [str(key) for key in self.keys]
        if self.origin != self.keys[0].name:
            words.append(_ORIGIN + self.origin)
        return " ".join(words)

    @classmethod
    def parse(cls, text: str) -> "WatchedLog":
        """`[NEED] VKEY... [origin=ORIGIN]`; the origin is the rest of the line, spaces and all.

        Raises:
            Malformed: no key, too many, one twice, one that does not sign as a log, or keys of several names
                without an origin.
        """
        head, given, origin = f" {text.strip()}".partition(" " + _ORIGIN)
        words = head.split()
        need = 1
        if words and words[0].isascii() and words[0].isdigit():  # every verifier key has a "+"
            need = parse_size(words.pop(0))
        keys = tuple(_key(word) for word in words[: MAX_LOG_KEYS.value + 1])
        if not 1 <= need <= len(keys) <= MAX_LOG_KEYS.value:
            raise Malformed(f"{need} of {len(keys)} keys; at most {MAX_LOG_KEYS.value}")
        if any(key.kind != ED25519 for key in keys):
            raise Malformed("a log signs with a key of type 0x01; this one cosigns")
        if len({(key.name, key.id) for key in keys}) != len(keys):
            raise Malformed("one key stands twice")
        if not given:
            origin = keys[0].name
            if any(key.name != origin for key in keys):
                raise Malformed("keys of several names; say which origin they sign for")
        # The one rule for origins is the parser's.
        Checkpoint.parse_foreign(Checkpoint(origin, TreeSize(0), tree.EMPTY_ROOT).text())
        return cls(origin, keys, need)


def _key(word: str) -> VerifierKey:
    try:
        return VerifierKey.parse(word)
    except Malformed as error:
        raise Malformed(f"{word[:80]!r} is no verifier key: {error}") from None


def parse_logs(lines: Sequence[str]) -> tuple[WatchedLog, ...]:
    """What `witness.logs` of a configuration says, one line a log.

    Raises:
        Malformed: a line that is no log, two lines for one origin, or too many.
    """
    if len(lines) > MAX_LOGS.value:
        raise Malformed(f"more than {MAX_LOGS.value} logs")
    logs = tuple(WatchedLog.parse(line) for line in lines)
    if len({log.origin for log in logs}) != len(logs):
        raise Malformed("two lines for one origin; put all its keys into one")
    return logs


@dataclass(frozen=True, slots=True)
class Request:
    """An `add-checkpoint` body: from which size the proof leads to which checkpoint. Nothing is verified."""

    old: TreeSize
    proof: tuple[bytes, ...]
    note: SignedNote
    checkpoint: Checkpoint

    def encode(self) -> bytes:
        lines = [f"old {self.old}", *(notes.b64(one) for one in self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.note.encode()

    @classmethod
    def parse(cls, body: bytes) -> "Request":
        """The inverse of `encode`; `parse(body).encode() == body`.

        Raises:
            Malformed: anything else.
        """
        if len(body) > MAX_WITNESS_REQUEST_BYTES.value:
            raise Malformed(f"a request of more than {MAX_WITNESS_REQUEST_BYTES.value} bytes")
        head, empty, below = body.partition(b"\n\n")
        if not empty:
            raise Malformed("a request without a checkpoint")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("a request's own lines are ASCII") from error
        word, _, size = first.partition(" ")
        if word != "old":
            raise Malformed("a request begins with the old size")
        if len(lines) > MAX_PROOF_LINES.value:
            raise Malformed(f"a proof of more than {MAX_PROOF_LINES.value} hashes")
        proof = tuple(notes.unb64(line) for line in lines)
        if any(len(one) != HASH_BYTES for one in proof):
            raise Malformed("a proof with a hash that is not 32 bytes")
        note = SignedNote.parse(below)
        checkpoint, _ = Checkpoint.parse_foreign(note.text)
        return cls(parse_size(size), proof, note, checkpoint)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What a witness remembers of one log.

    Attributes:
        size, root: the newest tree head that it cosigned.
        time_s: of that cosignature.
        note: that checkpoint with the signatures of the log that counted, and our cosignature.
        heads: (size, root, note) of the newest `KEPT_HEADS` sizes, oldest first; `note` is the last of them.
    """

    size: TreeSize
    root: bytes
    time_s: int
    note: bytes
    heads: tuple[tuple[int, bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something that a log signed and that speaks against it.

    Attributes:
        kind: `fork`: another root at a size that we cosigned; with `kept` it convicts by itself. `shrink`: a
            smaller head sent as growth, and none that we remember. `proof`: a larger head whose proof does not
            lead there. The last two may be somebody else's doing, with a checkpoint of the log's: no alarm.
        kept: the note that we cosigned.
        told: the note that came.
    """

    kind: str
    kept: bytes
    told: bytes


@dataclass(frozen=True, slots=True)
class Decision:
    """What to keep, and what to answer once that is on disk.

    Attributes:
        line: our cosignature line, with its line end: the answer is 200.
        size: the answer is 409 with this size, the one we cosigned.
        refusal: the answer is this no. Exactly one of the three is given.
        keep: the new state, None where nothing changes.
    """

    line: bytes = b""
    size: int | None = None
    refusal: Refusal | None = None
    keep: Cosigned | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The key that cosigns. Its name is part of every line's key id, so it must not change."""

    name: str
    public: bytes
    sign: Sign

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, notes.COSIGNATURE, self.public)


def default_name(public: bytes) -> str:
    """A name that nobody has to choose: it follows from the key."""
    return f"{_NAME}/{b32(public)[:16]}"


def decide(
    log: WatchedLog,
    state: Cosigned | None,
    request: Request,
    *,
    now_s: int,
    key: WitnessKey,
    verify: Verify,
) -> Decision:
    """The answer to `request`, whose origin is the log's.

    Args:
        state: what was kept last for this log; None before its first checkpoint.
        now_s: wall clock, seconds since 1970.
    """
    head, note = request.checkpoint, request.note
    try:
        signers = notes.verify_note(note, log.keys, verify)
    except Malformed as error:
        return _refuse("forbidden", f"the checkpoint is not signed by the log: {error}")
    if len(signers) < log.need:
        what = f"{len(signers)} of the log's keys that are known here signed it; {log.need} must"
        return _refuse("forbidden", what)
    size = 0 if state is None else state.size
    evidence = _contradiction(state, request)
    if request.old > head.size:
        what = f"the old size {request.old} is larger than the checkpoint's {head.size}"
        return _refuse("bad-request", what, evidence)
    if request.old != size:
        return Decision(size=size, evidence=evidence)
    try:
        _check_growth(state, request)
    except ProofInvalid as error:
        if evidence is None and state is not None:
            evidence = Evidence("proof", state.note, note.encode())
        return _refuse("proof-invalid", str(error), evidence)
    return _cosign(state, note, head, _lines_of(note, log, signers), now_s=now_s, key=key)


def _contradiction(state: Cosigned | None, request: Request) -> Evidence | None:
    """Whether this checkpoint, which the log signed, contradicts one that we cosigned."""
    if state is None:
        return None
    head = request.checkpoint
    for size, root, kept in state.heads:
        if size == head.size:
            # The same head again, by whoever kept it, takes nothing back.
            return None if root == head.root else Evidence("fork", kept, request.note.encode())
    # Whoever runs behind another feeder asks with a smaller old size; growth to less is nobody's mistake.
    if head.size < request.old == state.size:
        return Evidence("shrink", state.note, request.note.encode())
    return None


def _check_growth(state: Cosigned | None, request: Request) -> None:
    """Raises ProofInvalid unless the checkpoint follows from what we cosigned; the old size is ours."""
    head = request.checkpoint
    if head.size == 0 and head.root != tree.EMPTY_ROOT:
        raise ProofInvalid("an empty log with the root of another")
    if request.old == 0:
        # Everything begins with an empty log, so there is nothing to prove (tlog-witness).
        if request.proof:
            raise ProofInvalid("a proof from an old size of 0 must be empty")
        return
    assert state is not None  # noqa: S101 (the old size is ours, and above 0)
    tree.verify_consistency(request.old, state.root, head.size, head.root, request.proof)


def _lines_of(note: SignedNote, log: WatchedLog, signers: Sequence[notes.Signer]) -> list[SignatureLine]:
    """As many of the log's own lines as it takes; they were verified."""
    counted = {(one.key.name, one.key.id) for one in signers[: log.need]}
    return [line for line in note.lines if (line.name, line.key_id) in counted]


def _cosign(
    state: Cosigned | None,
    note: SignedNote,
    head: Checkpoint,
    lines: list[SignatureLine],
    *,
    now_s: int,
    key: WitnessKey,
) -> Decision:
    if state is not None:
        kept = SignedNote.parse(state.note)
        if kept.text == note.text and now_s <= state.time_s:
            # Asked again within a second, or with our clock set back: there is nothing newer to say.
            return Decision(line=kept.lines[-1].encode())
        now_s = max(now_s, state.time_s)
    line = notes.cosign_line(note.text, key.name, key.sign, key.public, now_s)
    signed = SignedNote(note.text, (*lines, line)).encode()
    heads = tuple(one for one in (state.heads if state else ()) if one[0] != head.size)
    heads = (*heads, (head.size, head.root, signed))[-KEPT_HEADS.value :]
    return Decision(line=line.encode(), keep=Cosigned(head.size, head.root, now_s, signed, heads))


_ADVICE: Final = {
    "forbidden": "add the log's verifier key with `pyrsia witness add-log`, if it is the right one",
    "bad-request": "send `old <size>`, the proof, an empty line and the checkpoint, as C2SP tlog-witness says",
    "proof-invalid": "prove the growth from the size in the last answer; if that cannot be done, the log forked",
}


def _refuse(code: str, what: str, evidence: Evidence | None = None) -> Decision:
    return Decision(refusal=Refusal(code, what=what, who=_WHO, do=_ADVICE[code]), evidence=evidence)


def unknown(origin: str) -> Refusal:
    """The answer for a log that nobody told this witness to watch."""
    return Refusal("not-found", what=f"no log {origin!r} is watched here", who=_WHO, do=_ADVICE["forbidden"])


def malformed(error: Malformed) -> Refusal:
    """The answer to a body that is no request."""
    return Refusal("bad-request", what=str(error), who="the client's request", do=_ADVICE["bad-request"])
