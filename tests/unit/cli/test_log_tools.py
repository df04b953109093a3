"""`log search`, `tail`, `monitor` and `hammer` as people type them."""

import json
import sys
import time
from urllib.parse import parse_qs, urlsplit

import click
import pytest

from pyrsia.audit.hammer import Report
from pyrsia.cli.log import hammer, when
from pyrsia.wire.text import safe
from tests.reference.fakenode import STATUS, FakeNode
from tests.reference.story import Story
from tests.unit.audit.signed import SignedLog, signed

EVIL = "\x1b[31m\u202eevil\x07"


def entry(index, **fields):
    return {
        "index": index,
        "kind": "fact.add",
        "summary": f"number {index}",
        "author": "",
        "time_ms": 5_000,
    } | fields


# -- search --


class Pages(FakeNode):
    """A node with a hundred entries that looks at seven leaves a request."""

    def __init__(self):
        super().__init__()
        node = self

        class Answers(dict):
            def get(self, path, default):
                query = {
                    name: values[0] for name, values in parse_qs(urlsplit(node.seen[-1][1]).query).items()
                }
                newest = query["order"] == "newest"
                first = int(query.get("first", 99 if newest else 0))
                span = range(first, max(-1, first - 7), -1) if newest else range(first, min(100, first + 7))
                rows = [entry(index) for index in span if index % 5 == 0][: int(query["count"])]
                after = span[-1] + (-1 if newest else 1)
                return 200, {"size": 100, "root": "00", "first": first, "entries": rows, "scanned": 7,
                             "next": after if 0 <= after < 100 else -1}  # fmt: skip

        self.answers = Answers()

    @property
    def queries(self):
        return [parse_qs(urlsplit(path).query) for _, path, _, _ in self.seen]


def test_a_search_follows_the_pages_to_its_limit_or_the_end(pyrsia):
    with Pages() as node:
        code, out, err = pyrsia("log", "search", "--node", node.url, "--json")
        assert (code, err) == (0, "")
        assert [json.loads(line)["index"] for line in out.splitlines()] == list(range(95, -1, -5))
        assert "as_of" not in node.queries[0]
        assert all(query["as_of"] == ["100"] for query in node.queries[1:])
        code, out, _ = pyrsia("log", "search", "--oldest", "--limit", "3", "--node", node.url)
        assert [line.split()[0] for line in out.splitlines()] == ["index", "0", "5", "10"]


def test_what_is_asked_for_is_what_the_node_is_asked(pyrsia):
    with Pages() as node:
        code, _, err = pyrsia(
            "log", "search", "some text", "--type", "fact.add", "--type", "build.verdict", "--author", "node 1",
            "--purl", "pkg:pypi/*", "--verdict", "DIVERGED", "--since", "2026-01-31", "--until",
            "2026-01-31T12:00:00+01:00", "--as-of", "77", "--limit", "1", "--node", node.url,
        )  # fmt: skip
        assert (code, err) == (0, "")
        assert node.queries[0] == {
            "text": ["some text"], "type": ["fact.add,build.verdict"], "author": ["node 1"], "purl": ["pkg:pypi/*"],
            "verdict": ["DIVERGED"], "since": ["1769817600000"], "until": ["1769857200000"], "as_of": ["77"],
            "order": ["newest"], "count": ["1"],
        }  # fmt: skip
        pyrsia("log", "search", "--as-of", "2026-01-31", "--limit", "1", "--node", node.url)
        assert node.queries[-1]["as_of_time"] == ["1769817600000"]


def test_a_node_that_sends_us_round_in_circles_is_left(pyrsia, node):
    for order, onward in ((), 50), (("--oldest",), 50):
        page = {"size": 100, "root": "00", "entries": [], "next": onward}
        node.answers["/api/v1/log/entries"] = (200, page)
        node.seen.clear()
        code, out, _ = pyrsia("log", "search", *order, "--node", node.url)
        assert (code, "does not go on" in out) == (0, True)
        assert len(node.seen) == 2


