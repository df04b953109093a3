"""Trust policies: which logs, which witnesses, and how many of them make a checkpoint one to believe.

Decides what a policy file says and whether a signed note satisfies it. A checkpoint is valid if any one of the
logs signed it and the quorum of witnesses cosigned it. A group is only ever a threshold, so a key whose
signatures nobody here can check (another type than Ed25519) can be read and counts as one that did not sign:
that can refuse a good checkpoint and never lets a bad one pass.

Names are octets, not text: bytes that are no UTF-8 are carried through (`surrogateescape`) and never compared
by any rule of Unicode.

Source: C2SP tlog-policy.md; docs/auditing.md, "Policy".
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import note as notes
from pyrsia.log import tree
from pyrsia.log.checkpoint import Checkpoint, cosign_key, log_key
from pyrsia.log.note import COSIGNATURE, ED25519, ML_DSA_44, SignedNote, VerifierKey, Verify
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_POLICY_BYTES, Limit

MAX_POLICY_PARTS = Limit(256, "of each kind; the format asks for 32, our networks have up to 100 validators")

NONE: Final = "none"
_SPACE: Final = re.compile(r"[ \t]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LOG_KINDS: Final = frozenset((ED25519, 0x02, 0x05, ML_DSA_44))  # tlog-checkpoint, and static-ct's
_WITNESS_KINDS: Final = frozenset((COSIGNATURE, ML_DSA_44))  # tlog-cosignature


@dataclass(frozen=True, slots=True)
class Party:
    """A log or a witness: its verifier key as text, and where to reach it, if the policy says.

    Attributes:
        key: None if its type is none that we verify.
        public: the public key, of whatever type.
    """

    vkey: str
    key: VerifierKey | None
    public: bytes
    url: str = ""

    @classmethod
    def parse(cls, vkey: str, url: str, kinds: frozenset[int], what: str) -> "Party":
        """`kinds`: the signature types that are fit for a `what`, "log" or "witness".

        Raises:
            Malformed: no verifier key, or one of the wrong type.
        """
        name, kind, public = notes.split_vkey(vkey)
        if kind not in kinds:
            raise Malformed(f"a key of type {kind:#04x} is none of a {what}")
        known = kind in (ED25519, COSIGNATURE)
        return cls(vkey, VerifierKey(name, kind, public) if known else None, public, url)


@dataclass(frozen=True, slots=True)
class Witness:
    """One cosigner under the name that groups use for it; the name means nothing outside the policy."""

    label: str
    party: Party


@dataclass(frozen=True, slots=True)
class Group:
    """Witnessed if `need` of `members` are: witnesses or groups that were defined before it."""

    label: str
    need: int
    members: tuple[str, ...]


Part: TypeAlias = Witness | Group


@dataclass(frozen=True, slots=True)
class Satisfied:
    """What a note that satisfies a policy says.

    Attributes:
        logs: keys that signed as the log.
        cosigned: label of each witness whose cosignature holds -> its time in seconds.
    """

    checkpoint: Checkpoint
    logs: tuple[VerifierKey, ...]
    cosigned: dict[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy. `parts` are in the order of their definition; `quorum` names one of them, or `none`."""

    logs: tuple[Party, ...]
    parts: tuple[Part, ...]
    quorum: str

    def text(self, comment: str = "") -> bytes:
        """The file; `parse(text()) == self`. Each line of `comment` stands in front, behind a `#`."""
        lines = [f"# {line}" for line in comment.splitlines()]
        lines += [_row("log", log.vkey, log.url) for log in self.logs]
        for part in self.parts:
            if isinstance(part, Witness):
                lines.append(_row("witness", part.label, part.party.vkey, part.party.url))
            else:
                lines.append(_row("group", part.label, str(part.need), *part.members))
        lines.append(_row("quorum", self.quorum))
        return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")

    @classmethod
    def parse(cls, data: bytes) -> "Policy":
        """The policy that `data` is.

        Raises:
            Malformed: with the number of the line, for each rule of the format that it breaks.
        """
        if len(data) > MAX_POLICY_BYTES.value:
            raise Malformed(f"a policy of more than {MAX_POLICY_BYTES.value} bytes")
        if _CONTROL.search(data):
            raise Malformed("a policy has no control characters but tab and line end")
        if data and not data.endswith(b"\n"):
            raise Malformed("a policy's last line has no line end")
        reader = _Reader()
        for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n")[:-1], 1):
            words = _SPACE.split(line.strip(" \t"))
            if words == [""] or words[0].startswith("#"):
                continue
            try:
                reader.line(words)
            except Malformed as error:
                raise Malformed(f"line {number} of the policy: {error}") from None
        return reader.policy()

    def check(self, note: SignedNote, verify: Verify, *, logs: Iterable[VerifierKey] = ()) -> Satisfied:
        """What `note` says, if a log signed it and the quorum cosigned it.

        Args:
            logs: keys of logs that are known from elsewhere, for a policy that names none.

        Raises:
            Malformed: not a checkpoint, or a signature of a key of the policy that does not hold.
            ProofInvalid: no log of the policy signed it, or too few witnesses did.
        """
        checkpoint, _ = Checkpoint.parse_foreign(note.text)
        witnesses = {part.party.key: part.label for part in self.parts if isinstance(part, Witness)}
        known = [*(log.key for log in self.logs), *logs, *witnesses]
        signers = notes.verify_note(note, (key for key in known if key is not None), verify)
        # A log's key name MUST be the origin: a key that is trusted for one log says nothing for another.
        signed = tuple(one.key for one in signers if one.time_s is None and one.key.name == checkpoint.origin)
        if not signed:
            raise ProofInvalid("the checkpoint is not signed by a log of the policy")
        cosigned = {witnesses[one.key]: one.time_s for one in signers if one.time_s is not None}
        if not self._reached(set(cosigned)):
            who = ", ".join(sorted(cosigned)) or "nobody"
            raise ProofInvalid(f"the quorum {self.quorum} is not reached: cosigned by {who}")
        return Satisfied(checkpoint, signed, cosigned)

    def _reached(self, cosigned: set[str]) -> bool:
        """Whether the quorum has witnessed. One pass: a group names only what stands before it."""
        witnessed = {NONE}
        for part in self.parts:
            if isinstance(part, Witness):
                yes = part.label in cosigned
            else:
                yes = sum(member in witnessed for member in part.members) >= part.need
            if yes:
                witnessed.add(part.label)
        return self.quorum in witnessed


