"""A word for a vector, and which of two words counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.knowledge.severities import UNKNOWN, VECTORS_KNOWN, WORDS, common, of_vector, rank, severity, warm

BASE = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:{c}/I:{i}/A:{a}"
CRITICAL = BASE.format(c="H", i="H", a="H")
FOUR = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H"
MEDIUM = BASE.format(c="L", i="N", a="N")


@pytest.mark.parametrize(
    ("vector", "word"),
    [
        (CRITICAL, "critical"),  # 9.8
        (MEDIUM, "medium"),  # 5.3
        (BASE.format(c="N", i="N", a="N"), "none"),
        ("CVSS:3.0/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", "low"),  # 1.6
        ("AV:N/AC:L/Au:N/C:P/I:P/A:P", "high"),  # 7.5
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "critical"),  # 9.3
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", "none"),
        (CRITICAL + "/E:U", "critical"),  # the base score, whatever is said of exploits
        (FOUR + "/E:U", "critical"),
        (FOUR + "/MAV:P/MVC:N/MVI:N/MVA:N/MSC:N/MSI:N/MSA:N", "critical"),  # and of somebody's own place
        (CRITICAL + "/", "critical"),
        ("CVSS:2.0/AV:N/AC:L/Au:N/C:P/I:P/A:P", "high"),
        ("(AV:N/AC:L/Au:N/C:P/I:P/A:P)", "high"),
    ],
)
def test_a_vector_has_the_rating_of_its_base_score(vector, word):
    assert of_vector(vector) == word


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "9.8",
        "CVSS:3.1/",
        "CVSS:5.0/AV:N",
        "CVSS:3.1/AV:N",
        CRITICAL + "//",
        CRITICAL + "/AV:N",
        FOUR + "/AV:P",
        FOUR + "/XX:N",
        CRITICAL.replace("AV:N", "AV:X"),
        CRITICAL + " " * 200,
        "É" * 20,
        "/" * 150,
        "CVSS:4.0" + "/" * 150,
        ":" * 199,
    ],
)
def test_what_is_no_vector_says_nothing(vector):
    assert of_vector(vector) == UNKNOWN


@given(
    st.one_of(
        st.text(max_size=250),
        st.lists(st.sampled_from(["CVSS:3.1", "CVSS:4.0", "AV:N", "Au:N", "C:H", "S:C", "x", ""])).map(
            "/".join
        ),
    )
)
def test_no_text_raises(vector):
    assert of_vector(vector) in (*WORDS, UNKNOWN)


@given(st.sampled_from([*WORDS, UNKNOWN, "awful", ""]), st.sampled_from([CRITICAL, MEDIUM, "", "junk"]))
def test_of_word_and_vector_the_higher_counts_and_silence_counts_for_nothing(said, vector):
    words = [word for word in (said, of_vector(vector)) if word in WORDS]

    assert severity(said, vector) == max(words, key=rank, default=UNKNOWN)


def test_unknown_is_worse_than_critical():
    ranks = [rank(word) for word in (*WORDS, UNKNOWN)]
    assert ranks == sorted(set(ranks))
    assert rank("awful") == rank(UNKNOWN)


def test_warming_up_reads_a_vector_of_each_reader():
    of_vector.cache_clear()
    warm()
    assert of_vector.cache_info().currsize == 2
    assert of_vector(CRITICAL) == "critical"
    assert of_vector.cache_info().misses == 2


def test_the_common_vectors_are_all_that_cvss_3_has_and_are_remembered():
    every = list(common())
    assert len(set(every)) == len(every) == 4 * 2 * 3 * 2 * 2 * 3 * 3 * 3
    assert {CRITICAL, MEDIUM} < set(every)
    of_vector.cache_clear()
    warm()
    assert UNKNOWN not in {of_vector(one) for one in every}
    made = of_vector.cache_info().misses
    assert made < VECTORS_KNOWN.value
    assert {of_vector(one) for one in every} == set(WORDS)
    assert of_vector.cache_info().misses == made


@pytest.mark.parametrize("more", ["/E:U", "/MAV:P/MVC:N", "/S:P/AU:Y"])
def test_metrics_beyond_the_base_change_no_rating_of_cvss_4(more):
    for vector in (FOUR, FOUR.replace("AV:N", "AV:P"), FOUR.replace(":H", ":L")):
        assert of_vector(vector + more) == of_vector(vector) != UNKNOWN