def test_a_search_that_finds_nothing_says_so_and_how_far_it_looked(pyrsia, node):
    page = {"size": 1_234, "root": "00", "entries": [], "next": -1}
    node.answers["/api/v1/log/entries"] = (200, page)
    assert pyrsia("log", "search", "--node", node.url)[1] == "nothing found in the log up to size 1,234\n"
    assert pyrsia("log", "search", "--node", node.url, "--json")[1] == ""


@pytest.mark.parametrize(
    ("what", "said", "do"),
    [
        ("the parameter `purl` is no pattern: x", "--purl is no pattern: x", "write --purl"),
        ("the parameter `type` holds a word that is none", "--type holds", "fact.add"),
        ("the parameter `verdict` holds a word that is none", "--verdict holds", "DIVERGED"),
        ("the parameter `text` has 1 to 200 characters", "the text has", "shorter"),
        ("no member is called x", "no member is called x", "--author"),
        ("this node's log has 5 leaves; it was never as long as 9", "never as long", "--as-of"),
        ("`since` lies after `until`", "`since`", "--help"),
    ],
)
def test_a_no_of_the_node_is_told_in_the_words_of_the_command(pyrsia, node, what, said, do):
    error = {"code": "bad-request", "what": what, "who": "x", "do": "send GET /api/v1/x=1"}
    node.answers["/api/v1/log/entries"] = (400, {"error": error})
    code, _, err = pyrsia("log", "search", "--node", node.url)
    assert code == 2
    assert said in err
    assert do in err
    assert "GET" not in err


def test_a_leaf_that_is_not_there_is_told_with_the_command_that_shows_how_many_are(pyrsia, node):
    del node.answers["/api/v1/log/prove"]
    code, _, err = pyrsia("log", "prove", "99999", "--node", node.url)
    assert (code, "pyrsia log show" in err) == (1, True)


def test_tail_and_monitor_say_once_that_no_node_answers(pyrsia, node):
    for command in (("tail",), ("monitor", "--purl", "*", "--once")):
        _, out, err = pyrsia("log", *command, "--node", "http://127.0.0.1:9")
        assert out == ""
        assert len([line for line in err.splitlines() if line.startswith("pyrsia: ")]) == 1


def test_hammer_tells_what_came_beside_what_was_wanted():
    report = Report(
        ok=True, why="", goal=20, acknowledged=35, verified=35, seconds=1.0, entries_per_second=35.0,
        write_p50_ms=1.0, write_p99_ms=1.0, resent=0, refused=0, verifications=1, verify_p50_ms=1.0,
        verify_p99_ms=1.0, size=40, root="00",
    )  # fmt: skip
    assert hammer._lines(report)[0].startswith("35 entries acknowledged (goal 20) in 1.0 s")


def test_what_strangers_wrote_is_harmless_in_every_form(pyrsia, node):
    page = {"size": 1, "root": "", "next": -1, "entries": [entry(0, summary=EVIL, kind=EVIL)]}
    node.answers["/api/v1/log/entries"] = (200, page)
    for more in ((), ("--json",)):
        code, out, _ = pyrsia("log", "search", *more, "--node", node.url)
        assert code == 0
        assert "\x1b" not in out
        assert "evil" in out
    node.answers["/api/v1/log/head"] = (200, STATUS["log"])
    out = pyrsia("log", "show", "--node", node.url)[1]
    assert safe(EVIL) in out
    assert "1970-01-01 00:00:05" in out


def test_an_answer_that_is_no_page_is_refused(pyrsia, node):
    node.answers["/api/v1/log/entries"] = (200, {"entries": "none"})
    code, _, err = pyrsia("log", "search", "--node", node.url)
    assert code == 1
    assert "not what a node gives" in err


