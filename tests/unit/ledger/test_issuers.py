"""Advisories and VEX are issuers' words; and what an advisory may say beside its ranges."""

import pytest

from pyrsia.errors import Malformed
from pyrsia.ledger import entries, views
from pyrsia.ledger.bodies.facts import ISSUED, KINDS, MAX_TAGS
from pyrsia.ledger.mempool import ACCEPTED
from pyrsia.units import MAX_FACT_RANGES, MAX_FACT_VERSIONS
from tests.reference.governance import Governed, every_fact, fact, member_motion, newcomer
from tests.reference.ledger import key

APPLIES = "execution gives another tree"
WHY = "only a member with the role issuer says"
NEW = key("new", "node")


@pytest.fixture
def world():
    """With a member that is no issuer."""
    world = Governed()
    world.enact(member_motion("member.add", member=newcomer("new", roles=())))
    return world


def entry(world, body, author=NEW):
    return world.entry(author, "fact.add", body)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_only_issuers_say_advisories_and_vex_and_every_member_says_the_rest(world, kind):
    body = every_fact()[kind]
    if kind == "recheck":
        sha256 = world.published()
        (request,) = views.recent_requests(world.db.get, 1)
        body = {**body, "request": request, "subject": "sha256:" + sha256}

    refusal = world.forced(entry(world, body))

    assert (f"{WHY} {kind}s; it can get it by a motion" in refusal) is (kind in ISSUED)
    assert (APPLIES in refusal) is (kind not in ISSUED)
    assert APPLIES in world.forced(entry(world, body, world.follower))


def test_an_advisory_of_who_is_no_issuer_yet_waits_until_it_is_one(world):
    """Its entry is in order, and a motion may come before its time is over: so it is kept, not thrown away."""
    raw = entry(world, every_fact()["advisory"])
    assert world.chain.mempool.add(raw, world.time, world.db.get) == ACCEPTED
    assert WHY in world.forced(raw)

    world.enact(
        member_motion("member.replace", node=newcomer()["node"], member=newcomer("new", roles=("issuer",)))
    )

    assert APPLIES in world.forced(raw)


def test_who_lost_the_role_takes_nothing_back_either(world):
    """Silence about a weakness is as much an issuer's word as the warning was."""
    issuing = newcomer("new", roles=("issuer",))
    world.enact(member_motion("member.replace", node=issuing["node"], member=issuing))
    first = entry(world, every_fact()["advisory"])
    world.block(first)
    gone = fact("advisory", "pkg:pypi/idna", supersedes=entries.entry_id(first).hex(), withdrawn=True)
    assert APPLIES in world.forced(entry(world, gone))

    world.enact(member_motion("member.replace", node=issuing["node"], member=newcomer("new", roles=())))

    assert WHY in world.forced(entry(world, gone))


def test_facts_end_only_what_stands_before_them_so_they_run_in_no_circle(world):
    """A fact's id covers what it supersedes: two that name each other cannot be written, nor one that names itself."""
    first = world.entry(world.follower, "fact.add", fact(supersedes="ab" * 32))
    assert "no such earlier fact" in world.forced(first)
    ids = []
    for text in ("one", "two", "three"):
        raw = world.entry(
            world.follower, "fact.add", fact(text=text, **({"supersedes": ids[-1]} if ids else {}))
        )
        world.block(raw)
        ids.append(entries.entry_id(raw).hex())
    assert [views.fact(world.db.get, one).get("by") for one in ids] == [ids[1], ids[2], None]
    again = world.entry(world.follower, "fact.add", fact(text="four", supersedes=ids[0]))
    assert "superseded or withdrawn already" in world.forced(again)


ADVISORY = every_fact()["advisory"]
MANY = [f"{number:04}" for number in range(MAX_FACT_VERSIONS.value)]
SPAN = {"introduced": "0"}


def check(kind="advisory", **changes):
    body = {**every_fact()[kind], **changes}
    entries.AUTHORED["fact.add"]({name: value for name, value in body.items() if value is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": MANY},
        {"range": [SPAN] * MAX_FACT_RANGES.value},
        {"range": None, "versions": None},
        {"range": None, "versions": ["2004d"]},
        {"modified_ms": 0},
        {"severity": "unknown", "cvss": None},
    ],
)
def test_an_advisory_may_say(changes):
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"versions": []}, "left out when empty"),
        ({"versions": [*MANY, "9999"]}, "."),
        ({"versions": ["1.1", "1.0"]}, "."),
        ({"versions": ["1.0", "1.0"]}, "."),
        ({"versions": ["1" * 101]}, "."),
        ({"versions": ["1.0\n"]}, "."),
        ({"versions": ["é"]}, "."),
        ({"versions": [1]}, "."),
        ({"versions": "1.0"}, "."),
        ({"subject": "pkg:pypi/idna@1.0", "range": None}, "speaks of a purl without a version"),
        ({"subject": "sha256:" + "ab" * 32, "range": None}, "speaks of a purl without a version"),
        ({"range": [SPAN] * (MAX_FACT_RANGES.value + 1)}, "."),
        ({"range": [{"introduced": "0", "fixed": "2", "last": "1"}]}, "not with both"),
        ({"modified_ms": -1}, "."),
        ({"severity": "awful"}, "."),
        ({"severity": None}, "."),
    ],
)
def test_an_advisory_may_not_say(changes, why):
    with pytest.raises(Malformed, match=why):
        check(**changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("description", {"tags": [f"{number:02}" for number in range(MAX_TAGS.value + 1)]}),
        ("description", {"tags": ["b", "a"]}),
        ("description", {"json": ""}),
        ("description", {"homepage": "a\nb"}),
        ("review", {"rating": "superb"}),
        ("review", {"thoroughness": "very"}),
        ("sbom", {"components": -1}),
        ("sbom", {"format": "swid"}),
        ("vex", {"justification": "because"}),
        ("vex", {"outcome": "fine"}),
    ],
)
def test_fields_of_other_kinds_keep_to_their_words_and_bounds(kind, changes):
    check(kind)
    with pytest.raises(Malformed):
        check(kind, **changes)
