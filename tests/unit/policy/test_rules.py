"""policy.toml: what is refused and how it is told, what follows from what, and that its own default file is it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.policy import modes, writing
from pyrsia.policy.keys import MAX_GLOBS
from pyrsia.policy.rules import KEYS, MAX_POLICY_BYTES, parse


def policy(text=""):
    return parse(text.encode(), "policy.toml")


def test_no_file_is_the_default_and_so_is_the_file_that_explains_every_key():
    shown = writing.render()
    for ecosystem in ("pip", "maven", "conan", "oci"):
        assert policy().of(ecosystem).as_dict() == policy(shown).of(ecosystem).as_dict()
    uncommented = "\n".join(
        line[2:] if line.startswith("# ") and line[2:].partition(" = ")[0] in KEYS else line
        for line in shown.splitlines()
    )
    said = tomllib.loads(uncommented)
    assert set(said["all"]) | {"mode"} == set(KEYS)
    assert [said[one]["mode"] for one in ("pip", "maven", "conan", "oci")] == [
        policy().of(one).mode for one in ("pip", "maven", "conan", "oci")
    ]


@pytest.mark.parametrize(
    ("ecosystem", "mode", "minimum"),
    [
        ("pip", "verified", "EQUIVALENT"),
        ("maven", "verified", "EQUIVALENT"),
        ("conan", "verified", "EQUIVALENT"),
        ("oci", "verified+witnessed", "WITNESSED"),
        ("other", "verified", "EQUIVALENT"),
    ],
)
def test_the_defaults_ask_for_what_was_rebuilt_and_of_images_for_what_was_seen(ecosystem, mode, minimum):
    found = policy().of(ecosystem)
    assert (found.mode, found.minimum, found.proxied, found.max_head_age_s) == (mode, minimum, False, 600)
    assert modes.mode_of(policy(), ecosystem) == mode


def test_a_mode_is_a_preset_that_single_keys_override():
    found = policy('[pip]\nmode = "proxy"\nminimum = "REPRODUCED"\n[maven]\nmode = "verified+witnessed"\n')
    assert (found.of("pip").proxied, found.of("pip").minimum) == (True, "REPRODUCED")
    assert (found.of("maven").minimum, found.of("maven").origins["minimum"]) == (
        "WITNESSED",
        "mode verified+witnessed",
    )
    assert found.of("conan").minimum == "EQUIVALENT"


def test_a_section_overrides_what_all_says_but_never_takes_a_denial_away():
    found = policy('[all]\nagreeing = 3\ndeny = ["pkg:pypi/a"]\n[pip]\nagreeing = 2\ndeny = ["pkg:pypi/b"]\n')
    pip, maven = found.of("pip"), found.of("maven")
    assert (pip.agreeing, pip.origins["agreeing"]) == (2, "[pip]")
    assert (maven.agreeing, maven.origins["agreeing"]) == (3, "[all]")
    assert [glob.pattern for glob in pip.deny] == ["pkg:pypi/a", "pkg:pypi/b"]
    assert pip.origins["deny"] == "[all] and [pip]"
    assert policy('[all]\ndeny = ["*"]\n[pip]\ndeny = []\n').of("pip").deny


@pytest.mark.parametrize(
    "one", ["CVE-2026-1", "GHSA-aaaa-bbbb-cccc", "demo-1", "PYSEC-2026-1", "RUSTSEC-1", "x"]
)
def test_an_id_as_its_database_writes_it_is_accepted(one):
    found = policy(f'[all]\naccept = [{{ advisory = "{one}", until = 2027-01-01, reason = "x" }}]')
    assert one in found.of("pip").accepted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[pip]\nmode = 3", "pip.mode: a text in quotes is expected"),
        ('[pip]\nmode = "fast"', "pip.mode: 'fast' is none of verified, "),
        ("[pip]\nseverity = 7", "there is no key pip.severity"),
        ("[npm]\nagreeing = 2", "there is no key npm"),
        ('[all]\nmax_severity = "hihg"', "'hihg' is none of none, low, medium, high, critical, any"),
        ('[pip]\nupstream = ["same"]', "[0]: 'same' is none of identical, equivalent, "),
        ('[[rule]]\npackages = ["*"]\nsbom = "yes"', "line 3: rule[0].sbom: 'yes' is none of any, required"),
        (
            '[all]\naccept = [{advisory = "A", until = "soon", reason = "x"}]',
            "it is no date; write one as in",
        ),
        *(
            (
                f'[all]\naccept = [\n{{ advisory = "{one}", until = 2027-01-01, reason = "x" }}]',
                f"line 3: [all] accept.advisory: '{one}': {why}",
            )
            for one, why in (
                ("CVE-*", "an advisory is accepted by its whole id"),
                ("CVE-2026-?", "an advisory is accepted by its whole id"),
                ("cve-1", "its database writes CVE-..."),
                ("ghsa-aaaa-bbbb-cccc", "its database writes GHSA-..."),
                ("Cve-2026-1", "its database writes CVE-..."),
            )
        ),
        ("[all]\nagreeing = 2\nmode = verified", "line 3: "),
        ("agreeing = 2", "there is no key agreeing"),
        ("[all]\nagreeing = 0", "all.agreeing: "),
        ("[all]\nagreeing = true", "all.agreeing: "),
        ("[all]\nagreeing = 2.0", "all.agreeing: "),
        ("[all]\nupstream = []", "all.upstream: "),
        ('[all]\nbuilders = ["short"]', "all.builders"),
        (f'[all]\nbuilders = ["{"a" * 52}\\n"]', "all.builders"),
        ("[all]\nmin_age_days = -1", "all.min_age_days: "),
        ("[all]\nmin_age_days = 2026-01-01", "all.min_age_days: "),
        ("[all]\nmax_proof_age_days = 0", "all.max_proof_age_days: "),
        ('[all]\ndeny = ["idna"]', "[all] deny: 'idna': "),
        ('[all]\ndeny = ["pkg:pypi/Foo*"]', "matches nothing"),
        ('[all]\ndeny = ["pkg:pypi/foo_bar"]', "canonical"),
        *(
            (f'[all]\ndeny = ["{one}"]', "matches nothing")
            for one in (
                "pkg:PYPI/evil*",
                "pkg:pip/evil*",
                "pkg:oci/alpine*",
                "pkg:npm/*",
                "pkg:pypi//evil*",
                "pkg:pypi/evil?v=1*",
                "pkg:maven/org.acme:lib*",
                "pkg:maven/a/b/c*",
                "pkg:conan/Zlib*",
                "pkg:conan/zlib+x*",
                "pkg:docker/alpine:3*",
                "pkg:docker/docker.io/library/alpine*",
                "pkg:docker/Team/*",
                "pkg:conan/*%2b",
            )
        ),
        ('[all]\ndeny = ["pkg:pypi/a@>=3"]', "not by comparison"),
        ('[all]\ndeny = ["pkg:' + "*a" * 17 + '"]', "stars"),
        ("[all]\ndeny = [" + '"*",' * (MAX_GLOBS.value + 1) + "]", "all.deny: "),
        ("[all]\nagreeing = " + "9" * 5_000, "nobody can read"),
        ("x = " + "[" * 90_000, "nested too deeply"),
        ("[all", "at its end: "),
        ("#" * (MAX_POLICY_BYTES.value + 1), "are the most"),
    ],
)
def test_what_is_no_policy_is_refused_with_file_and_key(text, told):
    with pytest.raises(Refusal) as caught:
        policy(text)
    assert (caught.value.code, caught.value.who) == ("config-invalid", "policy.toml")
    assert told in caught.value.what
    assert len(caught.value.what) < 600


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(Refusal, match="UTF-8"):
        parse(b"[all]\n# \xff", "p")


WORDS = st.sampled_from([
    "[all]", "[pip]", "[oci]", "[[pip]]", "mode", "deny", "allow", "=", '"proxy"', "[", "]", "{", "}", '"*"', "'''",
    '"pkg:pypi/*"', "agreeing", "2", "-1", "inf", "nan", "0x10", "1979-05-27T07:32:00Z", "0000-01-01", "true", ".",
    ",", "\n", "\n", "#", '"\\uD800"', "all.pip", "pip.mode",
])  # fmt: skip


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(WORDS, max_size=24).map(lambda words: " ".join(words).encode()),
    )
)
def test_whatever_a_file_holds_it_is_a_policy_or_a_refusal(raw):
    code = ""
    try:
        assert parse(raw, "p").of("pip").mode in modes.MODES
    except Refusal as refusal:
        code = refusal.code
    assert code in ("", "config-invalid")


@pytest.mark.parametrize(
    "pattern",
    ["*", "*evil*", "pkg:*", "pkg:p*/x", "pkg:pypi/*", "pkg:pypi/a-?@1.*", "pkg:maven/org.Acme/*", "pkg:maven/org.*",
     "pkg:conan/user/channel/zlib*", "pkg:conan/libstdc%2B%2B*", "pkg:docker/ghcr.io/org/*", "pkg:docker/library/*",
     "pkg:docker/docker*", "pkg:generic/*/pypi/x"],
)  # fmt: skip
def test_a_pattern_that_can_match_is_taken(pattern):
    assert policy(f'[all]\ndeny = ["{pattern}"]\n').of("pip").deny[0].pattern == pattern
