"""A whole log is found whole; whatever is changed, cut, added or missing in it is found and named."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.audit.fsck import check, read_head
from pyrsia.audit.heads import NamedKeys, Quorum
from pyrsia.audit.sources import DirectorySource
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.ledger import entries
from pyrsia.log import checkpoint, tiles
from pyrsia.log.checking import Wrong
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import TreeSize
from tests.reference import merkle as oracle
from tests.reference.ledger import World
from tests.unit.audit.files import ORIGIN, RULE, Site, log_in, noted, objects, read, signed_text, write
from tests.unit.audit.signed import SignedLog
from tests.unit.log.logs import Log, numbered

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 513]


def silent(done, total):
    """Nobody watches."""


def fsck(folder, rule=RULE, **options):
    return check(DirectorySource(folder), rule, silent, **options)


def wrong(folder, rule=RULE, **options):
    with pytest.raises(Wrong) as found:
        fsck(folder, rule, **options)
    return found.value.fault


# -- whole logs --


@pytest.mark.parametrize("size", [*SIZES, 70_000])
def test_a_whole_log_is_whole_at_every_edge(tmp_path, size):
    files = objects(numbered(size))
    report = fsck(write(tmp_path, files))
    found = report.as_dict()
    assert (found["size"], found["ok"], found["notes"], found["entries"]) == (size, True, [], True)
    assert found["objects"] == len(files)
    assert found["bytes"] == sum(map(len, files.values()))
    if size <= 513:
        leaves = [oracle.leaf_hash(entry) for entry in numbered(size)]
        assert found["root"] == oracle.root(leaves).hex()
    assert fsck(tmp_path, read_entries=False).head == report.head


def test_progress_ends_at_the_size(tmp_path):
    told = []
    check(DirectorySource(log_in(tmp_path, 5_000)), RULE, lambda done, total: told.append((done, total)))
    assert told[-1] == (5_000, 5_000)
    assert told == sorted(told)
    assert len(told) > 1


def test_a_log_of_pyrsia_has_a_form_and_a_genesis(tmp_path):
    files = pyrsia_files()
    rule = SignedLog().rule
    assert fsck(write(tmp_path, files), rule).as_dict()["form"]
    (tmp_path / "genesis").unlink()
    assert wrong(tmp_path, rule).path == "genesis"


def ours(log):
    return {"checkpoint": log.note, "genesis": log.world.genesis.raw, **dict(log.every())}


def pyrsia_files():
    log = SignedLog().follow()
    for version in range(3):
        raw, _ = log.world.request(version=f"1.{version}")
        log.world.block(raw)
    log.follow()
    note = SignedNote.parse(log.note)
    # One line as the log is enough: another, changed into a stranger's, would change nothing.
    note = replace(note, lines=(note.lines[0], *note.lines[1::2]))
    return {**ours(log), "checkpoint": note.encode()}


# -- every wrong byte --

FOREIGN = objects(numbered(600))
OURS = pyrsia_files()
LOGS = {"any": (FOREIGN, RULE), "ours": (OURS, SignedLog().rule)}


@given(st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("which", LOGS)
def test_any_one_changed_bit_is_found_and_its_file_named(tmp_path, which, data):
    files, rule = LOGS[which]
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = bytearray(files[path])
    changed[at] ^= 1 << bit
    write(tmp_path, {**files, path: bytes(changed)})
    fault = wrong(tmp_path, rule)
    assert fault.path == path
    if path.startswith("tile/entries"):
        log = tiles.bundle_decode(files[path], int(path.rpartition("/")[2]) if ".p/" in path else 256)
        ends = [0]
        for entry in log:
            ends.append(ends[-1] + 2 + len(entry))
        first = 256 * int(path.split("/")[2].partition(".")[0])
        hit = next(i for i, end in enumerate(ends[1:]) if at < end)
        # A changed length shows at the entry itself, or further on where the last entry does not end the file.
        assert fault.entry is None or fault.entry >= first + hit
    elif path.startswith("tile/"):
        assert fault.offset == at // 32 * 32
        assert fault.expected == files[path][fault.offset : fault.offset + 32].hex()
        assert fault.found == bytes(changed[fault.offset : fault.offset + 32]).hex()


@pytest.mark.parametrize("path", sorted(FOREIGN))
def test_a_missing_cut_or_longer_file_is_named(tmp_path, path):
    write(tmp_path, FOREIGN)
    for content in (FOREIGN[path][:-1], FOREIGN[path] + b"x", b""):
        (tmp_path / path).write_bytes(content)
        assert wrong(tmp_path).path == path
    (tmp_path / path).unlink()
    assert (wrong(tmp_path).path, wrong(tmp_path).what) == (path, "it is missing")
    (tmp_path / path).mkdir()
    assert wrong(tmp_path).path == path


def test_the_first_wrong_thing_is_the_one_that_is_named(tmp_path):
    write(tmp_path, objects(numbered(3_000)))
    for path in ("tile/0/009", "tile/entries/004", "tile/0/007"):
        content = bytearray((tmp_path / path).read_bytes())
        content[70] ^= 1
        (tmp_path / path).write_bytes(content)
    for _ in range(3):
        assert wrong(tmp_path).path == "tile/entries/004"


def test_the_exact_entry_and_hash_are_named(tmp_path):
    leaves = numbered(600)
    files = objects(leaves)
    changed = [*leaves]
    changed[300] = b"Entry 300"
    path = Bundle(1).path
    write(tmp_path, {**files, path: objects(changed)[path]})
    fault = wrong(tmp_path)
    assert (fault.path, fault.entry, fault.hash) == (path, 300, None)
    assert fault.offset == sum(2 + len(entry) for entry in leaves[256:300]) + 2
    assert fault.expected == oracle.leaf_hash(leaves[300]).hex()
    assert fault.found == oracle.leaf_hash(changed[300]).hex()
    write(tmp_path, {path: files[path], Tile(0, 1).path: objects(changed)[Tile(0, 1).path]})
    fault = wrong(tmp_path)
    assert (fault.path, fault.entry, fault.hash, fault.offset) == (Tile(0, 1).path, None, 300, 44 * 32)
    assert fault.expected == oracle.leaf_hash(leaves[300]).hex()
    assert fault.found == oracle.leaf_hash(changed[300]).hex()


def test_a_bundle_and_a_tile_changed_to_the_same_end_are_found_by_the_tile_above(tmp_path):
    leaves = numbered(600)
    other = [*leaves]
    other[300] = b"Entry 300"
    files, lies = objects(leaves), objects(other)
    write(tmp_path, {**files, **{path: lies[path] for path in ("tile/entries/001", "tile/0/001")}})
    fault = wrong(tmp_path)
    assert (fault.path, fault.what) == (
        "tile/0/001",
        "it agrees with what lies below it, and none of that was signed",
    )
    # With the tile above changed as well, all that is left to contradict is the signature.
    write(tmp_path, {"tile/1/000.p/2": lies["tile/1/000.p/2"]})
    fault = wrong(tmp_path)
    assert (fault.path, fault.expected) == (
        "checkpoint",
        oracle.root([oracle.leaf_hash(e) for e in other]).hex(),
    )


def test_where_nothing_bears_out_either_side_that_is_said(tmp_path):
    files = objects(numbered(600))
    lies = objects([b"x" + one for one in numbered(600)])
    path = Tile(0, 0).path
    write(tmp_path, {**lies, "checkpoint": files["checkpoint"], path: files[path]})
    assert "bears out neither" in wrong(tmp_path).what


def test_an_entry_without_the_form_is_named_with_its_byte(tmp_path):
    log = SignedLog().follow()
    log.append([b'{"b":1, "a":2}'])
    write(tmp_path, ours(log))
    fault = wrong(tmp_path, log.rule)
    assert (fault.entry, fault.path) == (2, "tile/entries/000.p/3")
    assert fault.what == "an entry is not canonical JSON from its byte 7 on"
    whole = (tmp_path / fault.path).read_bytes()
    assert whole[fault.offset :] == b' "a":2}'
    foreign = NamedKeys(checkpoint.validator_keys(log.rule.network.origin, [])[:0])
    assert foreign.genesis is None  # the entries of other logs have no form to check


def test_another_genesis_is_named(tmp_path):
    other = SignedLog(world=type(SignedLog().world)(name="other"))
    write(tmp_path, {**OURS, "genesis": other.world.genesis.raw})
    fault = wrong(tmp_path, SignedLog().rule)
    assert fault.path == "genesis"
    assert fault.offset == next(
        i
        for i, pair in enumerate(zip(OURS["genesis"], other.world.genesis.raw, strict=False))
        if pair[0] != pair[1]
    )


# -- checkpoints --


def text(size="1", root=None, origin=ORIGIN, more=b""):
    root = base64.b64encode(oracle.leaf_hash(b"entry 0")).decode() if root is None else root
    return f"{origin}\n{size}\n{root}\n".encode() + more


ODD = {
    "leading zero": text("01"),
    "plus": text("+1"),
    "plus five": text("+5"),
    "minus": text("-1"),
    "beyond 2^53": text(str(1 << 53)),
    "2^63": text(str(1 << 63)),
    "2^64": text(str(1 << 64)),
    "underscore": text("1_0"),
    "arabic digit": text("\u0661"),
    "space": text("1 "),
    "empty": text(""),
    "no padding": text(root=base64.b64encode(oracle.leaf_hash(b"entry 0")).decode().rstrip("=")),
    "url alphabet": text(root="__" + base64.b64encode(oracle.leaf_hash(b"entry 0")).decode()[2:]),
    "unused bits": text(root="A" * 42 + "B="),
    "short root": text(root=base64.b64encode(b"x" * 31).decode()),
    "two lines": b"example.org/log\n1\n",
    "empty line": text(more=b"\n\n"),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_signed_checkpoint_in_another_spelling_is_refused(tmp_path, odd):
    write(tmp_path, {**objects(numbered(1)), "checkpoint": signed_text(ODD[odd])})
    fault = wrong(tmp_path)
    assert fault.path == "checkpoint"


def test_extension_lines_of_other_logs_are_read_past(tmp_path):
    write(tmp_path, {**objects(numbered(1)), "checkpoint": signed_text(text(more=b"extension\n"))})
    assert fsck(tmp_path).head.checkpoint.size == 1


def test_a_checkpoint_must_be_signed_by_every_named_key_and_be_of_its_log(tmp_path):
    log_in(tmp_path, 3)
    (key,) = RULE.keys
    stranger = replace(key, public=b"s" * 32)
    assert "not signed by" in wrong(tmp_path, NamedKeys((key, stranger))).what
    assert "not signed by" in wrong(tmp_path, NamedKeys(())).what
    assert "of another log" in wrong(tmp_path, NamedKeys((key,), "example.org/other")).what
    assert fsck(tmp_path, NamedKeys((key,), ORIGIN)).head.signers == (ORIGIN,)
    text_of_another = Checkpoint("example.org/other", TreeSize(0), oracle.root([])).text()
    (tmp_path / "checkpoint").write_bytes(signed_text(text_of_another))
    assert "of another log" in wrong(tmp_path).what


def test_a_note_of_ten_megabytes_is_refused(tmp_path):
    log_in(tmp_path, 1)
    (tmp_path / "checkpoint").write_bytes(b"x" * (10 << 20))
    assert "65536 is the most" in wrong(tmp_path).what


def test_a_huge_claim_costs_nothing_before_the_first_missing_tile(tmp_path):
    write(tmp_path, {"checkpoint": noted((1 << 53) - 1, b"r" * 32)})
    assert (wrong(tmp_path).path, wrong(tmp_path).what) == ("tile/0/000", "it is missing")


# -- a folder --


def test_strays_are_notes_and_older_partial_files_must_be_true(tmp_path):
    write(tmp_path, {**FOREIGN, "README": b"hello", "tile/0/x": b"", "tile/0/01": b"", ".lock": b""})
    older = objects(numbered(570))
    assert older["tile/0/002.p/58"] != FOREIGN["tile/0/002.p/88"]
    partial = {path: older[path] for path in ("tile/0/002.p/58", "tile/entries/002.p/58")}
    partial["tile/0/001.p/3"] = FOREIGN["tile/0/001"][:96]
    write(tmp_path, partial)
    newer = {"tile/0/003": b"anything", "tile/entries/002": b"anything"}
    write(tmp_path, newer)
    notes = fsck(tmp_path).notes
    assert notes == (
        "README is no part of the log",
        "tile/0/01 is no part of the log",
        "tile/0/x is no part of the log",
        "2 files lie beyond the checkpoint and were not checked",
    )
    for path, content in partial.items():
        (tmp_path / path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        fault = wrong(tmp_path)
        assert (fault.path, fault.offset) == (path, len(content) - 1)
        (tmp_path / path).write_bytes(content[:-1])
        assert wrong(tmp_path).path == path
        (tmp_path / path).write_bytes(content)


def test_more_strays_than_a_person_reads_are_counted(tmp_path):
    write(tmp_path, {**FOREIGN, **{f"stray{i:02d}": b"" for i in range(50)}})
    notes = fsck(tmp_path).notes
    assert len(notes) == 21
    assert notes[-1] == "30 more files are no part of the log"


def test_a_named_pipe_holds_nobody_up(tmp_path):
    import os

    write(tmp_path, FOREIGN)
    (tmp_path / "tile/0/001").unlink()
    os.mkfifo(tmp_path / "tile/0/001")
    assert "is no file" in wrong(tmp_path).what


# -- an address --


def test_a_log_behind_an_address_is_checked_like_one_in_files():
    with Site(FOREIGN) as site:
        assert check(site.source(), RULE, silent).as_dict()["size"] == 600
        site.files["tile/0/001"] = b"\0" + FOREIGN["tile/0/001"][1:]
        with pytest.raises(Wrong) as found:
            check(site.source(), RULE, silent)
        assert (found.value.fault.path, found.value.fault.hash) == ("tile/0/001", 256)
        site.files = {path: data for path, data in FOREIGN.items() if "entries/001" not in path}
        with pytest.raises(Wrong) as found:
            check(site.source(), RULE, silent)
        assert found.value.fault.what == "it is missing"


def test_a_server_that_fails_in_the_middle_proves_nothing():
    with Site(FOREIGN) as site:
        site.on["tile/entries/001"] = lambda handler: handler.send_error(500)
        with pytest.raises(Unavailable):
            check(site.source(), RULE, silent)


def test_a_head_is_read_alone(tmp_path):
    assert read_head(DirectorySource(log_in(tmp_path, 7)), RULE).checkpoint.size == 7
    with pytest.raises(Malformed):
        read_head(DirectorySource(tmp_path / "none"), RULE)


def test_a_report_is_json(tmp_path):
    found = json.loads(json.dumps(fsck(log_in(tmp_path, 3)).as_dict()))
    assert (found["origin"], found["form"], found["beyond"]) == (ORIGIN, False, 0)
    assert isinstance(SignedLog().rule, Quorum)
    assert len(read(tmp_path)) == 3
    assert Log(numbered(3)).frontier.root().hex() == found["root"]


# -- what the entries say --


def full(files, folder, rule):
    return check(DirectorySource(write(folder, files)), rule, silent, full=True)


def story():
    """A log with requests, draws, commits, reveals and verdicts in it."""
    world = World()
    for version in range(3):
        request, builders = world.drawn(version=f"1.{version}")
        world.run(request, [(builder, world.reveal(request)) for builder in builders])
        world.settle()
    return SignedLog(world=world).follow()


def test_a_full_check_executes_the_ledger_and_checks_every_signature(tmp_path):
    log = story()
    found = full(ours(log), tmp_path, log.rule).as_dict()
    kinds = [entries.parse(leaf).kind for leaf in log.entries]
    assert found["blocks"] == kinds.count("block.seal") > 10
    assert found["signatures"] == sum(
        kind in ("build.request", "build.commit", "build.reveal") for kind in kinds
    )
    assert found["signatures"] >= 15


def test_a_leaf_that_does_not_follow_is_named_although_a_quorum_signed_it(tmp_path):
    """Entries changed and hashed anew, and the root signed: only signatures and execution can tell."""
    log = story()
    first = {entries.parse(leaf).kind: index for index, leaf in reversed(list(enumerate(log.entries)))}
    for kind in (
        "build.request",
        "build.draw",
        "build.commit",
        "build.reveal",
        "build.verdict",
        "artifact.add",
    ):
        index = first[kind]
        leaf = log.entries[index]
        at = leaf.rindex(b'"sig":"') + 7 if b'"sig"' in leaf else leaf.index(b'"request":"') + 11
        changed = leaf[:at] + (b"1" if leaf[at : at + 1] == b"0" else b"0") + leaf[at + 1 :]
        lie = SignedLog([*log.entries[:index], changed, *log.entries[index + 1 :]], log.world)
        folder = tmp_path / kind
        with pytest.raises(Wrong) as wrong:
            full(ours(lie), folder, log.rule)
        assert (wrong.value.fault.entry, wrong.value.fault.path[:12]) == (index, "tile/entries")
        assert (folder / wrong.value.fault.path).read_bytes()[wrong.value.fault.offset :].startswith(changed)
        assert fsck(folder, log.rule).formed  # hashes alone say nothing


def test_a_log_that_ends_inside_a_block_is_no_ledger(tmp_path):
    log = story()
    cut = SignedLog(log.entries[:-1], log.world)
    with pytest.raises(Wrong, match="no seal stands behind"):
        full(ours(cut), tmp_path, log.rule)


def test_only_a_log_of_ours_can_be_executed(tmp_path):
    with pytest.raises(Refusal) as refused:
        full(FOREIGN, tmp_path, RULE)
    assert refused.value.code == "usage"