def check_proof(proof: TlogProof, leaf: bytes, policy: Policy, verify: Verify) -> Satisfied:
    """Return if the leaf hash stands at the proof's index of a log that satisfies `policy`, offline.

    What the leaf is, and whether it is the one that the caller asked about, is the caller's business.

    Raises:
        Malformed, ProofInvalid: it is not proved.
    """
    found = policy.check(SignedNote.parse(proof.note), verify)
    head = found.checkpoint
    tree.verify_inclusion(leaf, proof.index, head.size, proof.hashes, head.root)
    return found


def of_network(
    origin: str,
    validators: Sequence[tuple[str, bytes, bytes]],
    q: int,
    *,
    outside: Sequence[str] = (),
    need: int = 0,
    url: str = "",
) -> Policy:
    """The policy that our own networks' checkpoints satisfy: signed as the log, and q validators' cosignatures.

    Args:
        validators: (member name, log key, cosign key) of each.
        outside: verifier keys of witnesses of other people, `need` of which must have cosigned too.
        url: where the log is read, or nothing.

    Raises:
        Malformed: `outside` has what is no witness's key, or one twice, or `need` is more than there are.
    """
    reader = _Reader()
    for _, log, _ in validators:
        reader.line(["log", str(log_key(origin, log)), *([url] if url else [])])
    labels = [_label(name, index) for index, (name, _, _) in enumerate(validators)]
    for label, (_, _, cosign) in zip(labels, validators, strict=True):
        reader.line(["witness", label, str(cosign_key(origin, cosign))])
    reader.line(["group", "validators", str(q), *labels])
    names = [f"outside-{number}" for number in range(1, len(outside) + 1)]
    for name, vkey in zip(names, outside, strict=True):
        reader.line(["witness", name, vkey])
    if need:
        reader.line(["group", "outside", str(need), *names])
        reader.line(["group", "validators-and-outside", "all", "validators", "outside"])
    reader.line(["quorum", "validators-and-outside" if need else "validators"])
    return reader.policy()


