"""One judge for many files: each digest is proven once, by the same code that checks a single file.

Nothing that a source says is believed: proofs lead to the checkpoint of a pinned network, lists of members must have
the digest that the proven record names.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyrsia.builds import members
from pyrsia.builds.members import Member
from pyrsia.consumers.installed import walking, wheels
from pyrsia.consumers.installed.rows import ACCEPTED, Row, of_refusal
from pyrsia.consumers.installed.sources import Listed, Source
from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.rules import Policy
from pyrsia.units import Limit
from pyrsia.verify import evidence
from pyrsia.verify.artifact import judge_digest
from pyrsia.verify.evidence import Evidence
from pyrsia.verify.finding import Finding
from pyrsia.verify.knowing import Learn
from pyrsia.verify.leaves import Verify
from pyrsia.verify.pins import Pin

MAX_PROVEN = Limit(200_000, "digests of one call: a large local repository has some ten thousand files")


@dataclass(frozen=True, slots=True)
class Proven:
    """What is proven of a digest. `members`: the digest of its list of members."""

    finding: Finding
    members: str


class Prover:
    """Judges digests against the pinned networks."""

    def __init__(
        self,
        source: Source,
        pins: Sequence[Pin],
        *,
        now_ms: int,
        verify: Verify,
        policy: Policy | None,
        learn: Learn | None = None,
    ) -> None:
        """`policy`, `learn`: as `judge_by` takes them."""
        self._source = source
        self._pins = list(pins)
        self._now_ms = now_ms
        self._verify = verify
        self._policy = policy
        self._learn = learn
        self._read_members: dict[str, tuple[Member, ...]] = {}
        self._known: dict[
            tuple[str, str], Proven | Refusal
        ] = {}  # by digest, and purl where that was asked for
        self.seen: dict[str, Evidence] = {}  # the newest head of each network, by digest of its genesis

    def prove(self, sha256: str, package: str = "") -> Proven:
        """
        Args:
            package: the purl that is looked for: the same bytes may be of several, and a proof names one of them.

        Raises:
            Refusal: as `pyrsia.verify.artifact.judge`, or the policy's.
        """
        known = self._judged(sha256, "")
        other = known.code != "no-proof" if isinstance(known, Refusal) else known.finding.purl != package
        if package and other:
            again = self._judged(sha256, package)
            if isinstance(again, Proven) and again.finding.purl == package:
                return again
        if isinstance(known, Refusal):
            raise known
        return known

    def _judged(self, sha256: str, package: str) -> Proven | Refusal:
        known = self._known.get((sha256, package))
        if known is None:
            if len(self._known) >= MAX_PROVEN.value:
                raise Refusal("too-large", what=f"more than {MAX_PROVEN.value} different files", who="your command",
                              do="check a part of them")  # fmt: skip
            try:
                known = self._prove(sha256, package)
            except Refusal as refusal:
                if refusal.code == "not-running":  # no answer about this file, and none about the others
                    raise
                known = refusal
            self._known[sha256, package] = known
        return known

    def row(self, what: str, sha256: str, package: str = "") -> Row:
        """The row of a file that has this digest and, where `package` is given, must be of that purl."""
        try:
            finding = self.prove(sha256, package).finding
            if package and finding.purl != package:
                raise evidence.invalid(f"these bytes are {finding.purl}, not {package}")
        except Refusal as refusal:
            if refusal.code == "not-running":
                raise
            return of_refusal(what, package, refusal, sha256)
        return Row(what, finding.purl, ACCEPTED, sha256, finding.verdict, finding.builders)

    def held(self, listed: Listed) -> tuple[Member, ...]:
        """What a published wheel holds: as its builders agreed, else read from the file, whose digest is proven.

        Raises:
            Refusal: as `members`; `no-proof` where the file cannot be had.
        """
        found = self.members(listed.sha256)
        if any(members.is_record(one.path) for one in found):
            return found
        if listed.sha256 not in self._read_members:
            with tempfile.NamedTemporaryFile(prefix="pyrsia-wheel-") as file:
                self._source.file(listed, file)
                file.flush()
                if walking.digest(Path(file.name)) != listed.sha256:
                    raise evidence.invalid("the node gave other bytes under this digest")
                try:
                    self._read_members[listed.sha256] = wheels.members_of(Path(file.name))
                except Malformed as error:
                    raise evidence.invalid(str(error)) from None
        return self._read_members[listed.sha256]

    def members(self, sha256: str) -> tuple[Member, ...]:
        """What the published file with this digest holds, as its builders agreed.

        Raises:
            Refusal: as `prove`; `proof-invalid` for another list.
        """
        proven = self.prove(sha256)
        data = self._source.contents(sha256)
        if hashlib.sha256(data).hexdigest() != proven.members:
            raise evidence.invalid("the list of members is not the one that the log names")
        try:
            found = members.decode(data)
            for one in found:
                if not isinstance(one.path, str) or not isinstance(one.sha256, str):
                    raise Malformed("not a list of members")
                members.checked_name(one.path)
        except Malformed as error:
            raise evidence.invalid(str(error)) from None
        return found

    def _prove(self, sha256: str, package: str) -> Proven:
        found = self._read(self._source.proof(sha256, package))
        finding = judge_digest(
            sha256,
            found,
            now_ms=self._now_ms,
            expected=None,
            verify=self._verify,
            policy=self._policy,
            current=self._source.current,
            learn=self._learn,
        )
        newest = self.seen.get(found.pin.digest)
        if newest is None or newest.head.checkpoint.size < found.head.checkpoint.size:
            self.seen[found.pin.digest] = found
        (record,) = [leaf for leaf in found.of("artifact.add") if leaf.index == found.index]
        return Proven(finding, str(record.entry.body["members"]["sha256"]))

    def _read(self, proof: bytes) -> Evidence:
        """The evidence; epochs for which a proof has no room are asked for."""
        try:
            return evidence.read(proof, self._pins, self._verify)
        except Refusal as refusal:
            if refusal.code != "no-proof":
                raise
        pin = evidence.pin_of_proof(proof, self._pins)
        line = pin.line(self._verify)
        with evidence.refusing():
            line.follow(self._source.step)
        self._pins = [
            replace(pin, steps=tuple(line.steps)) if one.digest == pin.digest else one for one in self._pins
        ]
        return evidence.read(proof, self._pins, self._verify)
