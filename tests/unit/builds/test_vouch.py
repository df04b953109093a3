"""What agreeing builders sign together: read by other tools, the same bytes for all, and never too much."""

import base64
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.builds import dsse, vouch
from pyrsia.builds.vouch import Judged
from pyrsia.errors import Malformed

BUILDERS = tuple(name * 52 for name in "abc")
PAIRS = {name: keys.KeyPair(bytes((at + 1,)) * 32) for at, name in enumerate(BUILDERS)}
RAW, UPSTREAM, STABLE = "11" * 32, "22" * 32, "33" * 32


def judged(verdict="REPRODUCED", upstream="none", served=RAW, **request) -> Judged:
    output = {"name": "thing-1.0-py3-none-any.whl", "raw": {"sha256": RAW}, "stable": STABLE}
    reveals = {one: {"attestation": f"envelope of {one}", "outputs": [output]} for one in BUILDERS[:2]}
    return Judged(
        network="n" * 52,
        artifact={
            "agreeing": list(BUILDERS[:2]),
            "file": "thing-1.0-py3-none-any.whl",
            "purl": "pkg:pypi/thing@1.0",
            "sha256": served,
            "time_ms": 1_795_000_000_123,
            "upstream": upstream,
            "verdict": verdict,
        },
        request_id="00" * 32,
        request={"recipe": {"normaliser": "wheel@1"}, **request},
        draw={"agreeing": 2, "builders": list(BUILDERS), "min_isolation": "namespace"},
        reveals=reveals,
    )


def signed(payload, names=BUILDERS):
    pairs = [PAIRS[name] for name in names]
    return dsse.envelope(
        payload, [(pair.public.hex(), pair.sign(dsse.signed_text(payload))) for pair in pairs]
    )


def public(names):
    return [PAIRS[name].public for name in names]


def test_a_summary_says_reproduced_by_which_rule_and_from_which_provenance():
    said = json.loads(vouch.vsa(judged()))
    predicate = said["predicate"]
    assert said["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert said["subject"] == [{"digest": {"sha256": RAW}, "name": "thing-1.0-py3-none-any.whl"}]
    assert predicate["verifiedLevels"] == ["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_REPRODUCED"]
    assert (predicate["verificationResult"], predicate["resourceUri"]) == ("PASSED", "pkg:pypi/thing@1.0")
    assert len(predicate["inputAttestations"]) == 2
    assert predicate["timeVerified"] == "2026-11-18T11:06:40Z"


def test_a_summary_has_every_field_that_slsa_requires_and_none_that_it_does_not_know():
    """The schema of SLSA verification summary v1, written out: the published protobuf has the levels wrong."""
    predicate = json.loads(vouch.vsa(judged()))["predicate"]
    needed = {"verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"}
    known = needed | {"inputAttestations", "dependencyLevels", "slsaVersion"}
    assert needed <= set(predicate) <= known
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", predicate["timeVerified"])
    for one in (predicate["policy"], *predicate["inputAttestations"]):
        assert set(one) == {"uri", "digest"}
        assert re.fullmatch("[0-9a-f]{64}", one["digest"]["sha256"])


@pytest.mark.parametrize("verdict", ["EQUIVALENT", "WITNESSED"])
def test_only_what_was_reproduced_has_a_summary(verdict):
    assert vouch.vsa(judged(verdict)) is None
    assert "vsa" not in vouch.statements(judged(verdict))


@pytest.mark.parametrize(("relation", "served"), [("identical", RAW), ("equivalent", UPSTREAM)])
def test_the_statement_about_upstream_names_both_files_and_the_stable_form(relation, served):
    said = json.loads(vouch.equivalence(judged("EQUIVALENT", relation, served)))
    definition = said["predicate"]["buildDefinition"]
    assert said["subject"][0]["digest"]["sha256"] == served
    assert definition["externalParameters"] == {
        "candidate": "rebuild/thing-1.0-py3-none-any.whl",
        "target": "pkg:pypi/thing@1.0",
    }
    assert [one["digest"]["sha256"] for one in definition["resolvedDependencies"]] == [RAW, served]
    assert said["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"] == STABLE


@pytest.mark.parametrize("relation", ["none", "different"])
def test_nothing_is_said_about_an_upstream_that_is_not_the_same(relation):
    assert vouch.equivalence(judged(upstream=relation)) is None


@pytest.mark.parametrize("kind", vouch.KINDS)
def test_other_people_s_tools_accept_statement_envelope_and_threshold(kind):
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    payload = vouch.statements(judged(upstream="identical"))[kind]
    read = Statement.copy_from_pb(Parse(payload, statement_pb2.Statement()))
    read.validate()
    trusted = [
        SSlibKey(pair.public.hex(), "ed25519", "ed25519", {"public": pair.public.hex()})
        for pair in PAIRS.values()
    ]
    outer = Envelope.from_dict(json.loads(signed(payload, BUILDERS[:2])))
    assert len(outer.verify(trusted, 2)) == 2
    with pytest.raises(VerificationError):
        outer.verify(trusted, 3)


def test_the_statement_about_upstream_is_provenance_that_other_people_s_tools_read():
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

    predicate = json.loads(vouch.equivalence(judged(upstream="identical")))["predicate"]
    read = ParseDict(predicate, provenance_pb2.Provenance())
    assert read.build_definition.build_type == vouch.EQUIVALENCE_TYPE


@given(who=st.lists(st.sampled_from(BUILDERS), max_size=6), trusted=st.sets(st.sampled_from(BUILDERS)))
@settings(max_examples=60, deadline=None)
def test_the_lie_one_builder_that_signs_often_counts_once(who, trusted):
    payload, least = vouch.vsa(judged()), 2
    text = signed(payload, who)
    honest = set(who) & trusted
    if len(honest) >= least:
        assert set(dsse.opened(text, public(sorted(trusted)), keys.verify, least=least)[1]) == set(
            public(honest)
        )
    else:
        with pytest.raises(Malformed):
            dsse.opened(text, public(sorted(trusted)), keys.verify, least=least)


@given(at=st.integers(0, 4_000), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_the_lie_a_changed_statement_has_no_signatures(at, flip):
    outer = json.loads(signed(vouch.vsa(judged())))
    payload = bytearray(base64.b64decode(outer["payload"]))
    payload[at % len(payload)] ^= flip
    outer["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(Malformed, match="0 of the trusted keys"):
        dsse.opened(json.dumps(outer), public(BUILDERS), keys.verify, least=2)


def test_no_statement_names_an_index_a_host_or_a_path():
    made = vouch.statements(judged(upstream="identical"))
    assert set(made) == {"equivalence", "vsa"}
    for text in made.values():
        urls = re.findall(r"[a-z]+://[^/\"]+", text.decode())
        assert set(urls) <= {"https://pyrsia.io", "https://slsa.dev", "https://in-toto.io"}
        assert not re.search(r'"/|"file:|@[a-z]+\.[a-z]', text.decode())
