"""`log fsck`, `log export` and `log mirror` as people and scripts call them."""

import json

import pytest

from pyrsia.audit import sources
from pyrsia.audit.fetching import Address, Fetcher
from pyrsia.cli.log import common
from pyrsia.verify.pins import Pins
from tests.unit.audit.files import HASTY, ORIGIN, VKEY, Site, log_in, objects, read, send, write
from tests.unit.audit.signed import SignedLog
from tests.unit.log.logs import numbered


@pytest.fixture
def trust(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRSIA_TRUST", str(tmp_path / "pins"))
    return Pins.of_user()


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """A server that fails is not waited for."""
    monkeypatch.setattr(sources, "Fetcher", lambda address: Fetcher(address, patience=HASTY))


@pytest.fixture(scope="module")
def ours():
    log = SignedLog().follow()
    for version in range(2):
        log.world.block(log.world.request(version=f"1.{version}")[0])
    return log.follow()


def files_of(log):
    return {"checkpoint": log.note, "genesis": log.world.genesis.raw, **dict(log.every())}


def test_fsck_says_what_it_found_whole(pyrsia, tmp_path):
    folder = log_in(tmp_path / "log", 300)
    write(folder, {"README": b""})
    code, out, err = pyrsia("log", "fsck", folder, "--vkey", VKEY)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"300 entries are whole: {folder}"
    assert "README is no part of the log" in out
    code, out, err = pyrsia("log", "fsck", folder, "--vkey", VKEY, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert (json.loads(out)["size"], json.loads(out)["origin"]) == (300, ORIGIN)


def test_fsck_names_the_first_wrong_byte_and_exits_1(pyrsia, tmp_path):
    folder = log_in(tmp_path / "log", 300)
    bundle = folder / "tile/entries/001.p/44"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 299", b"Entry 299"))
    code, out, err = pyrsia("log", "fsck", folder, "--vkey", VKEY)
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "pyrsia: tile/entries/001.p/44: an entry is not the one that was signed"
    assert err.splitlines()[1] == f"  where: {folder}, entry 299, byte 475"
    code, out, err = pyrsia("log", "fsck", folder, "--vkey", VKEY, "--json")
    found = json.loads(out)
    assert (code, err, found["ok"]) == (1, "", False)
    assert (found["fault"]["entry"], found["fault"]["offset"]) == (299, 475)
    assert found["fault"]["path"] == "tile/entries/001.p/44"


def test_what_a_stranger_wrote_reaches_no_terminal(pyrsia, tmp_path):
    folder = log_in(tmp_path / "log", 3)
    (folder / "\x1b[31mred\u202e").write_bytes(b"")
    _, out, _ = pyrsia("log", "fsck", folder, "--vkey", VKEY)
    assert "\\x1b[31mred\\u202e is no part of the log" in out


def test_nobody_is_believed_without_a_key_or_a_pin(pyrsia, tmp_path, trust, ours):
    folder = write(tmp_path / "log", files_of(ours))
    code, _, err = pyrsia("log", "fsck", folder)
    assert (code, "not pinned" in err) == (3, True)
    assert pyrsia("log", "fsck", folder, "--trust", folder / "genesis")[0] == 0
    trust.add(ours.world.genesis.raw)
    code, out, _ = pyrsia("log", "fsck", folder, "--full", "--json")
    assert (code, json.loads(out)["form"], json.loads(out)["signatures"]) == (0, True, 2)
    assert pyrsia("log", "fsck", folder, "--vkey", VKEY)[0] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", "fsck", "x", "--node", "http://127.0.0.1:1"),
        ("log", "fsck", "x", "--full", "--tiles"),
        ("log", "fsck", "http://u:p@127.0.0.1/", "--vkey", VKEY),
        ("log", "fsck", ".", "--vkey", "nonsense"),
        ("log", "fsck", ".", "--vkey", VKEY.replace("+", "+0", 1)),
        ("log", "mirror", "ftp://127.0.0.1/", "copy", "--vkey", VKEY),
        ("log", "mirror", "http://127.0.0.1/", "copy", "--every", "0"),
    ],
)
def test_wrong_use_exits_2(pyrsia, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    log_in(tmp_path, 1)
    assert pyrsia(*arguments)[0] == 2


def test_a_mirror_follows_a_log_and_is_whole(pyrsia, tmp_path):
    copy = tmp_path / "copy"
    with Site(objects(numbered(300))) as site:
        code, out, err = pyrsia("log", "mirror", site.url, copy, "--vkey", VKEY)
        assert (code, err) == (0, "")
        assert out.startswith(f"{ORIGIN}: 0 -> 300; 5 files")
        site.files = objects(numbered(700))
        code, out, _ = pyrsia("log", "mirror", site.url, copy, "--vkey", VKEY, "--json")
        found = json.loads(out)
        assert (code, found["old_size"], found["size"], found["removed"]) == (0, 300, 700, 2)
        code, out, _ = pyrsia("log", "mirror", site.url, copy, "--vkey", VKEY)
        assert (code, out) == (0, f"{ORIGIN}: 700, as before; 0 files, 0 bytes written\n")
        assert read(copy).items() >= site.files.items()
        assert pyrsia("log", "fsck", site.url, "--vkey", VKEY)[0] == 0
    assert pyrsia("log", "fsck", copy, "--vkey", VKEY)[0] == 0


@pytest.mark.parametrize(("lie", "why"), [(numbered(299), "shrunk"), ([*numbered(299), b"x"], "forked")])
def test_an_alarm_is_told_with_its_evidence(pyrsia, tmp_path, lie, why):
    with Site(objects(numbered(300))) as site:
        pyrsia("log", "mirror", site.url, tmp_path / "copy", "--vkey", VKEY)
        site.files = objects(lie)
        for following in ((), ("--follow",)):
            code, out, err = pyrsia("log", "mirror", site.url, tmp_path / "copy", "--vkey", VKEY, *following)
            assert (code, out) == (1, "")
            assert err.startswith("pyrsia: ALARM: the log ")
    (path,) = (tmp_path / "copy" / "evidence").iterdir()
    assert path.name.startswith(why)
    assert str(path) in err


def hostile(site, how):
    site.files = {}
    site.on = dict.fromkeys(["checkpoint", "log/checkpoint"], how(site))
    return site.url


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda site: lambda handler: site.closing.wait(), "no whole answer in time"),
        (lambda site: lambda handler: send(handler, b"x" * (10 << 20)), "65536 is the most"),
        (lambda site: lambda handler: send(handler, b"<html>"), "checkpoint"),
        (lambda site: lambda handler: send(handler, b"", status=302, location="/checkpoint"), "redirects"),
        (lambda site: lambda handler: send(handler, b"", status=502), "502"),
        (lambda site: lambda handler: send(handler, b"", status=404), "missing"),
    ],
    ids=["silent", "endless", "html", "loop", "down", "absent"],
)
def test_a_hostile_log_is_refused_in_words(pyrsia, tmp_path, how, said):
    with Site({}) as site:
        url = hostile(site, how)
        for arguments in (("fsck", url), ("mirror", url, tmp_path / "copy")):
            code, out, err = pyrsia("log", *arguments, "--vkey", VKEY)
            assert (code, out) == (1, "")
            assert said in err
            assert "Traceback" not in err
    assert read(tmp_path / "copy") == {}


