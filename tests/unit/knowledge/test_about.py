"""All that is known of one version: what means it, who says so, and what speaks in its favour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.knowledge.about import about
from pyrsia.knowledge.known import Known
from tests.reference import knowledge as slow
from tests.reference.knowledge import IDNA, MADE, name, said, spans

FILE = "ab" * 32
ONE = IDNA + "@1.0"
UNTIL_2 = [{"introduced": "0", "fixed": "2.0"}]


def known(*facts, purl=ONE, sha256="", now=10, size=1_000, whole=True):
    return about(facts, purl, sha256, now, size, whole)


def advisories(*facts, **asked):
    return [one.leaf for one in known(*facts, **asked).advisories]


def vex(*facts, **asked):
    (one,) = known(said(0, aliases=["GHSA-1"]), *facts, **asked).advisories
    return [word[1] for word in one.vex]


def test_an_advisory_is_told_with_all_that_a_policy_and_a_person_ask():
    fact = said(
        3,
        range=[{"introduced": "0", "fixed": "2.0"}],
        aliases=["GHSA-1"],
        severity="low",
        cvss="CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        text="eats the disk",
    )

    (one,) = known(fact).advisories

    assert (one.id, one.aliases, one.names) == ("CVE-1", ("GHSA-1",), ("CVE-1", "GHSA-1"))
    assert (one.severity, one.cvss) == ("critical", fact.body["cvss"])
    assert (one.why, one.sure, one.fixed) == ("1.0 lies in [0, 2.0)", True, "2.0")
    assert (one.issuer, one.leaf, one.text, one.vex) == ("issuer", 3, "eats the disk", ())


@pytest.mark.parametrize(
    ("subject", "meant"),
    [
        (IDNA, True),
        (ONE, True),
        (IDNA + "@1.0.0", True),
        (IDNA + "@1.1", False),
        ("pkg:pypi/idn", False),
        ("pkg:pypi/idna2", False),
        ("sha256:" + FILE, True),
        ("sha256:" + "cd" * 32, False),
    ],
)
def test_a_fact_means_a_package_a_version_or_a_file(subject, meant):
    assert bool(advisories(said(0, subject=subject), sha256=FILE)) is meant


def test_a_file_that_is_not_asked_about_is_not_meant():
    assert advisories(said(0, subject="sha256:" + FILE)) == []


def test_a_package_without_a_version_is_told_every_advisory_as_one_that_may_mean_it():
    facts = [said(0, range=UNTIL_2), said(1, subject=ONE), said(2, versions=["7"])]

    told = known(*facts, purl=IDNA).advisories

    assert [(one.leaf, one.sure) for one in told] == [(0, False), (1, False), (2, False)]


def test_versions_under_a_nodes_own_name_compare_by_the_type_there():
    mine = f"pkg:generic/{'a' * 52}/pypi/idna"
    facts = [said(0, subject=mine, range=[{"introduced": "0", "fixed": "1.10"}])]

    assert [one.sure for one in known(*facts, purl=mine + "@1.9").advisories] == [True]
    assert advisories(*facts, purl=mine + "@1.10.0") == []


def test_an_official_image_is_one_package_in_both_its_spellings():
    for named, other in (("alpine", "library/alpine"), ("library/alpine", "alpine")):
        facts = [
            said(0, subject=f"pkg:docker/{named}", versions=["3.20"]),
            said(1, "vex", f"pkg:docker/{named}@3.20"),
        ]
        (one,) = known(*facts, purl=f"pkg:docker/{other}@3.20").advisories
        assert len(one.vex) == 1
    assert advisories(said(0, subject="pkg:docker/team/alpine"), purl="pkg:docker/alpine@3.20") == []


def test_an_image_asked_for_by_its_digest_is_that_file():
    by_digest = f"pkg:docker/alpine@sha256:{FILE}"
    file, version = said(0, subject="sha256:" + FILE), said(1, subject=by_digest)

    assert advisories(file, version, purl=by_digest) == [0, 1]
    assert advisories(file, version, purl="pkg:docker/alpine@3.20", sha256=FILE) == [0, 1]
    assert advisories(file, version, purl="pkg:docker/alpine@3.20") == []


def test_a_version_with_a_local_label_is_read_as_its_purl_writes_it():
    assert advisories(said(0, subject=ONE), purl=IDNA + "@1.0%2Bcu118") == [0]
    assert advisories(said(0, subject=IDNA + "@1.0%2Bcu118"), purl=IDNA + "@1.0%2Bcu118") == [0]
    assert advisories(said(0, subject=IDNA + "@1.0%2Bcu118")) == []


def test_issuers_who_contradict_each_other_are_all_told():
    facts = [said(0, severity="critical"), said(1, author="other", severity="none", versions=["1.0"])]

    assert [(one.issuer, one.severity) for one in known(*facts).advisories] == [
        ("issuer", "critical"),
        ("other", "none"),
    ]


def test_an_advisory_that_was_taken_back_replaced_or_is_to_come_is_not_told():
    facts = [
        said(0),
        said(1, supersedes=name(0), withdrawn=True),
        said(2, advisory="CVE-2"),
        said(3, advisory="CVE-2", supersedes=name(2), versions=["3.0"]),
        said(4, advisory="CVE-3", valid_from=11),
    ]

    assert advisories(*facts) == []
    assert known(*facts).flips_ms == 11
    assert advisories(*facts, now=11) == [4]
    assert known(*facts, now=11).flips_ms is None


def test_an_advisory_of_an_ecosystem_that_nobody_here_can_compare_counts_and_says_so():
    fact = said(0, subject="pkg:npm/left-pad", range=UNTIL_2)

    (one,) = known(fact, purl="pkg:npm/left-pad@1.0").advisories

    assert not one.sure
    assert "cannot be compared" in one.why


def test_an_advisory_that_means_everything_means_everything():
    for fields in ({}, {"range": [{"introduced": "0"}]}):
        assert advisories(said(0, **fields), purl=IDNA + "@99%219.9") == [0]


def test_vex_of_this_version_file_or_package_is_attached():
    for subject in (ONE, IDNA + "@1.0.0", IDNA, "sha256:" + FILE):
        assert vex(said(1, "vex", subject), sha256=FILE) == ["not-affected"]
    assert vex(said(1, "vex", IDNA, range=UNTIL_2)) == ["not-affected"]
    assert vex(said(1, "vex", IDNA + "@1.1")) == []
    assert vex(said(1, "vex", ONE, advisory="GHSA-1")) == ["not-affected"]
    assert vex(said(1, "vex", ONE, advisory="CVE-2")) == []


def test_vex_of_several_issuers_is_several_words():
    facts = [said(1, "vex", ONE), said(2, "vex", ONE, author="other", outcome="affected")]

    (one,) = known(said(0), *facts).advisories

    assert one.vex == (("issuer", "not-affected", 1), ("other", "affected", 2))


def test_vex_that_was_taken_back_speaks_no_more():
    assert vex(said(1, "vex", ONE), said(2, "vex", ONE, supersedes=name(1), withdrawn=True)) == []


@pytest.mark.parametrize("outcome", ["not-affected", "fixed"])
def test_what_speaks_in_favour_surely_and_exactly_means_the_version(outcome):
    """A word for 1.0 is none for somebody's build 1.0+evil, nor one of a range that cannot be compared."""
    local = IDNA + "@1.0%2Bevil"
    assert vex(said(1, "vex", ONE, outcome=outcome), purl=local) == []
    assert vex(said(1, "vex", IDNA, outcome=outcome, versions=["1.0"]), purl=local) == []
    assert vex(said(1, "vex", IDNA, outcome=outcome, range=[{"introduced": "junk!"}])) == []
    maven = "pkg:maven/g/a"
    facts = (said(0, subject=maven), said(1, "vex", maven + "@1.0", outcome=outcome))
    assert known(*facts, purl=maven + "@1.0.0").advisories[0].vex == ()
    assert len(known(*facts, purl=maven + "@1.0").advisories[0].vex) == 1


