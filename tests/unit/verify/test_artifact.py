"""A published wheel is accepted; every lie about it that we could think of is refused with a reason."""

import io
import json
import zipfile

import pytest

from pyrsia.builds import attest
from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.units import MAX_PROOF_AGE_S
from pyrsia.verify import evidence
from pyrsia.verify.artifact import judge
from pyrsia.wire import canonical
from pyrsia.wire.text import b32
from tests.reference.ledger import World, blob, key
from tests.reference.story import NOW_MS, SIGNED_S, WHEEL, Story, wheel


@pytest.fixture(scope="module")
def story():
    return Story()


@pytest.fixture(scope="module")
def dissent():
    return Story(dissenter=True)


@pytest.fixture
def file(story, tmp_path):
    path = tmp_path / WHEEL
    path.write_bytes(story.data)
    return path


def judged(path, story, proof=None, *, pins=None, now_ms=NOW_MS, expected=None):
    pins = [story.pin] if pins is None else pins
    return judge(
        path, story.proof() if proof is None else proof, pins, now_ms=now_ms, expected=expected, verify=verify
    )


def refused(path, story, proof=None, **how):
    with pytest.raises(Refusal) as caught:
        judged(path, story, proof, **how)
    return caught.value


def placed(story, tmp_path, name=WHEEL):
    path = tmp_path / name
    path.write_bytes(story.data)
    return path


# -- the truth --


def test_a_true_file_is_accepted_and_everything_about_it_is_told(story, file):
    found = judged(file, story, expected="pkg:pypi/idna@1.0")
    assert (found.purl, found.file, found.sha256) == ("pkg:pypi/idna@1.0", WHEEL, story.sha256)
    assert (found.verdict, len(found.builders), found.dissenting, found.drawn) == ("REPRODUCED", 3, (), 3)
    assert (found.index, found.size, found.quorum) == (story.artifact.leaf, story.size, (4, 4))
    assert found.root == story.head().root.hex()
    assert (found.checkpoint_s, found.isolation, found.source) == (SIGNED_S, "namespace", "registry")
    lines = list(found.lines())
    assert lines[0] == "pkg:pypi/idna@1.0"
    assert any("status:    REPRODUCED, neither withdrawn" in line for line in lines)
    assert (found.status, found.gone) == ("REPRODUCED", ())
    assert not any("demo" in line for line in lines)
    assert json.loads(json.dumps(found.as_dict()))["ok"] is True


def test_a_demo_says_that_all_operators_are_one_person(tmp_path):
    story = Story(world=World(demo=True))
    assert list(judged(placed(story, tmp_path), story).lines())[-1] == "demo: all operators are one person"


def test_who_disagreed_is_named_with_the_reason(dissent, tmp_path):
    found = judged(placed(dissent, tmp_path), dissent)
    dissenter = dissent.numbers[b32(dissent.builders[0].public)]
    assert found.dissenting == ((f"node {dissenter} (operator-{dissenter})", "other contents"),)
    assert len(found.builders) == 2
    assert found.as_dict()["dissenting"][0]["why"] == "other contents"


def test_a_silent_builder_stays_in_the_denominator(tmp_path):
    story = Story(silent=True)
    found = judged(placed(story, tmp_path), story)
    assert (len(found.builders), found.drawn) == (2, 3)


def test_an_exact_quorum_is_enough_and_its_size_is_told(story, file):
    found = judged(file, story, story.proof(note=story.note(signers=3)))
    assert found.quorum == (3, 4)


def test_the_pin_that_fits_is_found_among_others(story, file):
    other = Story(world=World(name="other"))
    assert judged(file, story, pins=[other.pin, story.pin]).network == "test"


@pytest.mark.parametrize("spelled", ["1.0", "1.0 ", "v1.0"])
def test_a_version_that_the_backend_spells_otherwise_is_the_same_version(spelled, tmp_path):
    story = Story(data=wheel(version=spelled))
    assert judged(placed(story, tmp_path), story).verdict == "REPRODUCED"


# -- the file --


def test_any_flipped_byte_of_the_file_is_refused(story, tmp_path):
    path = tmp_path / WHEEL
    proof = story.proof()
    for at in range(0, len(story.data), 7):
        changed = bytearray(story.data)
        changed[at] ^= 1
        path.write_bytes(changed)
        answer = refused(path, story, proof)
        assert (answer.code, answer.answer.exit) == ("proof-invalid", 1)
        assert "SHA-256" in answer.what


