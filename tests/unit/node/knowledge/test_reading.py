"""What is kept of a history, read bit by bit, says what all of it says: also of facts that announce and take back."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.knowledge.about import about
from pyrsia.knowledge.said import Said
from pyrsia.node.knowledge import reading
from pyrsia.node.knowledge.reading import Held, Reading
from pyrsia.units import Limit

PACKAGE = "pkg:pypi/idna"


class Log:
    """Facts alone, as many as were written by now."""

    def __init__(self, facts):
        self.facts, self.size = facts, 0

    @property
    def head(self):
        return SimpleNamespace(time_ms=self.facts[self.size - 1].time_ms)

    def history(self, key, first, count):
        return [(at, b"") for at in range(first, min(self.size, first + count))]

    def entry(self, index):
        return bytes(index)

    def entries(self, first, count):
        return [bytes(at) for at in range(first, min(self.size, first + count))]

    def leaf_of(self, entry_id):
        return int.from_bytes(entry_id, "big")


def fact(leaf, time_ms, valid_from, *, ends=None, withdrawn=False, kind="advisory", author="ann"):
    words = {"advisory": f"CVE-{leaf}", "severity": "high"} if kind == "advisory" else {"expression": "MIT"}
    body = {"kind": kind, "subject": PACKAGE, "text": "", "valid_from": valid_from, **words}
    body |= {} if ends is None else {"supersedes": f"{ends:064x}"}
    body |= {"withdrawn": True} if withdrawn else {}
    return Said(leaf, time_ms, f"{leaf:064x}", author, body)


def read(facts, pieces, monkeypatch):
    """All of them, so many at a time, each time when the log had no more."""
    monkeypatch.setattr(reading, "fact", lambda leaf, raw: facts[leaf])
    log, held = Log(facts), Held(b"key")
    kept = Reading(log)
    for size in (*pieces, len(facts)):
        if size > log.size:
            log.size = held.count = size
            while kept._more(held):
                kept._read(held, reading.STRETCH.value)
    return held


def told(facts, now_ms, size):
    known = about(facts, f"{PACKAGE}@1.0", "", now_ms, size, True)
    return [one.leaf for one in known.advisories], [one.leaf for one in known.licences], known.flips_ms


def agrees(facts, held, now_ms):
    """What is kept against all of it; of those of whom some is missing, and is said to be, nothing is compared."""
    beyond = held.beyond
    some = [one for one in facts if (one.author, one.kind) not in beyond]
    kept = [one for one in held.facts.values() if (one.author, one.kind) not in beyond]
    return told(kept, now_ms, len(facts)) == told(some, now_ms, len(facts))


def test_a_correction_that_never_came_brings_back_all_that_it_ended(monkeypatch):
    """1 announces to replace 0, 2 comes earlier in the place of 1, and is taken back to before that: 0 stands still."""
    facts = [
        fact(0, 1, 1),
        fact(1, 2, 90, ends=0),
        fact(2, 3, 30, ends=1),
        fact(3, 40, 20, ends=2, withdrawn=True),
    ]
    for pieces in ((), (1,), (2,), (3,), (1, 2, 3)):
        held = read(facts, pieces, monkeypatch)
        assert told(held.facts.values(), 40, 4) == ([0], [], 90), pieces
        assert told(held.facts.values(), 90, 4) == ([1], [], None), pieces


def test_what_was_announced_behind_a_correction_that_came_ends_with_it(monkeypatch):
    """2 came in the place of 1, which was to come later than 2 was taken back: that brings nothing back."""
    facts = [
        fact(0, 1, 1),
        fact(1, 2, 90, ends=0),
        fact(2, 3, 30, ends=1),
        fact(3, 40, 30, ends=2, withdrawn=True),
    ]
    for pieces in ((), (1,), (2,), (3,), (1, 2, 3)):
        assert told(read(facts, pieces, monkeypatch).facts.values(), 100, 4) == ([], [], None), pieces


def test_who_announces_more_than_one_question_reads_is_named(monkeypatch):
    monkeypatch.setattr(reading, "AT_ONCE", Limit(3, "a test's"))
    facts = [fact(0, 1, 1), *(fact(at, 2, 90 + at, ends=at - 1) for at in range(1, 8))]
    facts += [fact(8, 3, 30, ends=7), fact(9, 40, 20, ends=8, withdrawn=True)]
    assert read(facts, (), monkeypatch).beyond == {("ann", "advisory")}


@st.composite
def histories(draw):
    facts, open_ = [], []
    time_ms = 0
    for leaf in range(draw(st.integers(1, 12))):
        time_ms += draw(st.sampled_from((0, 1, 5)))
        author, kind = draw(st.sampled_from(("ann", "bob"))), draw(st.sampled_from(("advisory", "licence")))
        valid_from = max(0, time_ms + draw(st.sampled_from((-3, 0, 2, 6, 12))))
        ended = [one for one in open_ if (one.author, one.kind) == (author, kind)]
        before = draw(st.sampled_from([None, *ended[::-1]]))
        withdrawn = before is not None and draw(st.booleans())
        ends = None if before is None else before.leaf
        one = fact(leaf, time_ms, valid_from, ends=ends, withdrawn=withdrawn, kind=kind, author=author)
        open_ = [*(it for it in open_ if it is not before), *([] if withdrawn else [one])]
        facts.append(one)
    return facts, draw(st.lists(st.integers(1, len(facts)), max_size=4).map(sorted))


@pytest.mark.parametrize("room", [2, 100])
@settings(max_examples=300)
@given(history=histories(), later_ms=st.sampled_from((0, 1, 3, 10, 30)))
def test_what_is_kept_says_what_all_of_it_says(room, history, later_ms):
    facts, pieces = history
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(reading, "MAX_ISSUED", Limit(room, "a test's"))
        monkeypatch.setattr(reading, "MAX_WORDS", Limit(room, "a test's"))
        held = read(facts, pieces, monkeypatch)
        assert agrees(facts, held, facts[-1].time_ms + later_ms)