def _label(name: str, index: int) -> str:
    """A validator's name, as far as every reader of policies takes it for one."""
    # A prefix keeps it apart from groups, from `outside-1`, and from words that some readers reserve; the dot
    # from every name, whatever somebody calls himself.
    return f"validator-{name}" if _LABEL.fullmatch(name) else f"validator.{index + 1}"


def _row(*words: str) -> str:
    return " ".join(word for word in words if word)


class _Reader:
    """Lines into a policy; every rule that spans lines is kept here."""

    def __init__(self) -> None:
        self.logs: list[Party] = []
        self.parts: dict[str, Part] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()
        self._keys: set[tuple[str, bytes]] = set()  # ("log" or "witness", public key)
        self._ids: set[tuple[str, bytes]] = set()

    def line(self, words: list[str]) -> None:
        keyword, *rest = words
        match keyword, len(rest):
            case "log", 1 | 2:
                self._log(rest[0], *rest[1:])
            case "witness", 2 | 3:
                self._witness(rest[0], rest[1], *rest[2:])
            case "group", count if count >= 3:
                self._group(rest[0], rest[1], rest[2:])
            case "quorum", 1:
                self._quorum(rest[0])
            case "log" | "witness" | "group" | "quorum", _:
                raise Malformed(f"a {keyword} line with {len(rest)} items")
            case _:
                raise Malformed("a line begins with log, witness, group or quorum")

    def policy(self) -> Policy:
        if self.quorum is None:
            raise Malformed("a policy without a quorum line")
        return Policy(tuple(self.logs), tuple(self.parts.values()), self.quorum)

    def _log(self, vkey: str, url: str = "") -> None:
        if len(self.logs) >= MAX_POLICY_PARTS.value:
            raise Malformed(f"more than {MAX_POLICY_PARTS.value} logs")
        self.logs.append(self._party("log", vkey, url, _LOG_KINDS))

    def _witness(self, label: str, vkey: str, url: str = "") -> None:
        self._define(Witness(label, self._party("witness", vkey, url, _WITNESS_KINDS)))

    def _party(self, what: str, vkey: str, url: str, kinds: frozenset[int]) -> Party:
        party = Party.parse(vkey, url, kinds, what)
        if (what, party.public) in self._keys:
            raise Malformed(f"a second {what} with the same key")
        if party.key is not None:
            # Verifying looks keys up by name and id; two under one would hide each other.
            named = (party.key.name, party.key.id)
            if named in self._ids:
                raise Malformed("two keys with one name and id")
            self._ids.add(named)
        self._keys.add((what, party.public))
        return party

    def _group(self, label: str, need_text: str, members: list[str]) -> None:
        if need_text in ("all", "any"):
            need = len(members) if need_text == "all" else 1
        elif _NUMBER.fullmatch(need_text):
            need = int(need_text)
        else:
            raise Malformed("a group's threshold is all, any or a number of 1 or more")
        if need > len(members):
            raise Malformed(f"a group that needs {need} of {len(members)}")
        for member in members:
            if member not in self.parts:
                raise Malformed("a group's member is defined on a line before it")
            if member in self._members:
                raise Malformed("a name is a member of a group at most once")
            self._members.add(member)
        self._define(Group(label, need, tuple(members)))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise Malformed("a second quorum line")
        if name != NONE and name not in self.parts:
            raise Malformed("the quorum is defined on a line before it")
        self.quorum = name

    def _define(self, part: Part) -> None:
        if part.label == NONE:
            raise Malformed(f"the name {NONE} is taken by the format")
        if part.label in self.parts:
            raise Malformed("a name that is defined twice")
        kind = type(part)
        if sum(isinstance(one, kind) for one in self.parts.values()) >= MAX_POLICY_PARTS.value:
            raise Malformed(f"more than {MAX_POLICY_PARTS.value} {kind.__name__.lower()} lines")
        self.parts[part.label] = part
