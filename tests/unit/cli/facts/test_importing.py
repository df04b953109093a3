"""`facts import` against a desk that says each fact at most once: what is said, refused, stopped and said again."""

import io
import json
import threading

import pytest

from bench import osv
from pyrsia.cli.facts import saying as facts_saying
from pyrsia.cli.facts.probing import ASKED
from pyrsia.cli.facts.saying import Counting, Saying, stood
from pyrsia.consumers.documents.finding import records
from pyrsia.consumers.documents.intake import Intake
from pyrsia.consumers.documents.outcome import Tally
from pyrsia.errors import Refusal
from pyrsia.units import MAX_FACTS_TOLD
from tests.reference.facts_desk import Desk
from tests.reference.fakenode import FakeNode, Posted

COUNT = 1_300


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return osv.export(tmp_path_factory.mktemp("osv") / "all.zip", COUNT, packages=200)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def asked(desk):
    with FakeNode({"/api/v1/facts/batch": (200, desk.answer)}) as node:
        yield node


def tally_of(out):
    return json.loads(out)


def record(folder, name="A-1", **more):
    affected = {
        "package": {"ecosystem": "PyPI", "name": "idna"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    }
    value = {"id": name, "modified": "2024-01-01T00:00:00Z", "affected": [affected], **more}
    (folder / f"{name}.json").write_text(json.dumps(value))


def test_an_export_is_said_once_and_again_without_an_entry(pyrsia, asked, desk, export):
    code, out, err = pyrsia("facts", "import", "osv", export, "--node", asked.url, "--json")
    first = tally_of(out)
    assert all(line.startswith(("read ", "said ")) for line in err.splitlines())  # where it takes long
    assert (code, first["ok"], first["records"]) == (0, True, COUNT)
    assert first["added"] == len(desk.entries) > COUNT * 0.9
    assert first["skipped"]["unknown ecosystem npm"] > 0
    assert desk.orders >= first["added"] / MAX_FACTS_TOLD.value
    code, out, _ = pyrsia("facts", "import", "osv", export, "--node", asked.url, "--json")
    again = tally_of(out)
    assert (code, again["added"], again["same"]) == (0, 0, first["added"] + first["same"])
    assert len(desk.entries) == first["added"]


def dry_runs(node):
    orders = [json.loads(body) for _, path, _, body in node.seen if path == "/api/v1/facts/batch"]
    return [one.get("dry_run", False) for one in orders]


def test_of_what_stands_a_node_is_only_asked_while_the_rest_is_read(pyrsia, asked, desk, export):
    pyrsia("facts", "import", "osv", export, "--node", asked.url)
    first, said = dry_runs(asked), desk.orders
    assert 1 <= sum(first) <= ASKED.value  # nothing of it stood there: not asked on
    asked.seen.clear()
    code, out, _ = pyrsia("facts", "import", "osv", export, "--node", asked.url, "--json")
    assert (code, desk.orders, tally_of(out)["same"] > COUNT) == (0, said, True)
    assert all(dry_runs(asked))


def test_of_an_export_that_changed_only_the_change_is_said(pyrsia, asked, desk, tmp_path):
    for number in range(20):
        record(tmp_path, f"A-{number}")
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    asked.seen.clear()
    record(tmp_path, "A-7", modified="2024-02-01T00:00:00Z", database_specific={"severity": "HIGH"})
    _, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url, "--json")
    assert [tally_of(out)[name] for name in ("added", "changed", "same")] == [0, 1, 19]
    said = [json.loads(body) for _, _, _, body in asked.seen if not json.loads(body).get("dry_run")]
    assert [[one["fields"]["advisory"] for one in order["facts"]] for order in said] == [["A-7"]]


