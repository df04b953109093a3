"""Facts: whose word stands, whose word replaces it, and which words are no fact at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import entries, views
from pyrsia.ledger.bodies.facts import KINDS, about
from pyrsia.ledger.index import covered
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, every_fact, fact
from tests.reference.ledger import blob

APPLIES = "execution gives another tree"


@pytest.fixture
def world():
    return Governed()


def said(world, body, author=None):
    raw = world.entry(author or world.follower, "fact.add", body)
    world.block(raw)
    return entries.entry_id(raw).hex()


def forced(world, body, author=None):
    return world.forced(world.entry(author or world.follower, "fact.add", body))


def test_every_kind_stands_with_all_its_fields(world):
    sha256 = world.published()
    (request,) = views.recent_requests(world.db.get, 1)
    for kind, body in every_fact().items():
        if kind == "recheck":
            body = {**body, "request": request, "subject": "sha256:" + sha256}
        one = said(world, body)
        record = views.fact(world.db.get, one)
        assert (record["kind"], record["subject"]) == (kind, about(body["subject"]))
        assert (record["id"], record["author"]) == (one, b32(world.follower.public))
    assert set(every_fact()) == set(KINDS)


def test_a_later_word_takes_the_place_of_ones_own_earlier_one(world):
    first = said(world, fact())
    second = said(world, fact(text="better", supersedes=first))
    assert views.fact(world.db.get, first)["by"] == second
    assert "by" not in views.fact(world.db.get, second)
    assert "superseded or withdrawn already" in forced(world, fact(text="again", supersedes=first))
    third = said(world, fact(text="taken back", supersedes=second, withdrawn=True))
    assert views.fact(world.db.get, second)["by"] == third
    assert views.fact(world.db.get, third) is None  # nothing stands there that could be superseded


def test_nobody_speaks_for_another(world):
    first = said(world, fact())
    for extra in ({}, {"withdrawn": True}):
        body = fact(supersedes=first, **extra)
        assert "only its own author" in forced(world, body, world.nodes[0])
        raw = world.entry(world.nodes[0], "fact.add", body)
        with pytest.raises(Refusal, match="only its own author"):
            world.chain.mempool.add(raw, world.time, world.db.get)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"subject": "pkg:pypi/other@1.0"}, "another subject"),
        ({"subject": "sha256:" + "ab" * 32}, "another subject"),
        ({"kind": "review"}, "another kind"),
        ({"supersedes": "ab" * 32}, "no such earlier fact"),
    ],
)
def test_a_word_replaces_one_of_its_own_kind_and_subject(world, changes, why):
    """Else a package's history would not show that one of its facts no longer holds."""
    first = said(world, fact())
    assert why in forced(world, fact(**{"supersedes": first, **changes}))


def test_versions_of_one_package_are_one_subject(world):
    first = said(world, fact(subject="pkg:pypi/idna@1.0"))
    assert APPLIES in forced(world, fact(subject="pkg:pypi/idna@1.1", supersedes=first))
    assert APPLIES in forced(world, fact(subject="pkg:pypi/idna", supersedes=first))


def test_a_withdrawal_needs_none_of_its_kinds_fields_and_takes_none(world):
    first = said(world, every_fact()["advisory"])
    withdrawn = fact("advisory", "pkg:pypi/idna", supersedes=first, withdrawn=True)
    assert APPLIES in forced(world, withdrawn)
    with pytest.raises(ValueError, match="not allowed: severity"):
        world.entry(world.follower, "fact.add", {**withdrawn, "severity": "low"})


def test_an_earlier_fact_may_stand_in_the_same_block(world):
    first = world.entry(world.follower, "fact.add", fact())
    second = world.entry(
        world.follower, "fact.add", fact(supersedes=entries.entry_id(first).hex(), withdrawn=True)
    )
    assert "no such earlier fact" in world.forced(second, first)
    world.block(first, second)
    assert views.fact(world.db.get, entries.entry_id(first).hex())["by"] == entries.entry_id(second).hex()


def test_facts_share_keys_and_each_is_found_in_its_list(world):
    """A block of many: lists of 64 under the state root, and nothing of it for each fact."""
    raws = [world.entry(world.nodes[at % 2], "fact.add", fact(text=str(at))) for at in range(150)]
    before = set(world.db)
    world.block(*raws)
    mine = {name for name in set(world.db) - before if covered(name) and b"fact" in name}
    assert len(mine) == 3
    for raw in raws:
        entry = entries.parse(raw)
        assert views.fact(world.db.get, entry.id.hex())["author"] == b32(entry.author)
    assert views.fact(world.db.get, "ab" * 32) is None
    last = entries.parse(raws[-1])
    assert APPLIES in forced(world, fact(supersedes=last.id.hex()), world.nodes[1])


def test_a_blob_that_a_fact_names_is_kept_like_any_other(world):
    named = blob("a long text")
    raw = world.entry(world.follower, "fact.add", fact(blob=named))
    assert list(entries.manifests(raw)) == [bytes.fromhex(named["manifest"])]


FIELDS = sorted(
    {name for must, may in KINDS.values() for name in (*must, *may)} | {"range", "blob", "withdrawn"}
)


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sets(st.sampled_from(FIELDS), max_size=4),
    st.sets(st.sampled_from(FIELDS)),
)
def test_a_fact_has_exactly_the_fields_of_its_kind(kind, added, dropped):
    """Against the table read the plain way: those it must have, those it may have, and none else."""
    samples = {name: value for body in every_fact().values() for name, value in body.items()}
    samples["withdrawn"] = samples["self"] = True
    body = {name: value for name, value in every_fact()[kind].items() if name not in dropped}
    body = {**{name: samples[name] for name in added}, **body}
    must, may = KINDS[kind]
    own = body.keys() - {"kind", "subject", "text", "valid_from"}
    allowed = {*must, *may, "blob", "range", "supersedes"}
    fits = own <= allowed and must.keys() <= own and "withdrawn" not in own
    if fits and "range" in own and "@" in body["subject"] + "@" * body["subject"].startswith("sha256:"):
        fits = False
    if kind == "recheck" and "self" in own:
        fits = False  # its own build's words are others
    if "outcome" in added and body["outcome"] is samples["outcome"] and fits:
        return  # another kind's word for an outcome: a matter of the value, not of the fields
    try:
        entries.AUTHORED["fact.add"](body)
    except Malformed:
        assert not fits
    else:
        assert fits


def test_no_value_is_canonical_by_chance():
    for body in every_fact().values():
        assert canonical.decode(canonical.encode(body)) == body
