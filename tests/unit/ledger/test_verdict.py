"""The verdict against an oracle that tries every set, and each rule alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.ledger import verdict
from pyrsia.wire.text import b32
from tests.reference import verdict as oracle
from tests.reference.ledger import blob, file_record

LOCK, ENVIRONMENT = blob("lock")["sha256"], "host:e"
NODES = ["a", "b", "c", "d", "e"]


def output(
    raw="raw", canonical="canonical", stable="stable", name="x.whl", upstream=None, relation="none", **more
):
    made = {
        "canonical": file_record(canonical),
        "containment": "full",
        "name": name,
        "normalised": [],
        "raw": file_record(raw),
        "stable": blob(stable)["sha256"],
        "upstream_relation": relation,
        **more,
    }
    if upstream is not None:
        made["upstream"] = file_record(upstream)
    return made


def reveal(*outputs, **changes):
    return {
        "environment": ENVIRONMENT,
        "isolation": "namespace",
        "lock_sha256": LOCK,
        "outcome": "built",
        "outputs": list(outputs) or [output()],
        "phase": "",
        "source": "registry",
        **changes,
    }


def failed(phase="build", **changes):
    return reveal(outcome="failed", phase=phase, **changes) | {"outputs": []}


def rules(agreeing=2, operators=NODES, min_isolation="namespace", **more):
    return verdict.Rules(
        agreeing=agreeing,
        lock_sha256=LOCK,
        environment=ENVIRONMENT,
        min_isolation=min_isolation,
        operator_of=dict(zip(NODES, operators, strict=False)),
        **more,
    )


def decide(*reveals, **changes):
    """The verdict over a, b, c...; None is silence."""
    builders = NODES[: len(reveals)]
    said = {node: body for node, body in zip(builders, reveals, strict=True) if body is not None}
    return verdict.decide(builders, said, rules(**changes))


WORDS = st.sampled_from("pq")
OUTPUTS = st.builds(
    output,
    raw=WORDS,
    canonical=WORDS,
    stable=WORDS,
    name=st.sampled_from(["x.whl", "x.whl", "y.whl", "z.whl"]),
    upstream=st.none() | WORDS,
    containment=st.sampled_from(["none", "partial", "full"]),
)


@st.composite
def reveals_of_one(draw):
    kind = draw(st.sampled_from(["silent", "failed", *["built"] * 6]))
    if kind == "silent":
        return None
    changes = {}
    if draw(st.integers(0, 5)) == 0:
        name, value = draw(
            st.sampled_from(
                [
                    ("lock_sha256", "00" * 32),
                    ("environment", "host:f"),
                    ("isolation", "confined"),
                    ("source", "claimed"),
                    ("source", "mapping"),
                ]
            )
        )
        changes[name] = value
    if kind == "failed":
        return failed(draw(st.sampled_from(["build", "lock-mismatch", "prefetch"])), **changes)
    outs = draw(st.lists(OUTPUTS, min_size=1, max_size=3, unique_by=lambda out: out["name"]))
    for out in outs:
        if "upstream" in out:
            out["upstream_relation"] = draw(st.sampled_from(["identical", "equivalent", "different"]))
    return reveal(*outs, **changes)


KINDS_OF_REQUEST = [
    {},
    {"sources": ("mapping",)},
    {"sources": ("claimed", "mapping", "registry")},
    {"sources": ("registry",), "witness": True},
]


@settings(max_examples=300)
@given(st.data())
def test_verdict_agreeing_and_served_file_are_the_oracles(data):
    said = data.draw(st.lists(reveals_of_one(), min_size=3, max_size=5))
    agreeing = data.draw(st.integers(len(said) // 2 + 1, len(said)))
    operators = data.draw(st.lists(st.sampled_from("xyz"), min_size=5, max_size=5))
    changes = {
        "agreeing": agreeing,
        "operators": operators,
        "min_isolation": data.draw(st.sampled_from(oracle.ORDER)),
        **data.draw(st.sampled_from(KINDS_OF_REQUEST)),
    }
    builders = NODES[: len(said)]
    reveals = {node: body for node, body in zip(builders, said, strict=True) if body is not None}

    outcome = decide(*said, **changes)

    assert (outcome.verdict, outcome.agreeing, outcome.silent) == oracle.decide(
        builders, reveals, rules(**changes)
    )
    named = {node for node, _ in outcome.dissenting}
    assert named | {*outcome.agreeing, *outcome.silent} == {*builders}
    assert len(named) + len(outcome.agreeing) + len(outcome.silent) == len(builders)
    assert all(why for _, why in outcome.dissenting)
    if outcome.verdict in ("REPRODUCED", "EQUIVALENT", "WITNESSED"):
        winners = [reveals[node] for node in outcome.agreeing]
        assert [
            (one["file"], one["served"], one["sha256"], one["verdict"], one["upstream"], one["containment"])
            for one in outcome.served
        ] == oracle.served(outcome.verdict, winners, rules(**changes))
        assert {one["source"] for one in outcome.served} == {oracle.source(winners)}
    else:
        assert outcome.served == ()


@settings(max_examples=100)
@given(st.lists(reveals_of_one(), min_size=3, max_size=5), st.randoms())
def test_the_order_in_which_reveals_came_does_not_matter(said, rng):
    builders = NODES[: len(said)]
    pairs = [(node, body) for node, body in zip(builders, said, strict=True) if body is not None]
    shuffled = pairs[:]
    rng.shuffle(shuffled)
    asked = rules(agreeing=len(said) // 2 + 1)

    assert verdict.decide(builders, dict(pairs), asked) == verdict.decide(builders, dict(shuffled), asked)


def test_equal_raw_bytes_reproduce_and_are_served():
    outcome = decide(reveal(), reveal(), reveal())

    assert (outcome.verdict, outcome.agreeing) == ("REPRODUCED", ("a", "b", "c"))
    assert (outcome.served[0]["served"], outcome.served[0]["verdict"]) == ("raw", "REPRODUCED")


def test_equal_after_normalising_is_equivalent_and_the_rewrite_is_served():
    outcome = decide(reveal(output(raw=1)), reveal(output(raw=2)), reveal(output(raw=3)))

    assert (outcome.verdict, outcome.agreeing) == ("EQUIVALENT", ("a", "b", "c"))
    assert outcome.served[0]["sha256"] == file_record("canonical")["sha256"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (reveal(output(raw=1)), "other raw bytes, equal after normalising"),
        (reveal(output(raw=1, canonical=1)), "other contents"),
        (reveal(output(stable=1)), "other contents"),
        (reveal(output(name="z.whl")), "other file names"),
        (reveal(output(), output(name="z.whl")), "other file names"),
        (failed(), "failed in build"),
        (failed("lock-mismatch"), "lock-mismatch: its resolver gave another lock"),
        (reveal(lock_sha256="00" * 32), "another lock than the request's"),
        (reveal(environment="host:f"), "another environment than the recipe's"),
        (reveal(isolation="confined"), "isolation confined is below namespace"),
        (reveal(source="claimed"), "did not obtain the source itself"),
    ],
)
def test_a_dissenter_is_named_with_what_differs(other, why):
    outcome = decide(other, reveal(), reveal())

    assert outcome.verdict == "REPRODUCED"
    assert outcome.agreeing == ("b", "c")
    assert outcome.dissenting == (("a", why),)


@pytest.mark.parametrize(
    "change",
    [{"lock_sha256": "00" * 32}, {"environment": "host:f"}, {"isolation": "confined"}, {"source": "claimed"}],
)
def test_reveals_that_cannot_count_publish_nothing_even_if_all_say_the_same(change):
    outcome = decide(*[reveal(**change)] * 3)

    assert (outcome.verdict, outcome.served) == ("INSUFFICIENT", ())
    assert len(outcome.dissenting) == 3


def test_one_sound_reveal_beside_two_that_cannot_count_is_not_enough():
    outcome = decide(reveal(), reveal(source="claimed"), reveal(source="claimed"))

    assert (outcome.verdict, outcome.served) == ("INSUFFICIENT", ())


def test_confined_counts_where_the_network_admits_it_and_namespace_counts_everywhere():
    outcome = decide(reveal(isolation="confined"), reveal(), None, min_isolation="confined")

    assert (outcome.verdict, outcome.silent) == ("REPRODUCED", ("c",))


def test_a_lock_that_nobody_reproduces_fails_and_publishes_nothing():
    outcome = decide(failed("lock-mismatch"), failed("lock-mismatch"), reveal())

    assert (outcome.verdict, outcome.agreeing, outcome.served) == ("FAILED", ("a", "b"), ())
    assert outcome.dissenting == (("c", "built something else"),)


def test_failures_in_different_phases_are_no_agreement():
    assert decide(failed("build"), failed("prefetch"), None).verdict == "DIVERGED"


def test_one_operator_alone_agrees_with_nobody():
    outcome = decide(reveal(), reveal(), None, operators=["same", "same", "other"])

    assert (outcome.verdict, outcome.agreeing, outcome.served) == ("INSUFFICIENT", (), ())


def test_silence_counts_in_the_denominator():
    assert decide(reveal(), None, None).verdict == "INSUFFICIENT"
    assert decide(None, None, None).silent == ("a", "b", "c")


def test_all_outputs_count_at_once_in_whatever_order_they_were_listed():
    one, two = output(name="x.whl"), output(raw=5, name="y.whl")
    outcome = decide(reveal(one, two), reveal(two, one), reveal(one, output(raw=6, name="y.whl")))

    assert (outcome.verdict, outcome.agreeing) == ("REPRODUCED", ("a", "b"))
    assert outcome.served[0]["file"] == "x.whl"


@pytest.mark.parametrize("field", ["members", "metadata", "manifest", "size"])
def test_no_winner_can_slip_in_another_record_for_the_same_bytes(field):
    forged = output()
    forged["raw"] = {**forged["raw"], field: blob("forged") if field in ("members", "metadata") else 7}
    outcome = decide(reveal(forged), reveal(), reveal())

    assert outcome.agreeing == ("b", "c")
    assert outcome.served[0][field] == file_record("raw")[field]


def test_requires_python_comes_from_the_compared_record_alone():
    lying = output(requires_python=">=99")
    outcome = decide(reveal(lying), reveal(), reveal())
    assert outcome.agreeing == ("a", "b", "c")
    assert "requires_python" not in outcome.served[0]

    told = output()
    told["raw"] = {**told["raw"], "requires_python": ">=3.8"}
    assert decide(reveal(told), reveal(told), None).served[0]["requires_python"] == ">=3.8"


def test_upstreams_bytes_are_served_where_enough_winners_name_them():
    mine = output(upstream="up", relation="equivalent")
    outcome = decide(reveal(mine), reveal(mine), reveal())

    assert outcome.verdict == "REPRODUCED"  # what was built
    assert outcome.served[0]["verdict"] == "EQUIVALENT"  # what is served: nobody produced those bytes
    assert (outcome.served[0]["served"], outcome.served[0]["upstream"]) == ("upstream", "equivalent")
    assert outcome.served[0]["sha256"] == file_record("up")["sha256"]


def test_identical_is_believed_only_of_raw_bytes_that_are_upstreams():
    honest = output(upstream="raw", relation="identical")
    assert decide(*[reveal(honest)] * 3).served[0]["upstream"] == "identical"

    boasting = output(upstream="up", relation="identical")
    served = decide(*[reveal(boasting)] * 3).served[0]
    assert (served["upstream"], served["verdict"]) == ("equivalent", "EQUIVALENT")


@pytest.mark.parametrize(
    ("relations", "told"),
    [
        ([("up", "equivalent"), ("other", "equivalent"), (None, "none")], "none"),
        ([("up", "equivalent"), ("up", "different"), ("up", "different")], "different"),
        ([("up", "identical"), ("up", "different"), (None, "none")], "none"),
    ],
)
def test_without_enough_names_for_one_upstream_file_our_own_is_served(relations, told):
    said = [reveal(output(upstream=word, relation=relation)) for word, relation in relations]
    served = decide(*said).served[0]

    assert (served["served"], served["upstream"]) == ("raw", told)


def test_the_weakest_containment_of_the_winners_is_told():
    said = [reveal(output(containment=word)) for word in ("full", "partial", "none")]
    assert decide(*said).served[0]["containment"] == "none"
    assert decide(said[0], said[1], None).served[0]["containment"] == "partial"


def test_a_source_is_mapped_only_if_every_winner_says_so():
    mapped = reveal(source="mapping")
    assert decide(mapped, mapped, mapped).served[0]["source"] == "mapping"
    assert decide(mapped, mapped, reveal()).served[0]["source"] == "registry"


def test_a_phase_of_strangers_text_is_cut_where_it_is_told():
    outcome = decide(failed("x" * 60), reveal(), reveal())
    assert outcome.dissenting == (("a", "failed in " + "x" * 60),)


# -- the rules of one request --

REQUEST = {
    "ecosystem": "pip",
    "lock": blob("lock"),
    "purl": "pkg:pypi/idna@1.0",
    "recipe": {"environment": ENVIRONMENT},
    "source": {"sha256": "00" * 32},
}
DRAW = {"agreeing": 2, "builders": ["a", "b"], "min_isolation": "confined", "operators": ["x", "y"]}
OWN = f"pkg:generic/{b32(bytes(32))}/pypi/idna@1.0"


@pytest.mark.parametrize(
    ("changes", "sources", "witness"),
    [
        ({}, {"mapping", "registry"}, False),
        ({"source": {"git": {}, "sha256": "00" * 32}}, {"mapping"}, False),
        ({"ecosystem": "witness"}, {"registry"}, True),
        ({"purl": OWN}, {"claimed", "mapping", "registry"}, False),
        (
            {"purl": OWN, "source": {"git": {}, "sha256": "00" * 32}},
            {"claimed", "mapping", "registry"},
            False,
        ),
        ({"purl": "pkg:generic/x/pypi/idna@1.0"}, {"mapping", "registry"}, False),
    ],
)
def test_what_counts_for_a_request_is_said_by_its_name_and_source(changes, sources, witness):
    found = verdict.Rules.of({**REQUEST, **changes}, DRAW)
    assert (set(found.sources), found.witness) == (sources, witness)
    assert (found.agreeing, found.lock_sha256, found.environment) == (2, LOCK, ENVIRONMENT)
    assert (found.min_isolation, found.operator_of) == ("confined", {"a": "x", "b": "y"})


# -- witnesses --

SEEN = {"sources": ("registry",), "witness": True}


def test_what_is_seen_alike_is_witnessed_and_never_reproduced_even_if_all_call_it_identical():
    mine = output(upstream="raw", relation="identical")
    outcome = decide(*[reveal(mine)] * 3, **SEEN)
    assert (outcome.verdict, outcome.served[0]["verdict"]) == ("WITNESSED", "WITNESSED")
    assert (outcome.served[0]["served"], outcome.served[0]["containment"]) == ("upstream", "none")


def test_equal_after_normalising_is_nothing_that_was_seen():
    outcome = decide(*[reveal(output(raw=at)) for at in range(3)], **SEEN)
    assert (outcome.verdict, outcome.served) == ("DIVERGED", ())


def test_a_witness_that_saw_other_bytes_of_one_file_is_named_with_the_file():
    files = [output(name="a.jar"), output(name="b.pom")]
    other = [files[0], output(raw="another", name="b.pom")]
    outcome = decide(reveal(*other), reveal(*files), reveal(*files), **SEEN)
    assert (outcome.agreeing, outcome.dissenting) == (("b", "c"), (("a", "other contents of b.pom"),))


# -- several files --


def test_the_files_that_differ_are_counted_and_the_first_is_named():
    files = [output(name=f"{at}.jar") for at in range(4)]
    other = [files[0], *[output(canonical="x", raw="x", name=f"{at}.jar") for at in range(1, 4)]]
    outcome = decide(reveal(*other), reveal(*files), reveal(*files))
    assert outcome.dissenting == (("a", "other contents of 1.jar, and 2 more"),)


@settings(max_examples=30)
@given(st.text("ab.~", min_size=1, max_size=200), st.integers(2, 32))
def test_a_reason_never_outgrows_its_field(name, count):
    files = [output(name=f"x{name}{at}"[-200:]) for at in range(count)]
    other = [{**one, "stable": "00" * 32} for one in files]
    ((_, why),) = decide(reveal(*other), reveal(*files), reveal(*files)).dissenting
    assert 0 < len(why.encode()) <= 200


def test_metadata_is_told_where_there_is_some_and_only_then():
    plain = output(name="a.jar")
    plain["raw"] = {name: value for name, value in plain["raw"].items() if name != "metadata"}
    outcome = decide(*[reveal(plain, output(name="b.whl"))] * 3)
    assert ["metadata" in one for one in outcome.served] == [False, True]


def test_the_weakest_source_of_those_that_agree_is_told():
    ways = {"sources": ("claimed", "mapping", "registry")}
    for said, told in (
        (["mapping"] * 3, "mapping"),
        (["mapping", "registry", "mapping"], "registry"),
        (["mapping", "registry", "claimed"], "claimed"),
    ):
        outcome = decide(*[reveal(source=one) for one in said], **ways)
        assert outcome.served[0]["source"] == told
