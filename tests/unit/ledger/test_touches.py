"""Every type has its rule for the index, and no entry touches more than the index allows."""

import hashlib

import pytest

from pyrsia.ledger import entries
from pyrsia.ledger.state import View
from pyrsia.ledger.touches import _RULES, MAX_TOUCHED, digest_key, package_key, touched, touches
from pyrsia.units import MAX_OUTPUTS
from tests.reference.ledger import blob, file_record

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


def test_the_largest_reveal_that_is_an_entry_touches_fewer_keys_than_the_index_allows(world):
    """The codec's bound on outputs is what keeps the index's: one output more is no entry."""
    request, builders = world.drawn()
    outputs = [
        {
            **world.reveal(request, at)["outputs"][0],
            "upstream": file_record((at, "upstream")),
            "upstream_relation": "different",
        }
        for at in range(MAX_OUTPUTS.value + 1)
    ]
    body = world.reveal(request, outputs=outputs[:-1])
    entry = entries.parse(world.entry(builders[0], "build.reveal", body))
    assert len(touches(entry, "pkg:pypi/idna@1.0")) == 1 + 3 * MAX_OUTPUTS.value <= MAX_TOUCHED.value
    with pytest.raises(ValueError, match="at most 8"):
        world.entry(builders[0], "build.reveal", {**body, "outputs": outputs})
