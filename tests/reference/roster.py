"""Who is a member, who validates and who is convicted, worked out slowly from what was said: the oracle of epochs.

Everything is kept as it was told, in plain lists and dicts, and counted anew at each question. Written from
docs/ledger.md, "Motions", "Epochs", "Evidence" and "Beacon", not from the code.
"""

from dataclasses import dataclass, field

from pyrsia.wire.text import b32, unb32

WEEK_MS = 604_800_000
PURPOSES = ("build", "chain_end", "cosign", "log", "vote")
SEAT = ("node", "vote", "log", "cosign", "chain_end")


@dataclass
class Term:
    """One epoch."""

    seats: list  # of dicts with the fields of SEAT, sorted by vote key
    convicted: list  # their nodes
    height: int
    size: int
    bases: dict

    @property
    def nodes(self):
        return [seat["node"] for seat in self.seats]

    @property
    def f(self):
        return (len(self.seats) - 1) // 3

    @property
    def leaders(self):
        return len(self.seats) - (len(self.convicted) if len(self.convicted) <= self.f else 0)


@dataclass
class Motion:
    body: dict
    author: str
    deadline: int
    approvals: list = field(default_factory=list)
    accepted: bool = False
    done: bool = False


def seats_of(members):
    """Seats of everybody with the role, in the order of their vote keys."""
    every = [{name: one[name] for name in SEAT} for one in members.values() if "validator" in one["roles"]]
    return sorted(every, key=lambda seat: seat["vote"])


class Roster:
    """Feed it blocks: which entries stand, and what the state must say after them."""

    def __init__(self, genesis):
        self.members = {one["node"]: dict(one) for one in genesis.body["members"]}
        self.keys = {key for one in self.members.values() for key in self._keys(one)}
        self.motions = {}
        self.faults = set()  # (node, epoch, kind)
        self.guilty = set()  # vote keys
        seats = seats_of(self.members)
        self.terms = [Term(seats, [], 0, 2, {seat["node"]: 0 for seat in seats})]

    @staticmethod
    def _keys(fields) -> list:
        return [unb32(fields["node"]).hex(), *(fields[name] for name in PURPOSES if fields[name])]

    @property
    def now(self):
        return self.terms[-1]

    def block(self, entries, *, time_ms, view, height):
        """The entries that stand, of those that a leader was offered; `size` of a new term is filled in by `end`."""
        stood, self.over = [], False
        for entry in entries:
            if not self.over and b32(entry.author) in self.members and self._stands(entry, time_ms):
                stood.append(entry)
        if self.over:
            self._next_term(view, height)
        return stood

    def _next_term(self, view, height):
        old, seats = self.now, seats_of(self.members)
        used = view // old.leaders + 1 + 64
        bases = {}
        for seat in seats:
            same = [one for one in old.seats if one["node"] == seat["node"]]
            goes_on = same and same[0]["chain_end"] == seat["chain_end"]
            bases[seat["node"]] = old.bases[seat["node"]] + used if goes_on else 0
        convicted = [seat["node"] for seat in seats if seat["vote"] in self.guilty]
        self.terms.append(Term(seats, convicted, height, None, bases))

    # -- entries --

    def _stands(self, entry, now):
        who, body = b32(entry.author), entry.body
        if entry.kind == "motion.propose":
            return self._propose(entry.id.hex(), who, body, now)
        if entry.kind == "motion.approve":
            return self._approve(body["motion"], who, now)
        return self._accuse(body)

    def _open(self, motion, now):
        return not motion.done and now <= motion.deadline

    def _propose(self, name, who, body, now):
        mine = [one for one in self.motions.values() if one.author == who and self._open(one, now)]
        if len(mine) >= (4 if who in self.now.nodes else 1) or not self._possible(body):
            return False
        self.motions[name] = Motion(body, who, now + WEEK_MS)
        return True

    def _approve(self, name, who, now):
        motion = self.motions.get(name)
        if motion is None or not self._open(motion, now):
            return False
        joins = self._joins(motion.body)
        if who not in self.now.nodes and who != joins:
            return False
        if who in self.now.nodes:
            before, approvals, accepted = who in motion.approvals, {*motion.approvals, who}, motion.accepted
        else:
            before, approvals, accepted = motion.accepted, {*motion.approvals}, True
        enough = sum(node in self.now.nodes for node in approvals) >= len(self.now.seats) - self.now.f
        if enough and (joins is None or accepted or joins in approvals):
            if not self._possible(motion.body):
                return False
            self._enact(motion)
        elif before:
            return False
        motion.approvals, motion.accepted = sorted(approvals), accepted
        return True

    def phase(self, name, now):
        motion = self.motions[name]
        if motion.done:
            return "enacted"
        return "expired" if now > motion.deadline else "open"

    def _joins(self, body):
        """Who gets a seat by it and has none, or None."""
        told = body.get("member")
        if told is None or "validator" not in told["roles"] or told["node"] in self.now.nodes:
            return None
        return told["node"]

    def _after(self, body):
        """The members once it is enacted."""
        members = dict(self.members)
        if body["kind"] == "member.rotate":
            members[body["node"]] = {**members[body["node"]], **{p: body[p] for p in PURPOSES if p in body}}
            return members
        if "node" in body:
            del members[body["node"]]
        if "member" in body:
            members[body["member"]["node"]] = dict(body["member"])
        return members

    def _possible(self, body):
        kind, told = body["kind"], body.get("member")
        if kind not in ("member.add", "member.remove", "member.replace", "member.rotate"):
            return True
        if "node" in body and body["node"] not in self.members:
            return False
        if kind == "member.add" and told["node"] in self.members:
            return False
        if kind == "member.rotate":
            mine = self.members[body["node"]]
            new = [p for p in PURPOSES if p in body]
            if any(not mine[p] or body[p] in self.keys for p in new):
                return False
        if told is not None:
            had = self.members.get(told["node"])
            for purpose in ("node", *PURPOSES):
                value = unb32(told["node"]).hex() if purpose == "node" else told[purpose]
                is_kept = had is not None and had[purpose] == told[purpose]
                if value and not is_kept and value in self.keys:
                    return False
            others = [m for n, m in self.members.items() if n not in (body.get("node"), told["node"])]
            if any(one["name"] == told["name"] for one in others):
                return False
        return self._seats_fit(body)

    def _seats_fit(self, body):
        before, after = seats_of(self.members), seats_of(self._after(body))
        gone = [seat for seat in before if seat not in after]
        come = [seat for seat in after if seat not in before]
        joins = self._joins(body)
        return (
            len(gone) <= 1 and len(come) <= 1 and len(after) >= 4
            and (joins is None or joins in self.members)
        )  # fmt: skip

    def _enact(self, motion):
        motion.done = True
        before = seats_of(self.members)
        if motion.body["kind"].startswith("member."):
            self.members = self._after(motion.body)
            self.keys |= {key for one in self.members.values() for key in self._keys(one)}
        self.over = seats_of(self.members) != before

    def _accuse(self, body):
        """The test signs with the right key or with another; `signed_by` is the key that it took."""
        if body["epoch"] >= len(self.terms):
            return False
        term = self.terms[body["epoch"]]
        fault = body["validator"], body["epoch"], body["kind"]
        if body["validator"] not in term.nodes or fault in self.faults or not self.truly(body):
            return False
        self.faults.add(fault)
        self.guilty |= {seat["vote"] for seat in term.seats if seat["node"] == body["validator"]}
        return True

    def truly(self, body):
        """Whether the accused signed both votes. The test, which made them, says so."""
        raise NotImplementedError