def test_a_record_that_a_newer_one_replaces_in_the_same_import_is_asked_about_in_vain(
    pyrsia, asked, desk, tmp_path
):
    folders = [tmp_path / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    for number in range(600):  # more than go into one question, so that the old one is answered first
        record(folders[0], f"A-{number}")
    pyrsia("facts", "import", "osv", folders[0], "--node", asked.url)
    record(folders[1], "A-0", modified="2024-02-01T00:00:00Z", database_specific={"severity": "HIGH"})
    _, out, _ = pyrsia("facts", "import", "osv", *folders, "--node", asked.url, "--json")
    told = tally_of(out)
    assert (told["changed"], told["same"], told["records"]) == (1, 599, 601)


def test_earlier_words_beside_the_same_are_ended_though_nothing_else_is_new(
    pyrsia, asked, desk, tmp_path, monkeypatch
):
    record(tmp_path)
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    order = desk._order

    def beside(raw):
        status, told = order(raw)
        return status, {**told, "beside": 1}

    asked.answers["/api/v1/facts/batch"] = (200, Posted(beside))
    asked.seen.clear()
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    assert dry_runs(asked) == [True, False]


@pytest.mark.parametrize(
    "answer",
    [
        (429, {"error": {"code": "busy", "what": "no room", "who": "x", "do": "wait", "retry_s": 1}}),
        (200, {"outcomes": []}),
        (200, {"outcomes": [{"outcome": "same"}] * 3, "whole": [{"withdrawn": 0}]}),
        (200, {"outcomes": [{"outcome": "same"}], "whole": [{"withdrawn": 1}]}),
        (200, {"outcomes": [{"outcome": "same"}], "whole": [{"withdrawn": 0, "error": {"code": "busy"}}]}),
        (200, {"outcomes": [{"outcome": "refused"}], "whole": [{"withdrawn": 0}]}),
        (200, [1]),
        (200, b"no JSON"),
    ],
)
def test_an_answer_that_does_not_say_that_nothing_is_new_leaves_it_to_be_said(
    answer, pyrsia, asked, desk, tmp_path
):
    record(tmp_path)
    take = desk.answer.make
    asked.answers["/api/v1/facts/batch"] = (
        200, Posted(lambda raw: answer if json.loads(raw).get("dry_run") else take(raw)),
    )  # fmt: skip
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url, "--json")
    assert (code, tally_of(out)["added"], len(desk.entries)) == (0, 1, 1)


def test_only_what_changed_becomes_an_entry_and_what_fell_is_taken_back(pyrsia, asked, desk, tmp_path):
    for name in ("A-1", "A-2", "A-3"):
        record(tmp_path, name)
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    record(tmp_path, "A-2", modified="2024-02-01T00:00:00Z", database_specific={"severity": "HIGH"})
    record(tmp_path, "A-3", withdrawn="2024-02-01T00:00:00Z")
    _, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url, "--json")
    told = tally_of(out)
    assert [told[name] for name in ("added", "changed", "same", "withdrawn")] == [0, 1, 1, 1]
    assert sorted(advisory for _, _, advisory in desk.stands) == ["A-1", "A-2"]


def test_an_older_export_changes_nothing_and_the_summary_says_so(pyrsia, asked, desk, tmp_path):
    record(tmp_path, modified="2024-02-01T00:00:00Z", database_specific={"severity": "HIGH"})
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    record(tmp_path)
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    assert (code, "1  older than what this node said since, or took back: not said" in out) == (0, True)
    _, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url, "--json")
    assert (tally_of(out)["older"], len(desk.entries)) == (1, 1)


def test_what_a_newer_record_names_no_more_is_taken_back(pyrsia, asked, desk, tmp_path):
    for name in ("A-1", "A-2"):
        record(tmp_path, name)
    pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    other = {
        "package": {"ecosystem": "PyPI", "name": "flask"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    }
    record(tmp_path, "A-1", modified="2024-02-01T00:00:00Z", affected=[other])
    for more, count in ((["--dry-run"], 1), ([], 1), ([], 0)):
        _, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url, "--json", *more)
        assert (tally_of(out)["withdrawn"], tally_of(out)["added"]) == (count, count)
    assert sorted(desk.stands) == [
        ("advisory", "pkg:pypi/flask", "A-1"),
        ("advisory", "pkg:pypi/idna", "A-2"),
    ]


def test_an_import_that_was_stopped_half_way_goes_on_with_the_rest(pyrsia, export):
    whole, half = Desk(), Desk(dies_after=1)
    with FakeNode({"/api/v1/facts/batch": (200, half.answer)}) as node:
        code, out, err = pyrsia("facts", "import", "osv", export, "--node", node.url)
        assert (code, out) == (1, "")
        assert f"so far: {len(half.entries)} added" in err
        assert "run the same command again for the rest" in err
        assert len(half.entries) < COUNT / 2
        assert "it stops" in err
        half.dies_after = None
        assert pyrsia("facts", "import", "osv", export, "--node", node.url)[0] == 0
    with FakeNode({"/api/v1/facts/batch": (200, whole.answer)}) as node:
        pyrsia("facts", "import", "osv", export, "--node", node.url)
    assert half.stands == whole.stands
    assert len(half.entries) == len(whole.entries)