# -- times --


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01 01:00:01+01:00", 1_000),
        ("1970-01-01T00:00:00.5", 500),
    ],
)
def test_times_are_read_as_utc_unless_they_say_otherwise(text, time_ms):
    assert when.read(text) == time_ms


def test_a_span_is_so_long_ago(monkeypatch):
    monkeypatch.setattr(when.time, "time", lambda: 1_000_000.0)
    assert when.read("2h") == (1_000_000 - 7_200) * 1000
    assert when.read("999999w") == 0


@pytest.mark.parametrize(
    "text", ["", "yesterday", "5", "2h30m", "-1h", "1969-01-01", "2026-13-01", "99999-01-01", "٣h"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter):
        when.read(text)


def test_times_are_told_in_utc():
    assert when.told(1_769_817_600_000) == "2026-01-31 00:00:00"
    assert [when.told(0), when.told(2**53 - 1)] == ["-", "-"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("30s", 30), ("2m", 120), ("1.5h", 5_400)])
def test_lengths_of_time(text, seconds):
    assert when.Span().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "1e3", "5y", "nan"])
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(click.BadParameter):
        when.Span().convert(text, None, None)


# -- tail and monitor, over a log in files --


class Files:
    """A log in a folder, as `log export` writes it."""

    def __init__(self, folder):
        self.folder = folder
        self.story = Story()
        self.log = SignedLog(world=self.story.world)
        self.log.time_s = int(time.time())  # else it is told to be old, and rightly
        self.trust = folder.parent / "trust.genesis"
        self.trust.write_bytes(self.story.genesis.raw)
        self.write()

    def write(self):
        self.log.follow()
        for path, data in self.log.every():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(data)
        (self.folder / "genesis.json").unlink(missing_ok=True)
        (self.folder / "genesis").write_bytes(self.story.genesis.raw)
        (self.folder / "checkpoint").write_bytes(self.log.note)

    def grow(self, subject="pkg:pypi/idna"):
        world = self.log.world
        body = {"kind": "description", "subject": subject, "text": EVIL, "valid_from": 1}
        world.block(world.entry(world.follower, "fact.add", body))
        self.write()

    def fork(self):
        (self.folder / "checkpoint").write_bytes(signed(self.log.world, self.log.frontier.size, b"x" * 32))


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return Files(folder)


def test_tail_prints_the_newest_entries_of_a_copy_and_says_whether_it_is_pinned(pyrsia, files):
    files.grow()
    code, out, err = pyrsia("log", "tail", files.folder, "-n", "2", "--trust", files.trust)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert "fact.add" in first
    assert safe(EVIL) in first
    assert "block.seal" in second
    code, out, err = pyrsia("log", "tail", files.folder, "-n", "2", "--json")
    assert code == 0
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["fact.add", "block.seal"]
    assert "not pinned" in err


def test_tail_and_monitor_refuse_what_nobody_signed_and_what_is_not_there(pyrsia, files, tmp_path):
    files.fork()
    (files.folder / "checkpoint").write_bytes(signed(files.log.world, 5, b"x" * 32, signers=1))
    for command in (("tail",), ("monitor", "--purl", "*", "--once")):
        code, out, err = pyrsia("log", *command, files.folder, "--trust", files.trust)
        assert (code, out) == (1, "")
        assert "are needed" in err
        assert pyrsia("log", *command, tmp_path / "nowhere")[0] == 1
        assert pyrsia("log", *command, files.folder, "--node", "http://x")[0] == 2


def test_a_monitor_without_a_pin_ends_with_3(pyrsia, files):
    code, _, err = pyrsia("log", "monitor", files.folder, "--purl", "*", "--once")
    assert code == 3
    assert "--trust" in err


def watched(pyrsia, files, *more):
    return pyrsia("log", "monitor", files.folder, "--trust", files.trust, "--once", *more)


