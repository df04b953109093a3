"""What one more fact does to findings: it may add to them, and never takes from them."""

from itertools import chain

from hypothesis import example, given
from hypothesis import strategies as st

from pyrsia.consumers.auditing.asking import Answered
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.auditing.findings import FAIL_ON, _grouped, report
from pyrsia.knowledge.known import Advisory, Known
from pyrsia.knowledge.severities import WORDS
from pyrsia.serve.desks.knowing import AuditRow

PURL = "pkg:pypi/idna@3.6"
NAMES = tuple(f"N-{number}" for number in range(6))
SEVERITIES = (*WORDS, "unknown", "a word of nobody's")


def said(issuers):
    """(names, severity, issuer) of one advisory."""
    names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
    return st.lists(
        st.tuples(names, st.sampled_from(SEVERITIES), st.sampled_from(issuers)), min_size=1, max_size=5
    )


def reported(told, fail_on, ignored=(), lifts=None):
    advisories = tuple(
        Advisory(names[0], tuple(names[1:]), severity, "", "why", True, "", issuer, leaf)
        for leaf, (names, severity, issuer) in enumerate(told)
    )
    gathered = Gathered()
    gathered.add(PURL, Place("r.txt", 1))
    answered = Answered(9, 1, True, {PURL: AuditRow(PURL, "", "", Known(9, True, advisories))})
    return report(gathered, answered, fail_on=fail_on, ignored=ignored, lifts=lifts)


@given(said("ab"), said("xy"), st.sampled_from(FAIL_ON), st.sets(st.sampled_from(NAMES), max_size=3))
# Another who calls two weaknesses of one issuer one must not make the unknown one as harmless as the other.
@example(
    [(["N-0"], "none", "a"), (["N-2"], "unknown", "a")], [(["N-0", "N-2"], "none", "x")], "low", frozenset()
)
def test_anothers_fact_never_makes_an_audit_pass(first, more, fail_on, ignored):
    before = reported(first, fail_on, sorted(ignored))
    after = reported([*first, *more], fail_on, sorted(ignored))
    assert before.exit in (0, 1)
    assert after.exit >= before.exit


@given(said("ab"), st.sampled_from(FAIL_ON), st.sets(st.integers(0, 5), max_size=3))
def test_every_fact_is_in_one_finding_and_names_tie_them_together(told, fail_on, lifted):
    found = reported(told, fail_on, lifts={(PURL, leaf): "policy: it is so" for leaf in lifted})
    assert sorted(one.leaf for each in found.findings for one in each.said) == list(range(len(told)))
    names = [name for each in found.findings for name in each.names]
    assert len(names) == len(set(names))
    for each in found.findings:
        assert bool(each.counted) == any(one.leaf not in lifted for one in each.said)
        assert bool(each.lifted) != bool(each.counted)


@given(said("ab"), st.sampled_from(FAIL_ON))
def test_findings_do_not_hang_on_the_order_in_which_facts_come(told, fail_on):
    forth, back = reported(told, fail_on), reported(told[::-1], fail_on)
    assert {(one.names, one.severity) for one in forth.findings} == {
        (one.names, one.severity) for one in back.findings
    }
    assert forth.exit == back.exit


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3, unique=True), max_size=9))
def test_groups_are_those_that_names_tie_together_however_they_come(named):
    """Against the plain way, which took time in the square of the advisories of one version."""
    plain = []
    for leaf, names in enumerate(named):
        tied = [group for group in plain if any(set(names) & set(named[other]) for other in group)]
        plain = [group for group in plain if group not in tied] + [sorted([leaf, *chain(*tied)])]
    told = [Advisory(names[0], tuple(names[1:]), "low", "", "", True, "", "a", leaf)
            for leaf, names in enumerate(named)]  # fmt: skip
    assert [[one.leaf for one in group] for group in _grouped(told)] == plain