def test_a_file_renamed_to_another_package_or_version_is_refused(story, tmp_path):
    for name in ("requests-2.0-py3-none-any.whl", "idna-2.0-py3-none-any.whl", "idna-1.0.whl", "x"):
        answer = refused(placed(story, tmp_path, name), story)
        assert (answer.code, name in answer.what) == ("proof-invalid", True)


def test_the_wrong_as_purl_is_refused(story, file):
    for purl in ("pkg:pypi/idna@1.1", "pkg:pypi/requests@1.0", "pkg:pypi/idna", "nonsense"):
        answer = refused(file, story, expected=purl)
        assert answer.code == "proof-invalid"
        assert purl in answer.what


def test_a_file_that_cannot_be_read_is_a_refusal(story, tmp_path):
    assert refused(tmp_path / WHEEL, story).code == "not-found"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wheel(name="requests"), "METADATA says requests"),
        (wheel(version="2.0"), "METADATA says version 2.0"),
        (wheel(version=""), "METADATA says version"),
        (wheel(version="a rose"), "METADATA says version"),
        (wheel(metadata="Name: idna\nName: requests\nVersion: 1.0\n"), "Name 2 times"),
        (wheel(metadata="Version: 1.0\n\nName: idna\n"), "Name 0 times"),
        (wheel(metadata="Name: idna\nVersion: 1.0\nVersion: 1.0\n"), "Version 2 times"),
        (wheel(metadata="Name: idn\u00e4\nVersion: 1.0\n"), "not ASCII"),
        (wheel(members=[("other-1.0.dist-info/METADATA", b"Name: idna\nVersion: 1.0\n")]), "2 METADATA"),
        (wheel(metadata="Name: idna\nVersion: 1.0\n\n" + "x" * 1_100_000), "too large"),
        (wheel(method=zipfile.ZIP_BZIP2), "unknown method"),
        (wheel(method=zipfile.ZIP_LZMA), "unknown method"),
        (b"no zip at all", "cannot be read"),
        (wheel()[:-30], "cannot be read"),
    ],
)
def test_a_published_file_that_names_something_else_inside_is_refused(data, why, tmp_path):
    """The log says this digest is idna 1.0, by builders that lie together; the file itself says no."""
    story = Story(data=data)
    answer = refused(placed(story, tmp_path), story)
    assert (answer.code, why in answer.what) == ("proof-invalid", True), answer.what


def test_a_continued_header_line_is_no_header(tmp_path):
    told = "Name: idna\nSummary: twice\n Name: requests\nVersion: 1.0\n"
    story = Story(data=wheel(metadata=told))
    assert judged(placed(story, tmp_path), story).purl == "pkg:pypi/idna@1.0"


def test_a_broken_deflate_stream_inside_a_published_file_is_a_refusal(tmp_path):
    data = bytearray(wheel(metadata="Name: idna\nVersion: 1.0\n\n" + "compress me " * 100))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        info = archive.getinfo("idna-1.0.dist-info/METADATA")
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 8] = b"\xff" * 8
    story = Story(data=bytes(data))
    assert "cannot be read" in refused(placed(story, tmp_path), story).what


# -- the proof file --


def test_a_proof_of_another_file_is_refused(story, dissent, file):
    other = Story(data=wheel(members=[("extra.py", b"y")]))
    answer = refused(file, story, other.proof())
    assert answer.code == "proof-invalid"
    assert "SHA-256" in answer.what


def test_another_networks_genesis_is_not_pinned_and_exits_3(story, file):
    other = Story(world=World(name="other"))
    assert (refused(file, story, pins=[other.pin]).code, refused(file, story, pins=[]).answer.exit) == (
        "not-pinned",
        3,
    )


def test_a_network_of_the_same_name_with_other_members_is_not_pinned(story, file):
    other = Story(world=World(created_ms=1))
    assert other.genesis.name == story.genesis.name
    assert refused(file, story, pins=[other.pin]).code == "not-pinned"


def test_one_cosignature_too_few_is_refused(story, file):
    answer = refused(file, story, story.proof(note=story.note(signers=2)))
    assert answer.code == "proof-invalid"
    assert "2 validators" in answer.what


def test_cosignatures_of_strangers_do_not_count(story, file):
    answer = refused(file, story, story.proof(note=story.note(signers=2, strangers=4)))
    assert answer.code == "proof-invalid"
    assert "2 validators" in answer.what


