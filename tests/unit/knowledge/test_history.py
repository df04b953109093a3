"""How what is known of a package came to be."""

from pyrsia.knowledge.history import first_known, timeline
from tests.reference.knowledge import IDNA, name, said

RANGE = [{"introduced": "0", "fixed": "2.0"}]
FACTS = [
    said(1, severity="low", range=[{"introduced": "0"}]),
    said(2, author="other", advisory="GHSA-1", aliases=["CVE-1"]),
    said(3, severity="high", range=RANGE, supersedes=name(1)),
    said(4, "vex", IDNA + "@1.0", outcome="not-affected"),
    said(5, "licence", expression="MIT"),
    said(6, supersedes=name(3), withdrawn=True),
]


def test_a_weakness_is_first_known_by_whichever_name_comes_first():
    assert first_known(FACTS, "CVE-1").leaf == 1
    assert first_known(FACTS[1:], "CVE-1").leaf == 2
    assert first_known(FACTS, "GHSA-1").leaf == 2
    assert first_known(FACTS, "CVE-9") is None
    assert first_known(reversed(FACTS), "CVE-1").leaf == 1


def test_the_story_of_each_weakness_is_told_in_log_order():
    mine, theirs = timeline(FACTS, 10)

    assert (mine.id, mine.first_leaf, mine.first_ms) == ("CVE-1", 1, 1_000)
    assert [(one.leaf, one.what, one.severity, one.detail) for one in mine.changes] == [
        (1, "known", "low", ""),
        (3, "changed", "high", "severity low to high; fixed in 2.0"),
        (4, "vex", "", "not-affected"),
        (6, "withdrawn", "", ""),
    ]
    assert (mine.severity, mine.fixed, mine.withdrawn_ms) == ("", (), 6_000)
    assert (theirs.id, theirs.aliases, theirs.severity, theirs.withdrawn_ms) == (
        "GHSA-1",
        ("CVE-1",),
        "high",
        None,
    )


def test_while_it_stands_its_severity_and_fixes_are_those_that_stand():
    (mine, _) = timeline(FACTS[:-1], 10)

    assert (mine.severity, mine.fixed, mine.withdrawn_ms) == ("high", ("2.0",), None)


def test_each_word_names_what_it_is_about_and_from_when_on():
    comes = said(7, advisory="CVE-2", valid_from=9_000)

    mine, _, later = timeline([*FACTS, comes], 8_000)

    assert [(one.subject, one.range) for one in mine.changes] == [
        (IDNA, ({"introduced": "0"},)),
        (IDNA, tuple(RANGE)),
        (IDNA + "@1.0", ()),
        (IDNA, tuple(RANGE)),
    ]
    assert (mine.state, mine.coming) == ("withdrawn", None)
    assert (later.state, later.severity, later.coming) == ("to-come", "", ("high", 9_000))
    assert [one.from_ms for one in later.changes] == [9_000]
    (then,) = timeline([comes], 9_000)
    assert (then.state, then.severity, then.coming) == ("stands", "high", None)


def test_other_versions_of_the_same_fix_are_a_change():
    facts = [said(1, range=RANGE), said(2, range=[{"introduced": "1.0", "fixed": "2.0"}], supersedes=name(1))]

    (mine,) = timeline(facts, 10)

    assert mine.changes[1].detail == "other versions"


def test_a_withdrawal_to_come_has_withdrawn_nothing():
    facts = [said(1), said(2, supersedes=name(1), withdrawn=True, valid_from=5_000)]

    assert timeline(facts, 4_999)[0].withdrawn_ms is None
    assert timeline(facts, 5_000)[0].withdrawn_ms == 5_000


def test_nothing_said_is_no_story():
    assert timeline([], 0) == ()
    assert timeline([said(0, "licence")], 0) == ()
