"""`pyrsia storage`: what people see of a node's disk, and what scripts are answered."""

import json

import pytest

from tests.reference.fakenode import ANSWERS, STATUS, FakeNode

DISK = {
    "allocated": 10**10, "used": 6 * 10**9, "blobs": 412, "pinned": 4 * 10**9, "cache": 2 * 10**9, "promised": 10**6,
    "resting": 0, "high": 5_400_000_000, "low": 4_200_000_000, "free": 3 * 10**9, "spare": 512 * 10**6, "full": "",
    "evicted": 7, "pins": [{"reason": "shard", "blobs": 300, "bytes": 3 * 10**9}, {"reason": "x\x1b[2J", "blobs": 1,
    "bytes": 5}], "patterns": ["pkg:pypi/flask*"],
    "sweep": {"removed": 2, "removed_bytes": 5_000, "at_s": 1_700_000_000},
    "scrub": {"mb_s": 8, "days": 30, "last_s": 1_700_000_000},
    "rotten": [{"sha256": "ab" * 32, "time_s": 1_700_000_000, "state": "wanted", "note": "nobody gave it"},
               {"sha256": "cd" * 32, "time_s": 1_700_000_000, "state": "mended"}],
    "local": {"used": 0, "quota": 2 * 10**10}, "proxied": {"used": 10**6, "quota": 10**10},
    "replication": "3 of 3 replicas of 300 artifacts",
}  # fmt: skip
PINNED = {"pattern": "pkg:pypi/a", "blobs": 3, "bytes": 9_000_000, "missing": 2, "missing_bytes": 4_000}
PLACE = "/api/v1/storage"


@pytest.fixture
def ask(pyrsia):
    """Run a command against a node that answers so; (exit code, output, errors, what the node saw)."""

    def run(answers, *words):
        with FakeNode({**ANSWERS, **answers}) as node:
            return *pyrsia(*words, "--node", node.url), node.seen

    return run


def test_the_disk_is_told_in_lines_with_who_pinned_what(ask):
    code, out, _, _ = ask({PLACE: (200, DISK)}, "storage", "status")
    lines = out.splitlines()
    assert code == 0
    assert "artifacts:  6.0 GB of 10.0 GB allocated (60 %), 412 files" in lines
    assert "disk:       3.0 GB free, of which 512.0 MB are kept for the log" in lines
    assert any(line.startswith("this node's shards (replication)") and "300" in line for line in lines)
    assert any("abababababababab since 2023-11-14 22:13: nobody gave it" in line for line in lines)
    assert "replicas:   3 of 3 replicas of 300 artifacts" in lines
    assert "  pkg:pypi/flask*" in lines
    assert "\x1b" not in out


def test_a_full_disk_stands_first(ask):
    _, out, _, _ = ask({PLACE: (200, {**DISK, "full": "no space"})}, "storage", "status")
    assert out.startswith("FULL: no space; what is here is served, nothing more is taken")


def test_scripts_get_every_number(ask):
    _, out, _, _ = ask({PLACE: (200, DISK)}, "storage", "status", "--json")
    told = json.loads(out)
    assert {key: told[key] for key in ("used", "pinned", "patterns")} == {
        key: DISK[key] for key in ("used", "pinned", "patterns")
    }


def test_scripts_are_told_of_copies_in_fields(ask):
    copies = {"member": True, "replicas": 3, "shards": 300, "counted": True, "under": 7, "gone": ["b" * 52]}
    _, out, _, _ = ask({PLACE: (200, {**DISK, "copies": copies})}, "storage", "status", "--json")
    told = json.loads(out)["copies"]
    assert {key: told[key] for key in copies} == copies
    assert (told["coming"], told["lost"], told["leaving"]) == (0, 0, False)


@pytest.mark.parametrize(
    ("missing", "told"),
    [(2, "2 more stay once they come (4.0 kB)"), (1, "1 more stays once it comes (4.0 kB)")],
)
def test_a_pin_says_what_is_here_and_what_stays_once_it_comes(ask, missing, told):
    answer = {**PINNED, "missing": missing}
    code, out, _, seen = ask({PLACE + "/pins": (200, answer)}, "storage", "pin", "pkg:pypi/a")
    assert code == 0
    assert "3 files are here (9.0 MB)" in out
    assert told in out
    assert json.loads(seen[-1][3]) == {"pattern": "pkg:pypi/a", "fetch": False}


