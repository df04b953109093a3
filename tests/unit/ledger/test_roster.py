"""Random motions, approvals, acceptances and faults, block by block, beside the slow oracle of who validates."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.keys import verify
from pyrsia.ledger import entries, views
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.replay import Replay
from pyrsia.wire.text import b32, unb32
from tests.reference.governance import Governed, mapping, member_motion, newcomer
from tests.reference.ledger import key
from tests.reference.misdeeds import Misdeeds
from tests.reference.roster import PURPOSES, SEAT, Roster

WORDS = (0, 1, 2, 3, 4, 5, "new", "other", "third")
ROLES = (("builder",), ("validator",), ("builder", "validator"), ())
NODE = {b32(key(word, "node").public): word for word in WORDS}


class Beside(Roster):
    """The oracle, told by the test which evidence it forged."""

    def __init__(self, genesis):
        super().__init__(genesis)
        self.forged = set()

    def truly(self, body):
        return body["first"] not in self.forged


class Play:
    """One network, its oracle, and the words that one and the other make of it."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.world = Governed(count=6, validators=self.rng.choice((4, 5)), builders=6)
        self.oracle = Beside(self.world.genesis)
        self.turns = dict.fromkeys(WORDS, 0)
        self.motions = []  # (id, who is asked to accept)
        self.witnesses = [Misdeeds(self.world)]  # of every epoch

    # -- entries --

    def one_of(self, things):
        return self.rng.choice(list(things))

    def maybe(self):
        return self.rng.random() < 0.5

    def fields(self, word, roles):
        """With new keys for one purpose or all, or those that it has."""
        turn = self.turns[word] = self.turns[word] + self.rng.randint(0, 1)
        self.world.know(word, turn)
        told = newcomer(word, roles, turn)
        mine = self.oracle.members.get(told["node"])
        if mine is not None and self.maybe():
            told |= {p: mine[p] for p in PURPOSES if mine[p] and told[p]}
        return told

    def motion(self):
        kind = self.one_of(("add", "remove", "replace", "replace", "replace", "rotate", "rotate", "mapping"))
        word, roles = self.one_of(WORDS), self.one_of(ROLES)
        node = b32(key(word, "node").public)
        if kind == "mapping":
            return mapping(f"pkg:pypi/p{len(self.motions)}")
        if kind == "add":
            return member_motion("member.add", member=self.fields(word, roles))
        if kind == "remove":
            return member_motion("member.remove", node=node)
        if kind == "rotate":
            told = self.fields(word, ("builder", "validator"))
            names = self.rng.sample(PURPOSES, self.rng.randint(1, 3))
            return member_motion("member.rotate", node=node, **{name: told[name] for name in names})
        other = word if self.maybe() else self.one_of(WORDS)
        return member_motion("member.replace", node=node, member=self.fields(other, roles))

    def proposed(self, who):
        body = self.motion()
        raw = self.world.entry(key(who, "node"), "motion.propose", body)
        told = body.get("member")
        self.motions.append((entries.entry_id(raw).hex(), None if told is None else NODE[told["node"]]))
        return raw

    def approval(self, motion, who):
        return self.world.entry(key(who, "node"), "motion.approve", {"motion": motion})

    def evidence(self):
        did = self.one_of(self.witnesses)
        at = self.rng.randrange(did.n)
        one, two, *_ = did.statements()
        signer = at if self.maybe() else (at + 1) % did.n
        votes = sorted(did.vote(at, said, signer).encode().hex() for said in (one, two))
        body = {**did.pair(at, one, two), "first": votes[0], "second": votes[1]}
        if signer != at:
            self.oracle.forged.add(votes[0])
        return self.world.entry(key(self.one_of(WORDS), "node"), "fault.evidence", body)

    def carried(self):
        """Everybody who is asked says yes to a late motion, in any order."""
        motion, asked = self.one_of(self.motions[-3:])
        people = [NODE[b32(one.node)] for one in self.world.seats().validators]
        people += [] if asked is None or asked in people else [asked]
        return [self.approval(motion, who) for who in self.rng.sample(people, len(people))]

    def some(self):
        """Entries that a leader is offered for one block."""
        raws = []
        for _ in range(self.rng.randint(0, 3)):
            what = self.one_of(("propose", "approve", "carry", "push", "push", "push", "evidence"))
            if what == "evidence":
                raws.append(self.evidence())
            elif what in ("propose", "push") or not self.motions:
                raws.append(self.proposed(self.one_of(WORDS)))
                raws += self.carried() if what == "push" else []
            elif what == "approve":
                raws.append(self.approval(self.one_of(self.motions)[0], self.one_of(WORDS)))
            else:
                raws += self.carried()
        return raws

    # -- blocks --

    def block(self):
        world, oracle = self.world, self.oracle
        world.view += self.rng.randint(0, 6)  # views that were given up
        wait = self.one_of((1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 200_000_000))
        world.time += wait - 1_000  # (before the entries are made, or they would be too old)
        raws = self.some()
        epoch = len(oracle.terms)
        stood = oracle.block(
            [entries.parse(raw) for raw in raws],
            time_ms=world.time + 1_000,
            view=world.view + 1,
            height=world.chain.head().height + 1,
        )
        assert world.offer(*raws) == tuple(entry.raw for entry in stood)
        if len(oracle.terms) > epoch:
            oracle.now.size = world.chain.head().tree_size
            self.witnesses.append(Misdeeds(world))

    def agree(self):
        world, oracle = self.world, self.oracle
        reads, told, term = world.db.get, world.seats(), oracle.now
        assert list(views.members(reads)) == sorted(oracle.members)
        assert all(views.member(reads, unb32(node)) == fields for node, fields in oracle.members.items())
        assert told.epoch == len(oracle.terms) - 1
        assert [[value.hex() for value in one] for one in told.validators] == [
            [unb32(seat["node"]).hex(), *(seat[name] for name in SEAT[1:])] for seat in term.seats
        ]
        assert {b32(told.validators[at].node) for at in told.convicted} == set(term.convicted)
        assert dict(zip(term.nodes, told.bases, strict=True)) == term.bases
        begun = views.epoch(reads, told.epoch)
        assert (begun.height, begun.size) == (term.height, term.size)
        for name, motion in oracle.motions.items():
            phase = views.motion(reads, name)["phase"]
            said = oracle.phase(name, views.chain(reads)["time_ms"])
            assert phase == said or (phase, said) == ("awaits-acceptance", "open"), motion.body


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_is_moved_approved_accepted_and_proven_the_oracle_says_the_same(seed):
    play = Play(seed)
    for _ in range(25):
        play.block()
        play.agree()
    replay = Replay(play.world.genesis, Parses(verify, 1_000))
    replay.feed(play.world.leaves)
    assert {name: row for name, row in replay.kept.rows.items() if name[0] > 31} == play.world.state()