def test_what_speaks_against_needs_not_be_sure():
    assert vex(said(1, "vex", ONE, outcome="affected"), purl=IDNA + "@1.0%2Bevil") == ["affected"]


def test_licences_are_told_and_one_that_may_not_mean_the_version_permits_nothing():
    facts = [
        said(0, "licence", expression="MIT"),
        said(1, "licence", ONE, author="other"),
        said(2, "licence", IDNA + "@9", expression="GPL-3.0-only"),
        said(3, "licence", expression="MIT", range=[{"introduced": "junk!"}]),
    ]

    told = known(*facts).licences

    assert [(one.expression, one.issuer, one.leaf) for one in told] == [
        ("MIT", "issuer", 0),
        ("", "other", 1),
        ("", "issuer", 3),
    ]


def test_a_list_of_contents_is_one_of_this_very_version_or_file():
    blob = {"manifest": "cd" * 32, "sha256": "ef" * 32, "size": 1}
    facts = [
        said(0, "sbom", format="spdx", blob=blob),
        said(1, "sbom", ONE, format="cyclonedx", blob=blob),
        said(2, "sbom", "sha256:" + FILE, format="spdx", blob=blob),
        said(3, "sbom", IDNA + "@1.0%2Bcu118", format="spdx", blob=blob),
    ]

    told = known(*facts, sha256=FILE).sboms

    assert [(one.leaf, one.format, one.sha256) for one in told] == [
        (1, "cyclonedx", "ef" * 32),
        (2, "spdx", "ef" * 32),
    ]
    assert known(*facts, purl=IDNA + "@1.0%2Bevil").sboms == ()


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "blob": st.just({"manifest": "cd" * 32, "sha256": "ef" * 32, "size": 1}),
            "components": st.integers(0, 2),
            "format": st.sampled_from(["cyclonedx", "spdx"]),
            "text": st.sampled_from(["", "all of it, trust me"]),
        },
    ),
    subject=st.sampled_from([ONE, "sha256:" + FILE]),
)
def test_a_word_that_there_is_a_list_is_none(fields, subject):
    """Without a document and its form nobody can read what is inside, whatever else the fact says."""
    fact = said(1, "sbom", subject, **fields)

    assert [one.leaf for one in known(fact, sha256=FILE).sboms] == [1] * slow.lists(fact)