def test_one_validator_that_signs_four_times_counts_once(story, file):
    from pyrsia.log.note import SignedNote
    from tests.reference.story import signature_lines

    head = story.head()
    lines = [
        line
        for at in range(4)
        for line in signature_lines(head, key(0, "log"), key(0, "cosign"), SIGNED_S + at)
    ]
    note = SignedNote(head.text(), tuple(lines)).encode()
    assert refused(file, story, story.proof(note=note)).code == "proof-invalid"


def test_a_quorum_over_another_root_is_refused(story, file):
    note = story.note(story.head(root=b"\1" * 32))
    assert "another root" in refused(file, story, story.proof(note=note)).what


@pytest.mark.parametrize(
    "kind", ["build.request", "build.draw", "build.commit", "build.reveal", "build.verdict"]
)
def test_a_leaf_left_out_is_refused(dissent, kind, tmp_path):
    file = placed(dissent, tmp_path)
    for missing in dissent.kinds(kind):
        leaves = [index for index in dissent.leaves() if index != missing]
        assert refused(file, dissent, dissent.proof(leaves=leaves)).code == "proof-invalid"


def test_a_dropped_dissenter_is_noticed(dissent, tmp_path):
    dissenter = dissent.builders[0].public
    theirs = {i for i in dissent.leaves() if entries.parse(dissent.world.leaves[i]).author == dissenter}
    assert len(theirs) == 2
    proof = dissent.proof(leaves=[i for i in dissent.leaves() if i not in theirs])
    answer = refused(placed(dissent, tmp_path), dissent, proof)
    assert "dissenting" in answer.what


def test_a_proof_about_another_leaf_of_the_same_story_is_refused(story, file):
    for index in story.leaves()[:-1]:
        assert refused(file, story, story.proof(index=index)).code == "proof-invalid"


def test_a_proof_without_the_leaf_that_it_is_about_is_refused(story, file):
    leaves = [i for i in story.leaves() if i != story.artifact.leaf]
    assert "does not carry the leaf" in refused(file, story, story.proof(leaves=leaves)).what


def test_another_requests_leaves_do_not_help(story, tmp_path):
    """Two builds in one log: the leaves of one never prove the other."""
    world = World()
    first = Story(world=world)
    request, _ = world.drawn(version="2.0")
    assert request != first.request
    other = [i for i, leaf in enumerate(world.leaves) if entries.parse(leaf).kind == "build.request"][-1]
    leaves = sorted({*first.leaves(), other} - {first.view.request.leaf})
    assert "another request" in refused(placed(first, tmp_path), first, first.proof(leaves=leaves)).what


def test_leaves_out_of_order_or_twice_are_refused(story, file):
    rows = [story.row(i, story.size) for i in story.leaves()]
    for wrong in (rows[::-1], [*rows, rows[-1]], []):
        assert (
            refused(file, story, story.proof(extra=evidence.pack(wrong, story.now()))).code == "proof-invalid"
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {**row, "more": 1},
        lambda row: {**row, "index": "7"},
        lambda row: {**row, "index": (1 << 53) - 1},
        lambda row: {**row, "leaf": 5},
        lambda row: {**row, "leaf": "{}"},
        lambda row: {**row, "proof": "abc"},
        lambda row: {**row, "proof": [7]},
        lambda row: {**row, "proof": ["zz"]},
        lambda row: {**row, "proof": [" ".join(row["proof"][:1]), ""]},
        lambda row: {**row, "proof": [one.upper() for one in row["proof"]]},
        lambda row: {**row, "proof": row["proof"] * 40},
        lambda row: 5,
        lambda row: [],
    ],
)
def test_an_extra_line_of_another_shape_is_refused_and_never_a_crash(story, file, change):
    document = canonical.decode(
        evidence.pack([story.row(i, story.size) for i in story.leaves()], story.now()), 1 << 20
    )
    document["leaves"][0] = change(document["leaves"][0])
    assert refused(file, story, story.proof(extra=canonical.encode(document))).code == "proof-invalid"


@pytest.mark.parametrize(
    "extra", [b"{}", b"[]", b"5", b'{"leaves":[],"v":1}', b'{"leaves":5,"v":1}', b'{"leaves":[],"v":2}']
)
def test_an_extra_line_of_another_document_is_refused(story, file, extra):
    assert refused(file, story, story.proof(extra=extra)).code == "proof-invalid"


# -- time --


