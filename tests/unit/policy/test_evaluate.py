"""Decisions: against a plain oracle, monotone where a person expects it, failing closed, and told in one sentence."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrsia.knowledge.known import Advisory, Known, Licence, Sbom
from pyrsia.policy import evaluate
from pyrsia.policy.evaluate import NEVER_MS, decide, flips_at
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED, Agreeing, Facts
from pyrsia.policy.keys import MAX_GLOBS
from pyrsia.policy.rules import parse
from pyrsia.policy.writing import toml
from pyrsia.policy.writing import written as rewritten
from tests.reference import policy as oracle

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
NODES = ["a" * 52, "b" * 52, "c" * 52, "d" * 52]
FACTS = Facts(
    purl="pkg:pypi/idna@3.10",
    origin=NETWORK,
    file="idna-3.10-py3-none-any.whl",
    sha256="0" * 64,
    status="REPRODUCED",
    agreeing=(Agreeing(NODES[0], "org A", "namespace"), Agreeing(NODES[1], "org B", "namespace")),
    containment="full",
    upstream="identical",
    published_ms=NOW_MS - 10 * DAY_MS,
)


def decided(text="", facts=FACTS, now_ms=NOW_MS, head_age_ms=0, **more):
    return decide(parse(text.encode(), "p"), dataclasses.replace(facts, **more), now_ms, head_age_ms)


def against(decision):
    return [one.rule for one in decision.reasons if not one.allows]


def test_what_was_rebuilt_is_allowed_and_every_rule_says_why():
    found = decided()
    assert (found.allowed, against(found)) == (True, [])
    assert [one.rule for one in found.reasons] == [
        "deny", "allow", "minimum", "agreeing", "containment", "upstream", "min_age_days",
        "max_severity", "licences_allow", "sbom", "max_head_age_s",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "more", "rules"),
    [
        ("", {"status": "WITNESSED"}, ["minimum"]),
        ('[pip]\nmode = "verified+witnessed"', {"status": "WITNESSED"}, []),
        ("", {"purl": "pkg:docker/library/alpine@3", "status": "WITNESSED"}, []),
        ('[all]\nminimum = "REPRODUCED"', {"status": "EQUIVALENT"}, ["minimum"]),
        ("", {"status": "DISPUTED", "verdict": "REPRODUCED"}, ["disputed"]),
        ("", {"status": "WITHDRAWN", "verdict": "REPRODUCED"}, ["withdrawn"]),
        ("", {"status": "WITHDRAWN", "verdict": "REPRODUCED", "by_digest": True}, []),
        ("", {"status": "WITHDRAWN", "by_digest": True}, ["minimum"]),
        ("", {"status": "WITHDRAWN", "verdict": "WITNESSED", "by_digest": True}, ["minimum"]),
        ('[pip]\nwithdrawn = "refused"', {"status": "WITHDRAWN", "verdict": "REPRODUCED", "by_digest": True},
         ["withdrawn"]),
        ("", {"status": "DISPUTED", "verdict": "REPRODUCED", "by_digest": True}, ["disputed"]),
        ('[all]\ndisputed = "by-digest"', {"status": "DISPUTED", "verdict": "REPRODUCED", "by_digest": True}, []),
        ('[all]\ndisputed = "by-digest"', {"status": "DISPUTED", "verdict": "REPRODUCED"}, ["disputed"]),
        ('[pip]\nmode = "proxy"', {"status": "WITHDRAWN"}, ["withdrawn", "minimum"]),
        ("", {"status": ""}, ["minimum"]),
        ("", {"agreeing": FACTS.agreeing[:1]}, ["agreeing"]),
        ("", {"agreeing": (FACTS.agreeing[0], Agreeing(NODES[2], "org A", "namespace"))}, ["agreeing"]),
        ('[all]\noperators = ["org A"]', {}, ["agreeing"]),
        ('[all]\noperators = ["org A"]\nagreeing = 1', {}, []),
        (f'[all]\noperators = ["org A"]\nbuilders = ["{NODES[1]}"]', {}, []),
        (f'[all]\nbuilders = ["{NODES[2]}"]\nagreeing = 1', {}, ["agreeing"]),
        (
            '[all]\nisolation = "namespace"',
            {"agreeing": (FACTS.agreeing[0], Agreeing(NODES[1], "org B", "confined"))},
            ["agreeing"],
        ),
        ('[pip]\nmode = "verified+witnessed"\nisolation = "namespace"',
         {"status": "WITNESSED", "agreeing": (Agreeing(NODES[0], "org A"), Agreeing(NODES[1], "org B"))}, []),
        ('[all]\ncontainment = "full"', {"containment": "partial"}, ["containment"]),
        ('[all]\ncontainment = "partial"', {"containment": ""}, ["containment"]),
        ('[all]\nupstream = ["identical", "equivalent"]', {"upstream": "different"}, ["upstream"]),
        ("[all]\nmin_age_days = 10", {}, []),
        ("[all]\nmin_age_days = 11", {}, ["min_age_days"]),
        ("[all]\nmin_age_days = 1", {"published_ms": 0}, ["min_age_days"]),
        ("[all]\nmin_age_days = 1", {"published_ms": NOW_MS + DAY_MS}, ["min_age_days"]),
        ('[all]\ndeny = ["pkg:pypi/*"]\nallow = ["pkg:pypi/idna"]', {}, ["deny"]),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.1*"]', {}, ["deny"]),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.9"]', {}, []),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.10"]', {"purl": "pkg:pypi/idna@3.10.0"}, ["deny"]),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.10.0.0"]', {}, ["deny"]),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.0"]', {"purl": "pkg:pypi/idna@3rc1"}, []),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.0rc1"]', {"purl": "pkg:pypi/idna@3rc1"}, ["deny"]),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.10"]', {"purl": "pkg:pypi/idna@3.1"}, []),
        ('[pip]\ndeny = ["pkg:pypi/idna@3.10"]', {"purl": f"pkg:generic/{NODES[0]}/pypi/idna@3.10.0"}, ["deny"]),
        ('[all]\ndeny = ["pkg:docker/library/alpine"]', {"purl": "pkg:docker/alpine@3"}, ["deny"]),
        ('[all]\ndeny = ["pkg:docker/alpine@3"]', {"purl": "pkg:docker/library/alpine@3"}, ["deny"]),
        ('[all]\ndeny = ["pkg:docker/alpine@3"]', {"purl": "pkg:docker/library/alpine@4"}, []),
        ('[all]\ndeny = ["pkg:docker/team/alpine"]', {"purl": "pkg:docker/alpine@3"}, []),
        ('[pip]\nallow = ["pkg:pypi/i*"]', {}, []),
        ('[pip]\nallow = []', {}, ["allow"]),
        ('[all]\ndeny = ["pkg:pypi/idna"]', {"purl": f"pkg:generic/{NODES[0]}/pypi/idna@3.10"}, ["deny"]),
        ('[pip]\nallow = ["pkg:pypi/*"]', {"purl": f"pkg:generic/{NODES[0]}/pypi/idna@3.10"}, ["allow"]),
        ("", {"origin": PROXIED}, ["mode"]),
        ('[pip]\nmode = "proxy"', {"origin": PROXIED, "status": ""}, []),
        ('[maven]\nmode = "proxy"', {"origin": PROXIED}, ["mode"]),
        ('[pip]\nmode = "proxy"\nmin_age_days = 3', {"origin": PROXIED, "published_ms": NOW_MS}, ["min_age_days"]),
        ("[all]\nmin_age_days = 3", {"origin": LOCAL, "status": "", "agreeing": (), "published_ms": NOW_MS}, []),
        ('[all]\ndeny = ["pkg:pypi/idna"]', {"origin": LOCAL}, ["deny"]),
        ("", {"origin": "elsewhere"}, ["origin"]),
        ("", {"purl": "no purl"}, ["purl"]),
        ('[all]\ndeny = ["*idna*"]\ncontainment = "full"', {"containment": "none", "status": "WITNESSED"},
         ["deny", "minimum", "containment"]),
    ],
)  # fmt: skip
def test_each_rule_refuses_what_it_names_and_all_of_them_are_told(text, more, rules):
    found = decided(text, **more)
    assert (against(found), found.allowed) == (rules, not rules)
    facts = dataclasses.replace(FACTS, **more)
    if "purl" not in more or facts.purl.startswith("pkg:"):
        assert found.allowed == oracle.allows(text, facts, NOW_MS)


@pytest.mark.parametrize(
    ("age_ms", "good"), [(0, True), (600_000, True), (600_001, False), (NEVER_MS, False)]
)
def test_a_stale_head_refuses_what_the_log_publishes_and_nothing_else(age_ms, good):
    assert decided(head_age_ms=age_ms).allowed is good
    assert decided("[all]\nmax_head_age_s = 0", head_age_ms=age_ms).allowed
    assert decided(origin=LOCAL, head_age_ms=age_ms).allowed
    assert decided('[pip]\nmode = "proxy"', origin=PROXIED, head_age_ms=age_ms).allowed


def test_an_old_proof_is_refused():
    policy = parse(b"[all]\nmax_proof_age_days = 3\n", "p")
    assert decide(policy, FACTS, NOW_MS, 0, 3 * DAY_MS).allowed
    assert decide(policy, FACTS, NOW_MS).allowed  # at a node there is no proof to ask of
    assert against(decide(policy, FACTS, NOW_MS, 0, 3 * DAY_MS + 1)) == ["max_proof_age_days"]


# -- against the oracle, with policies and facts of every kind --

GLOBS = st.sampled_from([
    "*", "pkg:*", "pkg:pypi/*", "pkg:pypi/idna", "pkg:pypi/idna@3.*", "pkg:pypi/idna@3.1?", "*@3.10", "pkg:*/*a*@*",
    "pkg:maven/org.acme/*", "pkg:docker/*@sha256:*", "pkg:docker/alpine",
    "pkg:pypi/other@1.0", "pkg:pypi/idna@3.10.?", f"pkg:generic/{NODES[0]}/*", "pkg:pypi/other@1",
])  # fmt: skip
OF_SECTIONS = ("mode", "max_head_age_s")
DAY = timedelta(days=1)
TODAY = datetime.fromtimestamp(NOW_MS / 1_000, UTC).date()
LICENCES = st.sampled_from(["MIT", "GPL-*", "*GPL-*", "AGPL-3.0-only", "mit"])
OPERATORS = ["org A", "org B", "org C"]
KEYS = st.fixed_dictionaries({}, optional={
    "mode": st.sampled_from(["verified", "verified+witnessed", "proxy"]),
    "minimum": st.sampled_from(["WITNESSED", "EQUIVALENT", "REPRODUCED"]),
    "allow": st.lists(GLOBS, max_size=3),
    "deny": st.lists(GLOBS, max_size=2),
    "agreeing": st.integers(1, 3),
    "operators": st.lists(st.sampled_from(OPERATORS), max_size=3),
    "builders": st.lists(st.sampled_from(NODES), max_size=2),
    "isolation": st.sampled_from(["confined", "namespace"]),
    "containment": st.sampled_from(["none", "partial", "full"]),
    "upstream": st.lists(st.sampled_from(["identical", "equivalent", "different", "none"]), min_size=1, max_size=4),
    "min_age_days": st.integers(0, 12),
    "max_head_age_s": st.sampled_from([0, 60, 600]),
    "max_severity": st.sampled_from(["none", "low", "high", "critical", "any"]),
    "accept": st.lists(st.fixed_dictionaries({
        "advisory": st.sampled_from(["CVE-1", "CVE-2", "GHSA-1"]),
        "until": st.sampled_from([TODAY - DAY, TODAY, TODAY + 2 * DAY]),
        "reason": st.just("we know"),
    }, optional={"packages": st.lists(GLOBS, min_size=1, max_size=2)}), max_size=2),
    "issuers": st.lists(st.sampled_from(NODES), max_size=2),
    "vex_issuers": st.lists(st.sampled_from(NODES), max_size=2),
    "licences_allow": st.lists(LICENCES, max_size=2),
    "licences_deny": st.lists(LICENCES, max_size=1),
    "sbom": st.sampled_from(["any", "required"]),
    "withdrawn": st.sampled_from(["by-digest", "refused"]),
    "disputed": st.sampled_from(["by-digest", "refused"]),
})  # fmt: skip


def blocks(keys):
    """[[rule]] tables that say some of these keys."""
    made = st.builds(
        lambda said, packages: {
            "packages": packages,
            **({key: value for key, value in said.items() if key not in OF_SECTIONS} or {"deny": []}),
        },
        keys,
        st.lists(GLOBS, min_size=1, max_size=2),
    )
    return st.lists(made, max_size=3)


def files(keys):
    """Whole policies of some of these keys."""
    sections = st.dictionaries(st.sampled_from(["all", "pip", "maven", "oci"]), keys, max_size=3)
    return st.builds(lambda said, rule: {**said, "rule": rule}, sections, blocks(keys))


# Rules that ask for little, so that much is allowed: what refuses is then one word more, or less.
LEAN = st.builds(
    lambda said, kept: {key: value for key, value in said.items() if key in kept},
    KEYS,
    st.sets(
        st.sampled_from([
            "max_severity", "max_severity", "accept", "accept", "vex_issuers", "issuers", "licences_allow",
            "licences_deny", "sbom", "withdrawn", "disputed", "min_age_days",
        ]),
        max_size=3,
    ),
)  # fmt: skip
FILES = st.one_of(files(KEYS), files(LEAN))
ADVISORIES = st.builds(
    Advisory,
    id=st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]),
    aliases=st.sampled_from([(), ("GHSA-1",)]),
    severity=st.sampled_from(["none", "low", "high", "critical", "unknown"]),
    cvss=st.just(""),
    why=st.just("it is named"),
    sure=st.sampled_from([True, True, False]),
    fixed=st.sampled_from(["", "3.11"]),
    issuer=st.sampled_from(NODES),
    leaf=st.integers(0, 9),
    vex=st.lists(
        st.tuples(
            st.sampled_from(NODES),
            st.sampled_from(["affected", "fixed", "not-affected", "under-investigation"]),
            st.just(5),
        ),
        max_size=2,
    ).map(tuple),
)
WORDS = st.builds(
    Known,
    size=st.just(10),
    whole=st.sampled_from([True, True, True, False]),
    advisories=st.lists(ADVISORIES, max_size=3).map(tuple),
    licences=st.lists(
        st.builds(
            Licence,
            st.sampled_from(["MIT", "GPL-3.0-only", "MIT OR GPL-3.0-only", "MIT AND AGPL-3.0-only", ""]),
            st.sampled_from(NODES),
            st.just(3),
        ),
        max_size=2,
    ).map(tuple),
    sboms=st.lists(st.builds(Sbom, st.just("spdx"), st.sampled_from(NODES), st.just(4)), max_size=1).map(
        tuple
    ),
)
AGREEING = st.builds(
    Agreeing,
    st.sampled_from(NODES),
    st.sampled_from(OPERATORS),
    st.sampled_from(["", "confined", "namespace"]),
)
ANY_FACTS = st.builds(
    Facts,
    purl=st.sampled_from([
        "pkg:pypi/idna@3.10", "pkg:pypi/other@1", "pkg:maven/org.acme/lib@1.0", "pkg:docker/library/alpine@3.20",
        f"pkg:generic/{NODES[0]}/pypi/idna@3.10", "pkg:generic/thing@1", "pkg:conan/zlib@1.3",
    ]),
    origin=st.sampled_from([NETWORK, NETWORK, NETWORK, LOCAL, PROXIED, ""]),
    status=st.sampled_from(["REPRODUCED", "REPRODUCED", "EQUIVALENT", "WITNESSED", "DISPUTED", "WITHDRAWN", ""]),
    agreeing=st.lists(AGREEING, max_size=4).map(tuple),
    containment=st.sampled_from(["", "none", "partial", "full"]),
    upstream=st.sampled_from(["identical", "equivalent", "different", "none"]),
    published_ms=st.sampled_from([0, NOW_MS, NOW_MS + 1, NOW_MS - DAY_MS, NOW_MS - 7 * DAY_MS, NOW_MS - 12 * DAY_MS]),
    known=st.one_of(st.none(), WORDS, WORDS),
    verdict=st.sampled_from(["REPRODUCED", "REPRODUCED", "WITNESSED", ""]),
    by_digest=st.booleans(),
)  # fmt: skip
GOOD_FACTS = st.builds(
    lambda words, purl, status, by_digest, days: dataclasses.replace(
        FACTS,
        known=words,
        purl=purl,
        status=status,
        verdict="REPRODUCED",
        by_digest=by_digest,
        published_ms=NOW_MS - days * DAY_MS,
    ),
    st.one_of(WORDS, st.builds(Known, st.just(10), st.just(True), WORDS.map(lambda one: one.advisories[:1]))),
    st.sampled_from(["pkg:pypi/idna@3.10", "pkg:pypi/idna@3.10", "pkg:docker/library/alpine@3.20"]),
    st.sampled_from(["REPRODUCED", "REPRODUCED", "REPRODUCED", "WITHDRAWN", "DISPUTED"]),
    st.booleans(),
    st.integers(0, 20),
)
KNOWN = st.one_of(ANY_FACTS, GOOD_FACTS)
SOME = settings(deadline=None, max_examples=60)  # reading a policy takes a millisecond, on a busy machine ten
AGES = st.sampled_from([0, 60_000, 60_001, 600_000, 600_001, NEVER_MS])


def written(file):
    lines = []
    for section, keys in file.items():
        if section == "rule":
            continue
        lines += [f"[{section}]", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    for keys in file.get("rule", ()):
        lines += ["[[rule]]", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    return "\n".join(lines)


@settings(deadline=None, max_examples=200)
@given(FILES, KNOWN, AGES)
def test_the_engine_agrees_with_the_oracle(file, facts, age_ms):
    text = written(file)
    found = decide(parse(text.encode(), "p"), facts, NOW_MS, age_ms)
    assert found.allowed == oracle.allows(text, facts, NOW_MS, age_ms), found
    assert found.allowed == (not against(found))


@SOME
@given(FILES, KNOWN, AGES)
def test_rules_that_are_written_down_again_decide_the_same(file, facts, age_ms):
    policy = parse(written(file).encode(), "p")
    again = parse(rewritten(policy).encode(), "p")
    for ecosystem in ("pip", "maven", "conan", "oci", "other"):
        assert again.of(ecosystem).as_dict() == policy.of(ecosystem).as_dict()
    assert again.at(facts.purl).as_dict() == policy.at(facts.purl).as_dict()
    assert decide(again, facts, NOW_MS, age_ms) == decide(policy, facts, NOW_MS, age_ms)


def more_allowed(file, other, facts):
    """Whether another policy admits what this one refuses."""
    before = decide(parse(written(file).encode(), "p"), facts, NOW_MS)
    after = decide(parse(written(other).encode(), "p"), facts, NOW_MS)
    return after.allowed and not before.allowed


DENIAL = st.one_of(st.tuples(st.just("deny"), GLOBS), st.tuples(st.just("licences_deny"), LICENCES))


@SOME
@given(FILES, KNOWN, DENIAL, st.sampled_from(["all", "pip", "maven", "oci"]))
@example({"pip": {"deny": []}}, FACTS, ("deny", "pkg:pypi/idna"), "all")
def test_one_more_denial_never_allows_more(file, facts, denial, section):
    key, pattern = denial
    more = {**file, section: {**file.get(section, {})}}
    more[section][key] = [*more[section].get(key, []), pattern]
    assert not more_allowed(file, more, facts)


@SOME
@given(FILES, KNOWN, DENIAL, GLOBS, st.integers(0, 3))
@example({"rule": [{"packages": ["*"], "agreeing": 3}]}, FACTS, ("deny", "pkg:pypi/other@1"), "pkg:pypi/*", 0)
def test_one_more_rule_that_denies_wherever_it_stands_never_allows_more(file, facts, denial, packages, at):
    """It hides no rule behind it, though it is the first whose patterns mean the package."""
    key, pattern = denial
    blocks = list(file["rule"])
    blocks.insert(at, {"packages": [packages], key: [pattern]})
    assert not more_allowed(file, {**file, "rule": blocks}, facts)


@SOME
@given(FILES, KNOWN, DENIAL, st.integers(0, 2))
def test_one_more_denial_in_a_rule_never_allows_more(file, facts, denial, at):
    key, pattern = denial
    blocks = [dict(one) for one in file["rule"]]
    if at < len(blocks):
        blocks[at][key] = [*blocks[at].get(key, []), pattern]
    assert not more_allowed(file, {**file, "rule": blocks}, facts)


STRICTER = {
    "max_severity": "none",
    "sbom": "required",
    "withdrawn": "refused",
    "disputed": "refused",
    "accept": [],
}


@SOME
@given(FILES, KNOWN, st.sampled_from(sorted(STRICTER)))
def test_what_is_stricter_under_every_heading_never_allows_more(file, facts, key):
    value = STRICTER[key]
    more = {name: {**keys, key: value} for name, keys in {"all": {}, **file}.items() if name != "rule"}
    more["rule"] = [{**one, **({key: value} if key in one else {})} for one in file["rule"]]
    if key == "accept":
        more["rule"] = [{name: it for name, it in one.items()} for one in more["rule"]]
    assert not more_allowed(file, more, facts)


@SOME
@given(FILES, KNOWN, ADVISORIES, st.sampled_from(NODES))
def test_one_more_word_against_a_version_never_allows_more(file, facts, advisory, issuer):
    policy = parse(written(file).encode(), "p")
    known = facts.known
    if known is None:
        return
    worse = [
        dataclasses.replace(known, advisories=(*known.advisories, advisory)),
        dataclasses.replace(known, whole=False),
        dataclasses.replace(
            known,
            advisories=tuple(
                dataclasses.replace(one, vex=(*one.vex, (issuer, "affected", 9))) for one in known.advisories
            ),
        ),
        None,
    ]
    for other in worse:
        after = decide(policy, dataclasses.replace(facts, known=other), NOW_MS)
        assert decide(policy, facts, NOW_MS).allowed or not after.allowed


@SOME
@given(FILES, KNOWN, st.randoms(use_true_random=False))
def test_the_order_in_which_facts_came_changes_no_answer(file, facts, random):
    """Two nodes with one policy and one log, which heard of it in another order, decide alike."""
    if facts.known is None:
        return
    policy = parse(written(file).encode(), "p")
    advisories = [
        dataclasses.replace(one, vex=tuple(random.sample(one.vex, len(one.vex))))
        for one in random.sample(facts.known.advisories, len(facts.known.advisories))
    ]
    mixed = dataclasses.replace(
        facts.known,
        advisories=tuple(advisories),
        licences=tuple(random.sample(facts.known.licences, len(facts.known.licences))),
    )
    agreeing = tuple(random.sample(facts.agreeing, len(facts.agreeing)))
    other = decide(policy, dataclasses.replace(facts, known=mixed, agreeing=agreeing), NOW_MS)
    assert other.allowed == decide(policy, facts, NOW_MS).allowed


@SOME
@given(FILES, KNOWN, AGREEING)
def test_one_more_that_agrees_never_refuses(file, facts, one):
    policy = parse(written(file).encode(), "p")
    more = dataclasses.replace(facts, agreeing=(*facts.agreeing, one))
    assert decide(policy, more, NOW_MS).allowed or not decide(policy, facts, NOW_MS).allowed


@SOME
@given(FILES, KNOWN, AGES, AGES)
def test_an_older_head_never_allows_more(file, facts, one, other):
    policy = parse(written(file).encode(), "p")
    young, old = sorted((one, other))
    assert decide(policy, facts, NOW_MS, young).allowed or not decide(policy, facts, NOW_MS, old).allowed


@SOME
@given(FILES, KNOWN)
def test_time_changes_an_answer_when_it_was_announced_and_not_before(file, facts):
    policy = parse(written(file).encode(), "p")
    due = flips_at(policy, facts, NOW_MS)
    began = NOW_MS
    while due is not None:
        assert due > began
        assert decide(policy, facts, began).allowed == decide(policy, facts, due - 1).allowed
        began, due = due, flips_at(policy, facts, due)
    assert decide(policy, facts, began).allowed == decide(policy, facts, began + 99 * DAY_MS).allowed


@SOME
@given(FILES, KNOWN, AGES)
def test_a_refusal_fits_into_a_reason_phrase_and_its_rest_is_told(file, facts, age_ms):
    found = decide(parse(written(file).encode(), "p"), facts, NOW_MS, age_ms)
    if found.allowed:
        return
    told = evaluate.refusal(facts, found)
    assert (told.code, len(told.what) < 200, told.what.isascii(), told.what.isprintable()) == (
        "denied", True, True, True,
    )  # fmt: skip
    for one in found.reasons:
        assert one.allows or one.what in told.what + told.do
    assert "pyrsia policy explain" in told.do


def test_a_pattern_as_long_as_patterns_get_is_told_whole_where_there_is_room():
    pattern = "pkg:pypi/" + "i?" * 100 + "*" * 9
    policy = parse(f"[all]\ndeny = {toml([pattern])}\n".encode(), "p")
    facts = dataclasses.replace(FACTS, purl=f"pkg:pypi/{'ii' * 100}@1")
    told = evaluate.refusal(facts, decide(policy, facts, NOW_MS))
    assert (len(told.what) < 200, told.what.endswith("..."), pattern in told.do) == (True, True, True)


def test_a_name_as_long_as_names_get_leaves_room_for_the_reason():
    facts = dataclasses.replace(FACTS, purl=f"pkg:pypi/{'a' * 250}@1", status="WITNESSED")
    told = evaluate.refusal(facts, decide(parse(b"", "p"), facts, NOW_MS))
    assert "it is WITNESSED, EQUIVALENT is the least" in told.what
    assert len(told.what) < 200


def test_patterns_made_to_backtrack_are_answered():
    """With backtracking this would not end today: 14 stars over 280 letters, a thousand times."""
    patterns = ["pkg:*" + "a*" * 14 + "b"] * MAX_GLOBS.value
    policy = parse(f"[all]\ndeny = {toml(patterns)}\n".encode(), "p")
    facts = dataclasses.replace(FACTS, purl="pkg:pypi/" + "a" * 280)
    assert decide(policy, facts, NOW_MS).allowed
    assert not decide(policy, dataclasses.replace(facts, purl=facts.purl + "b"), NOW_MS).allowed
