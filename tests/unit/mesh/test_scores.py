"""Scores fade, are bounded, and say why."""

from pyrsia.mesh import scores
from pyrsia.mesh.scores import Scores
from pyrsia.units import NodeId

ANN, BOB = NodeId(b"a" * 32), NodeId(b"b" * 32)


def test_half_of_the_points_is_gone_after_the_half_life():
    book = Scores()
    book.note(0.0, ANN, scores.LIE, "sent a wrong chunk")
    assert book.of(scores.HALF_LIFE_S, ANN) == scores.LIE / 2
    assert book.reason(ANN) == "sent a wrong chunk"
    assert book.reason(BOB) == ""


def test_two_lies_are_ignored_until_they_have_faded():
    book = Scores()
    book.note(0.0, ANN, scores.LIE, "one")
    assert not book.ignored(0.0, ANN)
    book.note(0.0, ANN, scores.LIE, "two")
    assert book.ignored(0.0, ANN)
    assert not book.ignored(scores.HALF_LIFE_S, ANN)


def test_service_never_buys_a_free_lie():
    book = Scores()
    for _ in range(100_000):
        book.note(0.0, ANN, scores.GAVE)
    assert book.of(0.0, ANN) == scores.MOST
    assert book.note(0.0, ANN, 4 * scores.LIE, "lied") < scores.IGNORED


def test_the_table_is_bounded_and_forgets_the_longest_silent():
    book = Scores()
    book.note(0.0, ANN, scores.LIE, "first")
    book.note(0.0, BOB, scores.LIE, "second")
    for number in range(scores.MAX_SCORES.value - 1):
        book.note(1.0, NodeId(number.to_bytes(32, "big")), scores.GAVE)
    assert book.of(1.0, ANN) == 0.0
    assert book.of(1.0, BOB) < 0


def test_faults_are_counted_by_reason_and_kinds_of_them_are_bounded():
    book = Scores()
    for number in range(3):
        book.note(0.0, ANN, scores.RATE, "too much")
        book.note(0.0, ANN, scores.GAVE)
        book.note(0.0, BOB, scores.FAULT, f"of kind {number}")
    assert book.faults(ANN) == {"too much": 3}
    assert book.faults(NodeId(b"c" * 32)) == {}
    for number in range(1_000):
        book.note(0.0, BOB, scores.FAULT, f"of kind {number}")
    told = book.faults(BOB)
    assert len(told) == scores.MAX_REASONS.value + 1
    assert sum(told.values()) == 1_003
    assert told[scores.OTHER] > 900
    assert book.reason(BOB) == "of kind 999"


def test_the_worst_come_first_and_who_owes_nothing_not_at_all():
    book = Scores()
    for number in range(100):
        book.note(0.0, NodeId(number.to_bytes(32, "big")), -float(number), "flooded")
    worst = book.worst(0.0, 64)
    assert worst == [NodeId(number.to_bytes(32, "big")) for number in range(99, 35, -1)]
    assert len(book.worst(0.0, 200)) == 99
    assert book.worst(20 * scores.HALF_LIFE_S, 64) == []


def test_whatever_it_did_it_is_listened_to_again_a_quarter_of_an_hour_after_its_last_fault():
    book = Scores()
    for _ in range(10_000):
        book.note(0.0, ANN, scores.LIE, "lied")
    assert book.of(0.0, ANN) == scores.LEAST
    assert book.ignored(900.0, ANN)
    assert not book.ignored(1_000.0, ANN)