def test_a_proof_older_than_the_limit_exits_3(story, file):
    last = (SIGNED_S + MAX_PROOF_AGE_S.value) * 1000
    assert judged(file, story, now_ms=last).checkpoint_s == SIGNED_S
    answer = refused(file, story, now_ms=last + 1000)
    assert (answer.code, answer.answer.exit) == ("too-old", 3)


def test_a_checkpoint_from_the_future_has_no_age_and_exits_3(story, file):
    ahead = story.proof(note=story.note(time_s=SIGNED_S + 10 * 86_400))
    answer = refused(file, story, ahead)
    assert (answer.code, answer.answer.exit) == ("too-old", 3)
    far = story.proof(note=story.note(time_s=(1 << 62)))
    assert refused(file, story, far).code == "too-old"


# -- what is signed under a quorum and still wrong --


def test_a_reveal_signed_provenance_by_another_key_is_refused(tmp_path):
    story = Story(
        attestations=lambda s, place, body: s.attestation(s.builders[place], body, signer=key("other"))
    )
    assert "not signed by this builder's key" in refused(placed(story, tmp_path), story).what


@pytest.mark.parametrize("liars", [{2}, {0}, {1, 2}])
def test_a_builder_without_sound_provenance_is_named_and_not_counted(liars, tmp_path):
    """One liar spoils no file for everybody; two of three leave too few."""

    def lying(s, place, body):
        return s.attestation(s.builders[place], body, signer=key("other")) if place in liars else None

    story = Story(attestations=lying)
    file = placed(story, tmp_path)
    if len(liars) > 1:
        assert "1 builders signed sound provenance, 2 of two operators" in refused(file, story).what
        return
    finding = judged(file, story)

    assert len(finding.builders) == 2
    assert [why for _, why in finding.uncounted] == ["the attestation is not signed by this builder's key"]
    assert finding.uncounted[0][0] not in finding.builders
    assert any(line.startswith("uncounted:") for line in finding.lines())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"subjects": [(WHEEL, "0" * 64)]}, "another file"),
        ({"subjects": [("other.whl", None)]}, "another file"),
        ({"subjects": [(WHEEL, None), ("more.whl", "0" * 64)]}, "another file"),
        ({"request_id": "0" * 64}, "another request or source"),
        ({"request": None}, "another request or source"),
    ],
)
def test_provenance_about_something_else_is_refused(changes, why, tmp_path):
    def lying(s, place, body):
        how = dict(changes)
        if "subjects" in how:
            how["subjects"] = [(name, digest or s.sha256) for name, digest in how["subjects"]]
        if "request" in how:
            how["request"] = {**s.asked, "source": {**s.asked["source"], "sha256": "1" * 64}}
        return s.attestation(s.builders[place], body, **how)

    story = Story(attestations=lying)
    assert why in refused(placed(story, tmp_path), story).what


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(subject=[{"digest": {"sha256": "0" * 64}}]),
        lambda value: value.update(subject=[{"digest": {"sha256": "0" * 64}, "name": ["list"]}]),
        lambda value: value.update(subject=5),
        lambda value: value.pop("predicate"),
        lambda value: value.update(predicate=[]),
        lambda value: value["predicate"]["runDetails"].pop("metadata"),
        lambda value: value["predicate"]["buildDefinition"].update(resolvedDependencies=[{}]),
        lambda value: value["predicate"]["buildDefinition"].update(resolvedDependencies=7),
    ],
)
def test_provenance_that_a_hostile_builder_shaped_is_a_refusal_and_never_a_crash(change, tmp_path):
    def hostile(s, place, body):
        builder = s.builders[place]
        value = json.loads(s.statement(builder, body))
        change(value)
        pair = s.build_key(builder)
        return attest.envelope(json.dumps(value).encode(), pair.sign, "")

    story = Story(attestations=hostile)
    assert refused(placed(story, tmp_path), story).code == "proof-invalid"


def test_no_provenance_at_all_is_refused(tmp_path):
    story = Story(attestations=lambda *_: "{}")
    assert "DSSE" in refused(placed(story, tmp_path), story).what