def test_a_dry_run_tells_what_would_be_said_and_says_nothing(pyrsia, asked, desk, export):
    code, out, _ = pyrsia("facts", "import", "osv", export, "--node", asked.url, "--dry-run")
    assert (code, desk.entries) == (0, [])
    assert "would be added" in out
    assert f"{COUNT:,} records read" in out


def test_wrong_records_are_refused_by_name_and_the_others_are_said(pyrsia, asked, desk, tmp_path):
    record(tmp_path, "A-1")
    record(tmp_path, "A-2", affected={})
    (tmp_path / "torn.json").write_text('{"id":')
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    assert (code, len(desk.entries)) == (1, 1)
    assert "refused: 2" in out
    assert f"{tmp_path / 'A-2.json'}: `affected` is an object, where a list belongs" in out
    assert "torn.json: it is no JSON: it ends before it is complete" in out


def test_a_file_that_cannot_be_read_changes_nothing_even_beside_good_ones(pyrsia, asked, desk, tmp_path):
    record(tmp_path, "A-1")
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 and no more")
    code, _, err = pyrsia(
        "facts", "import", "osv", tmp_path / "A-1.json", tmp_path / "bad.zip", "--node", asked.url
    )
    assert (code, desk.orders) == (2, 0)
    assert "bad.zip" in err


def test_nothing_to_say_asks_nobody(pyrsia, tmp_path):
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", "http://127.0.0.1:9", "--json")
    assert (code, tally_of(out)["records"]) == (0, 0)


def test_a_node_that_is_no_issuer_ends_it_with_what_to_do(pyrsia, export):
    with FakeNode({"/api/v1/facts/batch": (200, Desk(issuer=False).answer)}) as node:
        code, out, err = pyrsia("facts", "import", "osv", export, "--node", node.url)
    assert (code, out) == (1, "")
    assert "this node is no issuer" in err


def test_what_the_node_refuses_of_one_fact_is_told_with_its_record(
    pyrsia, asked, desk, tmp_path, monkeypatch
):
    record(tmp_path, "A-1")
    record(tmp_path, "A-2")
    say = desk._say
    no = {
        "outcome": "refused",
        "leaf": -1,
        "error": {"code": "entry-refused", "what": "too wide", "who": "x", "do": "y"},
    }
    monkeypatch.setattr(
        desk, "_say", lambda fact, dry: no if fact["fields"]["advisory"] == "A-1" else say(fact, dry)
    )
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    assert (code, len(desk.entries)) == (1, 1)
    assert "A-1.json: A-1: too wide; y" in out


class Instant(threading.Event):
    """A pause that is noted instead of made."""

    def __init__(self):
        super().__init__()
        self.pauses = []

    def wait(self, timeout=None):
        self.pauses.append(timeout)
        return super().wait(0)


def saying(node, tally, patience_s=600.0):
    made = Saying(node.url, tally, dry_run=False, patience_s=patience_s, quiet=False)
    made._stop = Instant()
    return made


def tellings(export):
    intake = Intake(0)
    for one in records(export, intake.tally):
        intake.take(one)
    return list(intake.tellings())


def test_a_busy_node_is_waited_for_and_only_what_it_had_no_room_for_is_said_again(export, capsys):
    desk, tally = Desk(room=700), Tally()
    with FakeNode({"/api/v1/facts/batch": (200, desk.answer)}) as node:
        made = saying(node, tally)
        every = tellings(export)
        made.all(every, len(every))
    assert made._stop.pauses == [1]
    assert sum(tally.outcomes.values()) == sum(not one.whole for one in every)
    assert tally.outcomes["added"] == len(desk.entries)
    assert "the node is busy; again in 1 s" in capsys.readouterr().err