def test_a_nodes_log_is_exported_with_its_genesis(pyrsia, tmp_path, trust, ours):
    with Site({f"log/{path}": data for path, data in files_of(ours).items()}) as site:
        assert pyrsia("log", "export", tmp_path / "out", "--node", site.url)[0] == 3
        trust.add(ours.world.genesis.raw)
        code, out, err = pyrsia("log", "export", tmp_path / "out", "--node", site.url, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["size"] == ours.frontier.size
        assert pyrsia("log", "fsck", "--node", site.url)[0] == 0
        assert all("authorization" not in one for one in site.headers)
    assert read(tmp_path / "out") == files_of(ours)
    assert pyrsia("log", "fsck", tmp_path / "out", "--full")[0] == 0


def test_a_token_goes_to_the_node_that_was_named_and_to_no_log_of_others(
    pyrsia, tmp_path, trust, ours, monkeypatch
):
    monkeypatch.setenv("PYRSIA_TOKEN", "sesame")
    trust.add(ours.world.genesis.raw)
    with Site({f"log/{path}": data for path, data in files_of(ours).items()}) as site:
        assert pyrsia("log", "fsck", "--node", site.url)[0] == 0
        assert {one["authorization"] for one in site.headers} == {"Bearer sesame"}
        site.headers.clear()
        assert pyrsia("log", "fsck", site.url)[0] == 0
        assert all("authorization" not in one for one in site.headers)


def test_progress_is_told_on_standard_error_only_when_it_takes_long(pyrsia, tmp_path, monkeypatch):
    folder = log_in(tmp_path / "log", 5_000)
    assert pyrsia("log", "fsck", folder, "--vkey", VKEY)[2] == ""
    monkeypatch.setattr(common, "QUIET_S", 0.0)
    monkeypatch.setattr(common, "FILE_S", 0.0)
    code, out, err = pyrsia("log", "fsck", folder, "--vkey", VKEY, "--json")
    assert (code, json.loads(out)["size"]) == (0, 5_000)
    assert "checked 5,000 of 5,000 entries" in err


def test_a_node_that_is_not_there_is_told_so(pyrsia, home):
    code, _, err = pyrsia("log", "fsck")
    assert (code, "no node's data directory" in err) == (1, True)
    assert Address.parse("http://127.0.0.1:1").text == "http://127.0.0.1:1/"
    code, _, err = pyrsia("log", "export", home / "out", "--node", home)
    assert (code, "no node's data directory" in err) == (1, True)
    assert not (home / "out").exists()