def test_a_pin_that_nothing_matches_stands_and_says_so(ask):
    none = {"pattern": "pkg:pypi/nix*"}
    code, out, _, _ = ask({PLACE + "/pins": (200, none)}, "storage", "pin", "pkg:pypi/nix*")
    assert code == 0
    assert "pinned: pkg:pypi/nix*; nothing that the log names matches it" in out
    assert "pyrsia package search" in out


def test_a_pin_that_fetches_says_so(ask):
    _, out, _, seen = ask(
        {PLACE + "/pins": (200, {**PINNED, "fetching": 2})}, "storage", "pin", "x", "--fetch"
    )
    assert "2 more are being brought" in out
    assert json.loads(seen[-1][3])["fetch"] is True


def test_a_dry_run_says_what_would_be_done(ask):
    swept = {"dry": True, "removed": 2, "removed_bytes": 5_000, "rows": 1, "more": True}
    code, out, _, seen = ask({PLACE + "/gc": (200, swept)}, "storage", "gc", "--dry-run")
    assert (code, json.loads(seen[-1][3])) == (0, {"dry": True})
    assert "would do: 1 artifact whose file is gone, 2 files removed" in out
    assert "5.0 kB would be free again" in out
    assert "more is left" in out


def test_a_sweep_names_what_is_none_of_the_nodes_and_counts_one_as_one(ask):
    told = {"removed": 1, "partials": 2, "strange": 3, "strangers": ["junk", "aa/\x1b[2J"], "at_s": 1}
    code, out, _, _ = ask({PLACE + "/gc": (200, told)}, "storage", "gc")
    assert code == 0
    assert out.splitlines() == [
        "done: 1 file removed, 2 old downloads removed, 3 strange names left alone",
        "  not this node's: junk",
        "  not this node's: aa/\\x1b[2J",
        "  and 1 more",
    ]


def test_a_scrub_is_followed_to_its_end_and_fails_where_something_was_damaged(ask, monkeypatch):
    monkeypatch.setattr("pyrsia.cli.storage.time.sleep", lambda _: None)
    began = {**DISK, "scrub": {"ordered": True, "done": 1, "of": 4}}
    ended = {**DISK, "scrub": {"ordered": False, "done": 4, "of": 4, "found": 1}}
    left = [began, began, ended]
    answers = {PLACE + "/scrub": (202, began), PLACE: (200, lambda _: left.pop(0))}

    code, out, err, _ = ask(answers, "storage", "scrub", "--all")

    assert code == 1
    assert "read: 4 of 4 files, 1 damaged" in out
    assert "reading: 1 of 4 files, 0 damaged" in err
    assert "1 of 4 artifacts were damaged" in err


def test_a_scrub_that_ended_before_it_was_through_fails_and_says_why(ask):
    why = "/var/blobs is not the folder of this node's artifacts: mount its disk"
    ended = {**DISK, "scrub": {"ordered": False, "done": 0, "of": 4, "ended": why}}
    code, _, err, _ = ask({PLACE + "/scrub": (202, ended)}, "storage", "scrub", "--all")
    assert code == 1
    assert "0 of 4 artifacts were read" in err
    assert "mount its disk" in err


@pytest.mark.parametrize("words", [(), ("pkg:pypi/a", "--all")])
def test_a_scrub_names_what_it_reads(ask, words):
    code, _, err, seen = ask({}, "storage", "scrub", *words)
    assert (code, seen) == (2, [])
    assert "Name what to read" in err
    assert "[PURL|SHA256|GLOB]" in err


def test_the_node_at_a_glance_says_what_artifacts_take(ask):
    disk = {"used": 6 * 10**9, "allocated": 10**10, "pinned": 4 * 10**9}
    _, out, _, _ = ask({"/api/v1/status": (200, {**STATUS, "disk": disk})}, "status")
    assert "disk:      6.0 GB used of 10.0 GB allocated, 4.0 GB of it pinned" in out.splitlines()
