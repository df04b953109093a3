"""A node's knowledge for audits: facts that a test names, read by the knowledge core itself; a `FakeNode` over it."""

import json
from dataclasses import dataclass, field

import msgspec

from pyrsia.errors import Refusal
from pyrsia.knowledge.about import about
from pyrsia.knowledge.said import Said
from pyrsia.policy import rules
from pyrsia.policy.facts import Reason
from pyrsia.serve.desks.judging import PolicyAnswer, told
from pyrsia.serve.desks.knowing import AuditAnswer, AuditOrder, AuditRow
from tests.reference.fakenode import FakeNode

NOW_MS = 1_800_000_000_000
ISSUER, OTHER = "i" * 52, "o" * 52


@dataclass
class ToyAudit:
    """
    Attributes:
        most: versions that are not too much at once.
        busy: questions that it will send away.
        here: purl -> (origin, status, whether policy allows it); others are unknown here.
    """

    facts: list[Said] = field(default_factory=list)
    here: dict = field(default_factory=dict)
    whole: bool = True
    policy: str = ""
    orders: list = field(default_factory=list)
    most: int = 1_000
    busy: int = 0

    @property
    def size(self) -> int:
        return 100 + len(self.facts)

    def say(self, kind, subject, author=ISSUER, **fields):
        leaf = self.size
        body = {"kind": kind, "subject": subject, "text": "", "valid_from": 0, **fields}
        self.facts.append(Said(leaf, NOW_MS, f"{leaf:064x}", author, body))
        return leaf

    def advisory(self, subject, name, severity, *, fixed="", aliases=(), author=ISSUER, text="", **fields):
        ends = {"fixed": fixed} if fixed else {}
        if "@" not in subject and (fixed or fields.pop("ranged", False)):
            fields["range"] = [{"introduced": "0", **ends}]
        return self.say("advisory", subject, author, advisory=name, severity=severity, text=text,
                        **({"aliases": sorted(aliases)} if aliases else {}), **fields)  # fmt: skip

    def audit(self, order: AuditOrder) -> AuditAnswer:
        self.orders.append(order)
        past = order.at.size is not None or order.at.time_ms is not None
        size = order.at.size if order.at.size is not None else self.size
        return AuditAnswer(size, NOW_MS, self.whole, tuple(self._row(one, size, past) for one in order.purls))

    def _row(self, purl, size, past):
        origin, status, allowed = self.here.get(purl, ("", "", None))
        facts = [one for one in self.facts if one.subject.partition("@")[0] == purl.partition("@")[0]]
        known = about(facts, purl, "", NOW_MS, size, self.whole)
        reasons = () if allowed is None else (Reason("max_severity", allowed, "policy says so"),)
        return AuditRow(purl, origin, status, known, None if past else allowed, () if past else reasons)

    def node(self) -> FakeNode:
        made = FakeNode({"/api/v1/policy": (200, lambda _: msgspec.to_builtins(self._rules()))})

        def answer():
            order = msgspec.json.decode(made.seen[-1][3], type=AuditOrder)
            if self.busy:
                self.busy -= 1
                refusal = Refusal("busy", what="other audits", who="others", do="come again", retry_s=700)
                return refusal.answer.http, {"error": refusal.as_dict()}
            if len(order.purls) > self.most:
                refusal = Refusal("too-large", what="too much", who="you", do="ask for less")
                return refusal.answer.http, {"error": refusal.as_dict()}
            return 200, msgspec.to_builtins(self.audit(order))

        made.answers["/api/v1/audit"] = _Asked(answer)
        return made

    def _rules(self) -> PolicyAnswer:
        return PolicyAnswer("", self.policy, "", 0, told(rules.parse(self.policy.encode(), "policy.toml")))


class _Asked:
    """(status, body) of an answer that is made when it is asked for."""

    def __init__(self, answer):
        self._answer = answer

    def __iter__(self):
        return iter(self._answer())


def sbom(*components) -> bytes:
    """A CycloneDX document of purls."""
    listed = [{"type": "library", "name": one.partition("@")[0], "purl": one} for one in components]
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": listed}).encode()