def test_nothing_said_is_nothing_known_and_what_is_missing_is_said():
    assert known() == Known(1_000, True)
    assert known(whole=False).whole is False


def test_a_purl_that_is_none_is_refused():
    with pytest.raises(Malformed):
        known(purl="idna")


@st.composite
def histories(draw):
    """Advisories and VEX of two issuers, replaced and taken back at random."""
    facts = []
    for leaf in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["advisory", "vex", "licence"]))
        fields = {"valid_from": draw(st.integers(0, 3)), "author": draw(st.sampled_from("ab"))}
        earlier = [
            one
            for one in facts
            if (one.kind, one.author) == (kind, fields["author"])
            and not one.is_withdrawal
            and all(other.supersedes != one.id for other in facts)
        ]
        if earlier and draw(st.booleans()):
            fields["supersedes"] = draw(st.sampled_from(earlier)).id
        if "supersedes" in fields and draw(st.booleans()):
            fields["withdrawn"] = True
        elif kind != "vex":
            fields["range"] = [
                one.bounds for one in draw(st.lists(spans(MADE["pypi"]), min_size=1, max_size=2))
            ]
        facts.append(said(leaf, kind, **fields))
    return facts


@given(facts=histories(), size=st.integers(0, 9), now=st.integers(0, 4))
def test_what_was_known_at_a_size_is_what_a_replay_of_the_beginning_knows(facts, size, now):
    """As-of: the whole log cut at `size` answers as a log that had no more; and what stands is the definition's."""
    beginning = [one for one in facts if one.leaf < size]

    asked = known(*facts, size=size, now=now)

    assert asked == known(*beginning, size=size, now=now)
    told = {one.leaf for one in (*asked.advisories, *asked.licences)}
    assert told <= {one.leaf for one in beginning if slow.stands(one, beginning, now)}


@given(facts=histories(), now=st.integers(0, 4), data=st.data())
def test_a_further_advisory_never_takes_one_away(facts, now, data):
    more = said(99, author="c", severity=data.draw(st.sampled_from(["none", "critical"])))

    before = known(*facts, now=now).advisories
    after = known(*facts, more, now=now).advisories

    assert [one.leaf for one in after] == [*[one.leaf for one in before], 99]


@pytest.mark.parametrize("subject", [IDNA, ONE])
def test_what_speaks_against_a_package_speaks_against_a_nodes_own_copy_and_nothing_for_it(subject):
    """Anybody may publish the same bytes under a name of its own; what a database says is about the shared name."""
    own = f"pkg:generic/{'a' * 52}/pypi/idna"
    facts = [
        said(1, subject=subject),
        said(2, "vex", ONE),
        said(3, "licence", subject, expression="MIT"),
        said(4, "sbom", ONE, format="spdx", blob={"manifest": "cd" * 32, "sha256": "ef" * 32, "size": 1}),
    ]
    found = known(*facts, purl=own + "@1.0")
    assert [(one.id, one.vex) for one in found.advisories] == [("CVE-1", ())]
    assert [(one.expression, one.copied) for one in found.licences] == [("MIT", True)]
    assert found.sboms == ()
    both = known(*facts, said(5, "licence", own + "@1.0", expression="GPL-2.0-only"), purl=own + "@1.0")
    assert [one.copied for one in both.licences] == [True, False]
    assert advisories(*facts, purl=own + "@2.0") == advisories(*facts, purl=IDNA + "@2.0")


def test_what_is_said_of_a_nodes_own_copy_is_not_said_of_the_package():
    own = f"pkg:generic/{'a' * 52}/pypi/idna"
    told = known(said(1, subject=own), said(2, "licence", own + "@1.0", expression="MIT"))
    assert (told.advisories, told.licences) == ((), ())