def changed(story, index, **fields):
    """A log in which everybody signed another body at one derived leaf."""
    entry = entries.parse(story.world.leaves[index])
    leaf = canonical.encode({"body": {**entry.body, **fields}, "net": entry.net, "type": entry.kind, "v": 1})
    entries.parse(leaf)
    return story.rewritten(index, leaf)


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "EQUIVALENT"},
        {"upstream": "identical"},
        {"containment": "partial"},
        {"source": "mapping"},
        {"served": "canonical"},
        {"agreeing": []},
        {"dissenting": []},
        {"purl": "pkg:pypi/idna@1.1"},
        {"source_sha256": "0" * 64},
        {"request": "0" * 64},
        {"file": "idna-1.0-cp311-none-any.whl"},
        {"members": blob("other")},
    ],
)
def test_a_record_that_the_reveals_do_not_give_is_refused_even_under_a_quorum(dissent, fields, tmp_path):
    told = changed(dissent, dissent.artifact.leaf, **fields)
    assert refused(placed(dissent, tmp_path), told).code == "proof-invalid"


def test_a_changed_verdict_is_refused_even_under_a_quorum(story, file):
    for verdict in ("EQUIVALENT", "DIVERGED", "WITNESSED", "FAILED"):
        assert (
            "not what the reveals give"
            in refused(file, changed(story, story.view.verdict.leaf, verdict=verdict)).what
        )


def refuse_draw(story, file, builders=None, **fields):
    if builders is not None:
        fields = {"builders": builders, "operators": [f"operator {one[:8]}" for one in builders], **fields}
    told = changed(story, story.view.draw.leaf, **fields)
    told.also = builders or ()
    return refused(file, told).what


def test_a_draw_that_the_rules_do_not_allow_is_refused_even_under_a_quorum(story, file):
    drawn = story.view.draw.body["builders"]
    assert "never was a member" in refuse_draw(story, file, [*drawn[:2], b32(key("stranger").public)])
    assert "2 builders were drawn" in refuse_draw(story, file, drawn[:2])
    assert "of one operator" in refuse_draw(story, file, [drawn[0], drawn[0], drawn[1]])
    for agreeing in (1, 4, 100):
        assert f"{agreeing} of 3 builders" in refuse_draw(story, file, agreeing=agreeing)


def test_a_builder_of_the_requester_s_operator_is_refused_even_under_a_quorum(story, file):
    operators = story.view.draw.body["operators"]
    assert "requester's" in refuse_draw(story, file, excluded=operators[1])
    assert "of one operator" in refuse_draw(story, file, operators=[operators[0], operators[0], operators[2]])


def test_a_proof_without_a_record_of_somebody_in_it_is_refused(story, file):
    whole = story.now()
    for at in range(1, len(whole["values"])):
        now = {**whole, "values": [row for i, row in enumerate(whole["values"]) if i != at]}
        assert "leaves out the record" in refused(file, story, story.proof(now=now)).what


def test_an_entry_with_a_broken_signature_is_refused_even_under_a_quorum(story, file):
    for kind in ("build.request", "build.commit", "build.reveal"):
        index = story.kinds(kind)[0]
        fields = json.loads(story.world.leaves[index])
        fields["sig"] = ("0" if fields["sig"][0] != "0" else "1") + fields["sig"][1:]
        told = story.rewritten(index, canonical.encode(fields))
        assert "without its author's signature" in refused(file, told).what


def test_an_entry_of_another_network_is_refused_even_under_a_quorum(story, file):
    other = World(name="other")
    body = entries.parse(story.world.leaves[story.view.request.leaf]).body
    told = story.rewritten(story.view.request.leaf, other.entry(other.follower, "build.request", body))
    assert refused(file, told).code == "proof-invalid"


def test_a_request_of_a_stranger_is_refused_even_under_a_quorum(story, file):
    body = entries.parse(story.world.leaves[story.view.request.leaf]).body
    told = story.rewritten(story.view.request.leaf, story.world.entry(key("stranger"), "build.request", body))
    told.also = (b32(key("stranger").public),)
    assert "never was a member" in refused(file, told).what


def test_a_reveal_that_opens_no_commitment_is_refused_even_under_a_quorum(story, file):
    index = story.kinds("build.reveal")[0]
    entry = entries.parse(story.world.leaves[index])
    builder = next(one for one in story.builders if one.public == entry.author)
    told = story.rewritten(
        index, story.world.entry(builder, "build.reveal", {**entry.body, "nonce": "0" * 64})
    )
    assert "does not open" in refused(file, told).what


def test_two_reveals_of_one_builder_are_refused(story, file):
    first, second, _ = story.kinds("build.reveal")
    told = story.rewritten(second, story.world.leaves[first])
    assert "does not belong" in refused(file, told).what
