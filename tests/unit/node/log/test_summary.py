"""One line for every leaf that a log can hold, harmless whatever strangers wrote into it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.ledger import entries
from pyrsia.node.log.summary import summary
from pyrsia.wire import canonical
from pyrsia.wire.text import b32, safe
from tests.reference.ledger import World, make_genesis
from tests.reference.story import Story

EVIL = "\x1b[31mred\x07\u202egnp.exe\u2066\r\nline\x9b2J"


def names_of(world):
    return {member.text: member.name for member in world.genesis.members}


def test_every_leaf_of_a_whole_build_has_its_line():
    story = Story(dissenter=True)
    names = names_of(story.world)
    told = [summary(i, leaf, names) for i, leaf in enumerate(story.world.leaves)]
    assert [one.index for one in told] == list(range(story.size))
    by_kind = {one.kind: one.summary for one in told}
    assert by_kind["network.genesis"] == "test, 5 members"
    assert by_kind["build.request"] == "pkg:pypi/idna@1.0 from idna.tar.gz by node 4"
    assert "REPRODUCED" in by_kind["build.verdict"]
    assert "against node" in by_kind["build.verdict"]
    assert by_kind["artifact.add"].startswith("idna-1.0-py3-none-any.whl sha256:")
    assert by_kind["block.seal"].startswith("block ")
    assert {one.kind for one in told} == set(by_kind)
    assert all(one.summary and one.kind != "unreadable" for one in told)


def test_a_strangers_control_characters_never_leave_here_raw():
    world = World()
    body = {"kind": "review", "subject": "pkg:pypi/y", "text": EVIL * 9, "valid_from": 1}
    told = summary(3, world.entry(world.follower, "fact.add", body), names_of(world))
    assert told.summary == safe(told.summary)
    assert "\\x1b[31m" in told.summary
    assert "\n" not in told.summary


def test_a_name_that_the_caller_has_from_elsewhere_is_neutralised_too():
    world = World()
    body = {"kind": "review", "subject": "pkg:pypi/y", "text": "", "valid_from": 1}
    raw = world.entry(world.follower, "fact.add", body)
    told = summary(3, raw, {b32(world.follower.public): EVIL})
    assert told.summary.endswith(f"by {safe(EVIL)}")
    assert summary(3, raw, {}).summary.endswith(f"by {b32(world.follower.public)[:8]}")


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"\x1b[31m",
        b"{}",
        canonical.encode({"body": {}, "type": "network.genesis", "v": 1}),
        canonical.encode({"body": {"name": 1, "members": 2}, "type": "network.genesis", "v": 1}),
        canonical.encode(
            {"body": {"name": "x", "members": [], "time_ms": "soon"}, "type": "network.genesis", "v": 1}
        ),
        canonical.encode({"body": {}, "net": "x", "type": "\x1b]0;t\x07", "v": 1}),
    ],
)
def test_what_is_no_entry_is_said_to_be_unreadable(leaf):
    told = summary(9, leaf, {})
    assert (told.index, told.kind) == (9, "unreadable")
    assert told.summary == safe(told.summary)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_admitted_entry_raises(data):
    """Every authored and derived type with every value that its shape takes."""
    node = st.binary(min_size=32, max_size=32).map(b32)
    digest = st.binary(min_size=32, max_size=32).map(bytes.hex)
    text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
    dissent = st.lists(st.fixed_dictionaries({"builder": node, "why": text}), max_size=3)
    nodes = st.lists(node, max_size=4)
    number = st.integers(0, (1 << 53) - 1)
    kinds = {
        "build.draw": {"agreeing": st.integers(1, 100), "beacon": digest, "builders": st.just([b32(bytes(32))]),
                       "commit_deadline": number, "excluded": st.just("one"),
                       "min_isolation": st.sampled_from(("confined", "namespace")), "operators": st.just(["two"]),
                       "request": digest, "reveal_deadline": number, "round": st.integers(0, 1)},
        "build.verdict": {"agreeing": nodes, "dissenting": dissent, "purl": st.just("pkg:pypi/a@1"), "request": digest,
                          "silent": nodes, "source_sha256": digest, "verdict": st.sampled_from(entries.VERDICTS)},
    }  # fmt: skip
    kind = data.draw(st.sampled_from(sorted(kinds)))
    body = data.draw(st.fixed_dictionaries(kinds[kind]))
    leaf = entries.derive(kind, body, net=NET)
    assert entries.parse(leaf).kind == kind
    told = summary(1, leaf, data.draw(st.dictionaries(node, text, max_size=2)))
    assert told.kind == kind
    assert told.summary == safe(told.summary)


NET = entries.parse(World().entry(World().follower, "fact.add", {
    "kind": "review", "subject": "pkg:pypi/y", "text": "", "valid_from": 1})).net  # fmt: skip


def test_a_genesis_is_told_by_name():
    assert summary(0, make_genesis(name="a.b"), {}).summary == "a.b, 5 members"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "advisory of pkg:pypi/idna"),
        ({"text": "fine by me"}, 'advisory of pkg:pypi/idna "fine by me"'),
        ({"withdrawn": True}, "advisory of pkg:pypi/idna taken back"),
    ],
)
def test_a_fact_is_told_so_that_who_said_it_can_stand_behind(more, told):
    world = World()
    fields = {} if "withdrawn" in more else {"advisory": "CVE-1", "severity": "low"}
    gone = {"supersedes": "ab" * 32} if "withdrawn" in more else {}
    body = {
        "kind": "advisory",
        "subject": "pkg:pypi/idna",
        "text": "",
        "valid_from": 1,
        **fields,
        **gone,
        **more,
    }
    line = summary(3, world.entry(world.follower, "fact.add", body), names_of(world)).summary
    assert line.startswith(told + " by ") or line == told
