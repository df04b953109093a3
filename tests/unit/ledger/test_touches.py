"""Every type has its rule for the index, and no entry touches more than the index allows."""

import hashlib

import pytest

from pyrsia.ledger import entries
from pyrsia.ledger.state import View
from pyrsia.ledger.touches import _RULES, MAX_TOUCHED, digest_key, package_key, touched, touches
from pyrsia.units import MAX_OUTPUTS, needed
from tests.reference.governance import (
    Governed,
    about,
    fact,
    mapping,
    member_motion,
    newcomer,
    numbers,
    withdrawal,
)
from tests.reference.ledger import blob, file_record
from tests.reference.misdeeds import Misdeeds

IDNA = package_key("pkg:pypi/idna")


def test_every_type_of_version_1_has_a_rule():
    assert set(_RULES) == {"network.genesis", *entries.AUTHORED, *entries.DERIVED}


def test_the_keys_are_what_the_page_says():
    assert hashlib.sha256(b"pyrsia/pkg/v1\npkg:pypi/idna").digest() == IDNA
    digest = hashlib.sha256(b"x").digest()
    assert digest_key(digest.hex()) == hashlib.sha256(b"pyrsia/digest/v1\n" + digest).digest()


def test_a_whole_build_stands_under_its_package_and_its_digests(world):
    request, builders = world.drawn()
    world.run(request, [(builder, world.reveal(request)) for builder in builders])
    view = View(world.db.get)
    found = {}
    for leaf in world.leaves:
        entry = entries.parse(leaf)
        found.setdefault(entry.kind, set()).update(touched(entry, view))
    source = digest_key(blob("source")["sha256"])
    raw, canonical = (
        digest_key(file_record("same")["sha256"]),
        digest_key(file_record(("same", "canonical"))["sha256"]),
    )
    assert found == {
        "network.genesis": set(),
        "block.seal": set(),
        "build.request": {IDNA, source},
        "build.draw": {IDNA},
        "build.commit": {IDNA},
        "build.reveal": {IDNA, raw, canonical},
        "build.verdict": {IDNA},
        "artifact.add": {IDNA, source, raw},
    }  # fmt: skip


def test_governance_stands_under_the_package_and_the_file_that_it_is_about():
    world = Governed()
    sha256 = world.published()
    before = len(world.leaves)
    world.enact(mapping())
    world.enact(about("artifact.withdraw", sha256))
    world.enact(numbers(agreeing=3))
    world.enact(member_motion("member.add", member=newcomer()))
    view, found = View(world.db.get), []
    for leaf in world.leaves[before:]:
        entry = entries.parse(leaf)
        if entry.kind != "block.seal":
            found.append((entry.kind, set(touched(entry, view))))
    file, quorum = {IDNA, digest_key(sha256)}, needed(len(world.genesis.validators))
    assert found == [
        ("motion.propose", {IDNA}), *[("motion.approve", {IDNA})] * quorum,
        ("motion.propose", file), *[("motion.approve", file)] * quorum,
        ("motion.propose", set()), *[("motion.approve", set())] * quorum,
        ("motion.propose", set()), *[("motion.approve", set())] * quorum,
    ]  # fmt: skip
    gone = entries.parse(world.entry(world.follower, "artifact.withdraw", withdrawal(world, sha256)))
    assert set(touches(gone)) == file


def test_facts_stand_under_their_package_or_their_file_and_evidence_under_nothing():
    world, did = Governed(), Misdeeds(Governed())
    for subject, key in (
        ("pkg:pypi/idna@1.0", IDNA), ("pkg:pypi/idna", IDNA), ("sha256:" + "ab" * 32, digest_key("ab" * 32)),
    ):  # fmt: skip
        raw = world.entry(world.follower, "fact.add", fact(subject=subject))
        assert touches(entries.parse(raw)) == (key,)
    one, two, *_ = did.statements()
    raw = world.entry(world.follower, "fault.evidence", did.pair(1, one, two))
    assert touches(entries.parse(raw)) == ()


def test_the_largest_reveal_that_is_an_entry_touches_fewer_keys_than_the_index_allows(world):
    """The codec's bound on outputs is what keeps the index's: one output more is no entry."""
    request, builders = world.drawn()
    outputs = [
        {
            **world.reveal(request, at)["outputs"][0],
            "name": f"file-{at}.jar",
            "upstream": file_record((at, "upstream")),
            "upstream_relation": "different",
        }
        for at in range(MAX_OUTPUTS.value + 1)
    ]
    body = world.reveal(request, outputs=outputs[:-1])
    entry = entries.parse(world.entry(builders[0], "build.reveal", body))
    assert len(touches(entry, "pkg:pypi/idna@1.0")) == 1 + 3 * MAX_OUTPUTS.value <= MAX_TOUCHED.value
    with pytest.raises(ValueError, match="at most 32"):
        world.entry(builders[0], "build.reveal", {**body, "outputs": outputs})