def test_a_node_that_stays_busy_ends_it_when_patience_does(export):
    no = {"error": {"code": "busy", "what": "no room", "who": "x", "do": "wait", "retry_s": 9_000}}
    tally = Tally()
    with FakeNode({"/api/v1/facts/batch": (429, no)}) as node:
        made = saying(node, tally, patience_s=150.0)
        with pytest.raises(Refusal, match="no room"):
            made.all(tellings(export)[:100], 100)
    assert made._stop.pauses == [60, 60]  # whatever it asks for, a minute at most


def test_an_answer_of_another_length_is_no_answer(export):
    with FakeNode({"/api/v1/facts/batch": (200, {"outcomes": []})}) as node:
        with pytest.raises(Refusal, match="answered for"):
            saying(node, Tally()).all(tellings(export)[:3], 3)


def test_an_interrupt_lets_what_is_on_its_way_arrive_and_tells_what_stands(pyrsia, export, monkeypatch):
    desk = Desk()
    monkeypatch.setattr(facts_saying.Counting, "__call__", interrupted)
    with FakeNode({"/api/v1/facts/batch": (200, desk.answer)}) as node:
        code, out, err = pyrsia("facts", "import", "osv", export, "--node", node.url)
    assert (code, out) == (130, "")
    assert "run the same command again for the rest" in err
    said = sum(int(word.replace(",", "")) for word in err.split("so far: ")[1].split(" added")[0].split()[:1])
    assert said == len(desk.entries) > 0


@pytest.mark.parametrize("code", ["forbidden", "unauthenticated", "not-running"])
def test_who_may_say_nothing_is_not_told_to_run_it_again(pyrsia, asked, tmp_path, code):
    record(tmp_path, "A-1")
    error = {"code": code, "what": "no", "who": "you", "do": "ask"}
    asked.answers["/api/v1/facts/batch"] = (403, {"error": error})
    _, _, err = pyrsia("facts", "import", "osv", tmp_path, "--node", asked.url)
    assert "so far: nothing said" in err
    assert ("run the same command again" in err) == (code == "not-running")


def interrupted(progress, done, total):
    if total and done:
        raise KeyboardInterrupt


def test_progress_says_how_fast_and_how_long_the_rest_takes():
    assert Counting("said").line(1_000, 10_000, 100.0) == "said 1,000 of 10,000 facts, 100/s, 1:30 left"
    assert Counting("read", "records").line(5, 0, 2.5) == "read 5 records, 2/s"
    assert stood(Tally(), again=False) == "so far: nothing said"
    assert stood(Tally()) == "so far: nothing said; run the same command again for the rest"


# -- documents --


def test_vex_is_said_for_each_product(pyrsia, asked, desk, tmp_path):
    statement = {"vulnerability": "CVE-1", "products": ["pkg:pypi/idna@3.6", "x"], "status": "fixed"}
    file = tmp_path / "vex.json"
    file.write_text(json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "statements": [statement]}))
    code, out, _ = pyrsia("facts", "import", "vex", file, "--node", asked.url)
    assert code == 0
    assert desk.stands == {
        ("vex", "pkg:pypi/idna@3.6", "CVE-1"): {
            "kind": "vex", "subject": "pkg:pypi/idna@3.6", "text": "", "valid_from": 0,
            "advisory": "CVE-1", "outcome": "fixed",
        }
    }  # fmt: skip
    assert "a product without a purl" in out


def test_an_sbom_becomes_a_blob_that_its_fact_names(pyrsia, asked, desk, tmp_path):
    blob = {"manifest": "ab" * 32, "sha256": "cd" * 32, "size": 90}
    asked.answers["/api/v1/facts/blob"] = (200, Posted(lambda body: (200, {**blob, "size": len(body)})))
    file = tmp_path / "bom.json"
    file.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "a"}, {"name": "b"}]}))
    code, _, _ = pyrsia(
        "facts",
        "import",
        "sbom",
        file,
        "--subject",
        "pkg:pypi/Idna@3.10",
        "--node",
        asked.url,
        "--text",
        "a\x1bb",
    )
    assert code == 0
    (body,) = desk.stands.values()
    assert body == {
        "kind": "sbom", "subject": "pkg:pypi/idna@3.10", "text": r"a\x1bb", "valid_from": 0,
        "format": "cyclonedx", "components": 2, "blob": {**blob, "size": file.stat().st_size},
    }  # fmt: skip