def test_a_monitor_runs_its_command_once_for_each_entry_over_many_runs(pyrsia, files, tmp_path):
    hook, told = tmp_path / "hook.py", tmp_path / "told"
    hook.write_text(
        "import json, os, sys\n"
        "line = os.environ['PYRSIA_TYPE'] + ' ' + str(json.load(sys.stdin)['index']) + '\\n'\n"
        f"open({str(told)!r}, 'a').write(line)\n"
    )
    command = ("--purl", "pkg:pypi/idna", "--exec", f"{sys.executable} {hook}")
    assert watched(pyrsia, files, *command) == (0, "", "")
    files.grow()
    files.grow("pkg:pypi/other")
    code, out, err = watched(pyrsia, files, *command)
    assert (code, err) == (0, "")
    assert "description of pkg:pypi/idna" in out
    assert "\x1b" not in out
    assert watched(pyrsia, files, *command) == (0, "", "")
    index = len(files.log.entries) - 4
    assert told.read_text() == f"fact.add {index}\n"


def test_a_monitor_from_the_beginning_tells_the_whole_history_as_json(pyrsia, files):
    code, out, _ = watched(pyrsia, files, "--purl", "pkg:pypi/idna@1.0", "--from", "0", "--json")
    assert code == 0
    assert [json.loads(line)["index"] for line in out.splitlines()] == files.story.leaves()
    code, out, err = watched(pyrsia, files, "--purl", "pkg:pypi/idna@1.0", "--from", "0")
    assert (code, out, "monitor/" in err, "leave --from out" in err) == (2, "", True, True)


def test_a_command_that_fails_is_said_and_nothing_is_skipped(pyrsia, files, monkeypatch):
    monkeypatch.setattr("pyrsia.audit.outlets.PAUSE_S", (0, 0))
    code, _, err = watched(
        pyrsia, files, "--purl", "*", "--from", "0", "--exec", f"{sys.executable} -c exit(4)"
    )
    assert code == 1
    assert "exit code 4" in err
    code, out, _ = watched(pyrsia, files, "--purl", "*", "--from", "0", "--json")
    assert json.loads(out.splitlines()[0])["index"] == files.story.leaves()[0]


def test_a_fork_is_an_alarm_with_exit_code_1(pyrsia, files):
    watched(pyrsia, files, "--purl", "*")
    files.fork()
    code, out, err = watched(pyrsia, files, "--purl", "*", "--json")
    assert code == 1
    assert json.loads(out.splitlines()[0])["event"] == "alarm"
    code, out, err = watched(pyrsia, files, "--purl", "*")
    assert code == 1
    assert out.startswith("ALARM: ")
    assert "two roots" in err


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--purl", "idna"),
        ("--purl", "pkg:" + "*" * 40),
        ("--digest", "abc"),
        ("--digest", "A" * 64),
        ("--purl", "*", "--webhook", "ftp://x"),
        ("--purl", "*", "--exec", "'"),
        ("--purl", "*", "--every", "0"),
        tuple(f"--purl=pkg:pypi/p{i}" for i in range(101)),
    ],
)
def test_what_cannot_be_watched_is_wrong_use(pyrsia, files, options):
    assert watched(pyrsia, files, *options)[0] == 2


# -- hammer --


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--goal", "5"),
        ("--goal", "0", "--for", "5s"),
        ("--goal", "5", "--for", "0s"),
        ("--goal", "5", "--for", "5s", "--writers", "1000"),
        ("--goal", "5", "--for", "5s", "--resend", "1"),
    ],
)
def test_what_is_no_hammering_is_wrong_use(pyrsia, node, options):
    assert pyrsia("log", "hammer", *options, "--node", node.url)[0] == 2


def test_hammer_leaves_a_network_that_is_no_demo_alone(pyrsia, files, node):
    node.answers |= {"/log/checkpoint": (200, files.log.note)}
    code, _, err = pyrsia(
        "log", "hammer", "--goal", "5", "--for", "5s", "--node", node.url, "--trust", files.trust
    )
    assert code == 2
    assert "--really" in err
    assert {method for method, *_ in node.seen} == {"GET"}