def test_a_dry_run_of_an_sbom_sends_no_blob(pyrsia, asked, desk, tmp_path):
    file = tmp_path / "bom.json"
    file.write_text(json.dumps({"spdxVersion": "SPDX-2.3", "packages": []}))
    subject = f"sha256:{'ab' * 32}"
    code, _, _ = pyrsia(
        "facts", "import", "sbom", file, "--subject", subject, "--node", asked.url, "--dry-run"
    )
    assert (code, desk.entries) == (0, [])
    assert [path for _, path, _, _ in asked.seen] == ["/api/v1/facts/batch"]


@pytest.mark.parametrize("subject", ["idna", "sha256:12", "pkg:pypi/a b"])
def test_an_sbom_of_nothing_is_a_slip_of_the_command(pyrsia, tmp_path, subject):
    file = tmp_path / "bom.json"
    file.write_text("{}")
    assert pyrsia("facts", "import", "sbom", file, "--subject", subject)[0] == 2


def test_a_huge_sbom_is_refused_before_anything_is_sent(pyrsia, asked, tmp_path):
    file = tmp_path / "bom.json"
    with file.open("wb") as opened:
        opened.truncate(100 << 20)
    code, _, err = pyrsia(
        "facts", "import", "sbom", file, "--subject", "pkg:pypi/idna@1", "--node", asked.url
    )
    assert (code, asked.seen) == (1, [])
    assert "104,857,600 bytes" in err


# -- standard input --


@pytest.fixture
def piping(monkeypatch):
    """Give a command bytes on its standard input."""

    def give(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_an_export_comes_through_a_pipe(pyrsia, asked, desk, export, piping):
    piping(export.read_bytes())
    code, out, _ = pyrsia("facts", "import", "osv", "-", "--node", asked.url, "--json")
    assert (code, tally_of(out)["records"], tally_of(out)["added"]) == (0, COUNT, len(desk.entries))


def test_records_line_by_line_stand_beside_those_of_files(pyrsia, asked, desk, tmp_path, piping):
    for name in ("A-1", "A-2", "A-3"):
        record(tmp_path, name)
    lines = b"\n".join((tmp_path / f"{name}.json").read_bytes() for name in ("A-1", "A-2"))
    piping(lines + b"\nnot one\n")
    code, out, _ = pyrsia("facts", "import", "osv", tmp_path / "A-3.json", "-", "--node", asked.url)
    assert (code, len(desk.entries)) == (1, 3)
    assert "standard input, line 3: it is no JSON" in out


@pytest.mark.parametrize(
    ("data", "paths", "code", "why"),
    [
        (b"", ["-"], 2, "nothing came"),
        (b"x", ["-", "-"], 2, "named twice"),
        (b"PK\3\4 and no more", ["-"], 2, "no ZIP file"),
    ],
)
def test_a_pipe_that_brings_nothing_good_says_nothing(
    data, paths, code, why, pyrsia, asked, desk, export, piping
):
    piping(data)
    told, _, err = pyrsia("facts", "import", "osv", export, *paths, "--node", asked.url)
    assert (told, desk.entries) == (code, [])
    assert why in err


def test_without_any_standard_input_it_is_a_slip(pyrsia, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    assert pyrsia("facts", "import", "osv", "-")[0] == 2


@pytest.mark.parametrize("code", ["forbidden", "unauthenticated"])
def test_what_was_added_beside_a_no_that_ends_all_is_told(tmp_path, code):
    """As it was found: the no stood in the middle of an answer, and what stood in the log behind it was not counted."""
    for number in range(3):
        record(tmp_path, f"A-{number}")
    every = [one for one in tellings(tmp_path) if not one.whole]
    error = {"code": code, "what": "no", "who": "you", "do": "ask"}
    outcomes = [{"outcome": "added", "leaf": 7} for _ in every]
    outcomes[1] = {"outcome": "refused", "leaf": -1, "error": error}
    tally = Tally()
    with FakeNode({"/api/v1/facts/batch": (200, {"outcomes": outcomes, "whole": []})}) as node:
        with pytest.raises(Refusal) as ended:
            saying(node, tally).all(every, len(every))
    assert (ended.value.code, len(every)) == (code, 3)
    assert stood(tally, again=False) == "so far: 2 added"
