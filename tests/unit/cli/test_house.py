"""`init`, `config`, `trust`, `doctor`: what a person keeps on this machine."""

import hashlib
import json
import os
import stat
import tomllib

import pytest

from pyrsia import config
from pyrsia.verify.pins import Pins
from tests.reference.ledger import make_genesis

GENESIS = make_genesis()
DIGEST = f"sha256:{hashlib.sha256(GENESIS).hexdigest()}"


@pytest.fixture
def genesis(tmp_path):
    path = tmp_path / "trust.json"
    path.write_bytes(GENESIS)
    return path


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- init --


def test_init_makes_a_private_folder_with_0600_keys(pyrsia, tmp_path, genesis):
    data = tmp_path / "data"
    code, out, _ = pyrsia("init", "--data", data, "--genesis", genesis, "--name", "alpha", "--json")
    told = json.loads(out)
    assert (code, told["network"], len(told["node_id"]), told["data"]) == (0, "test", 52, str(data))
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    keys = sorted((data / "keys").iterdir())
    assert [key.name for key in keys] == [
        "build.key", "chain.key", "cosign.key", "log.key", "node.key", "vote.key",
    ]  # fmt: skip
    assert {stat.S_IMODE(key.stat().st_mode) for key in [*keys, data / "config.toml"]} == {0o600}
    assert (data / "genesis.json").read_bytes() == GENESIS
    assert config.load(data, environ={}).node.name == "alpha"


def test_init_a_second_time_overwrites_nothing(pyrsia, tmp_path, genesis):
    data = tmp_path / "data"
    first = json.loads(pyrsia("init", "--data", data, "--genesis", genesis, "--name", "alpha", "--json")[1])
    before = everything(data)
    again = json.loads(pyrsia("init", "--data", data, "--genesis", genesis, "--json")[1])
    assert again["node_id"] == first["node_id"]
    assert everything(data) == before


def test_init_refuses_another_network_another_name_and_other_peers(pyrsia, tmp_path, genesis):
    data = tmp_path / "data"
    pyrsia("init", "--data", data, "--genesis", genesis, "--name", "alpha")
    before = everything(data)
    other = tmp_path / "other.json"
    other.write_bytes(make_genesis(name="other"))
    for arguments, code in (
        (["--genesis", other], "data-foreign"),
        (["--name", "beta"], "conflict"),
        (["--peer", "x@tcp://h:1"], "conflict"),
    ):
        exit_code, out, _ = pyrsia("init", "--data", data, *arguments, "--json")
        assert (exit_code, json.loads(out)["error"]["code"]) == (1, code)
    assert everything(data) == before


def test_init_without_a_network_says_what_comes_next_and_takes_it_later(pyrsia, tmp_path, genesis):
    data = tmp_path / "data"
    code, out, _ = pyrsia("init", "--data", data)
    assert (code, "--join URL --digest" in out, (data / "genesis.json").exists()) == (0, True, False)
    code, out, _ = pyrsia("init", "--data", data, "--genesis", genesis)
    assert (code, "pyrsia node run" in out, (data / "genesis.json").read_bytes()) == (0, True, GENESIS)


def test_init_makes_the_node_where_other_commands_look_for_it(pyrsia, tmp_path, genesis, monkeypatch):
    monkeypatch.setenv("PYRSIA_NODE", str(tmp_path / "here"))
    assert json.loads(pyrsia("init", "--genesis", genesis, "--json")[1])["data"] == str(tmp_path / "here")
    named = json.loads(pyrsia("init", "--node", tmp_path / "there", "--genesis", genesis, "--json")[1])
    assert named["data"] == str(tmp_path / "there")
    monkeypatch.setenv("PYRSIA_NODE", "http://127.0.0.1:7888")  # an address says nothing about this machine
    assert json.loads(pyrsia("init", "--json")[1])["data"] == str(config.user_data_dir())
    ran = []
    monkeypatch.setattr("pyrsia.node.service.main", ran.append)
    for variable in ("http://x", str(tmp_path / "here")):
        monkeypatch.setenv("PYRSIA_NODE", variable)
        assert pyrsia("node", "run")[0] == 0
    assert ran == [config.user_data_dir(), tmp_path / "here"]


def test_the_hints_of_init_can_be_typed_as_they_stand(pyrsia, tmp_path, genesis):
    data = tmp_path / "my data"
    hint = pyrsia("init", "--data", data)[1].splitlines()[-1]
    assert f"pyrsia init --data '{data}' --genesis FILE" in hint
    assert f"pyrsia init --data '{data}' --join URL --digest sha256:..." in hint
    for more in (["--genesis", genesis], []):  # the second time it is there, and not asked for again
        hint = pyrsia("init", "--data", data, *more)[1].splitlines()[-1]
        assert hint == f"start it with: pyrsia node run --data '{data}'"
    assert json.loads(pyrsia("init", "--data", data, "--json")[1])["network"] == "test"
    assert pyrsia("init", "--genesis", genesis)[1].splitlines()[-1] == "start it with: pyrsia node run"


def test_two_places_for_one_genesis_are_a_usage_error(pyrsia, tmp_path, genesis, node):
    line = ["init", "--data", tmp_path / "data", "--genesis", genesis, "--join", node.url, "--digest", DIGEST]
    code, out, err = pyrsia(*line)
    assert (code, out, "--join" in err, node.seen) == (2, "", True, [])
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments", [["--name", ""], ["--name", "x" * 65], ["--genesis", "{garbage}"], ["--genesis", "missing"]]
)
def test_init_with_something_wrong_makes_nothing(pyrsia, tmp_path, arguments):
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"{}")
    data = tmp_path / "data"
    code, out, _ = pyrsia("init", "--data", data, *[one.format(garbage=garbage) for one in arguments])
    assert (code, out, data.exists()) == (2, "", False)


def test_joining_by_url_needs_the_right_digest(pyrsia, tmp_path, node):
    node.answers["/log/genesis"] = (200, GENESIS)
    data = tmp_path / "data"
    code, out, _ = pyrsia("init", "--data", data, "--join", node.url, "--json")
    assert (code, json.loads(out)["error"]["code"], node.seen, data.exists()) == (2, "usage", [], False)
    for wrong in ("sha256:" + "0" * 64, "x"):
        code, out, _ = pyrsia("init", "--data", data, "--join", node.url, "--digest", wrong, "--json")
        assert (code, json.loads(out)["error"]["code"], data.exists()) == (1, "digest-mismatch", False)
    assert pyrsia("init", "--data", data, "--join", node.url, "--digest", DIGEST)[0] == 0
    assert (data / "genesis.json").read_bytes() == GENESIS
    assert config.load(data, environ={}).net.bootstrap == (node.url,)  # asked again should all peers be gone


def test_a_digest_is_also_checked_for_a_file(pyrsia, tmp_path, genesis):
    data = tmp_path / "data"
    assert pyrsia("init", "--data", data, "--genesis", genesis, "--digest", "sha256:" + "0" * 64)[0] == 1
    assert (
        pyrsia(
            "init",
            "--data",
            data,
            "--genesis",
            genesis,
            "--digest",
            DIGEST.upper().replace("SHA256", "sha256"),
        )[0]
        == 0
    )


# -- config --


@pytest.fixture
def data(pyrsia, tmp_path):
    pyrsia("init", "--data", tmp_path / "data")
    return tmp_path / "data"


def test_config_shows_every_key_as_toml_and_as_json(pyrsia, data):
    code, out, _ = pyrsia("config", "--node", data)
    assert code == 0
    assert tomllib.loads(out)["http"]["port"] == 7888
    assert out.splitlines()[0] == f"# {data / 'config.toml'}"
    assert pyrsia("-c", "-s", "--node", data)[1] == out
    told = json.loads(pyrsia("config", "--node", data, "--json")[1])
    assert set(told["config"]) == {
        "node", "http", "net", "builds", "storage", "log", "timing", "witness", "local", "proxy", "messages",
        "knowledge",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "section", "key", "value"),
    [
        (["-H", "0.0.0.0"], "http", "host", "0.0.0.0"),  # noqa: S104 (written to a file, bound by nobody)
        (["--port", "1234"], "http", "port", 1234),
        (["-d", "20 GB"], "storage", "allocated_gb", 20),
        (["-d", "4096gb"], "storage", "allocated_gb", 4096),
    ],
)
def test_config_edit_changes_one_key_and_no_other(pyrsia, data, flags, section, key, value):
    before = json.loads(pyrsia("config", "--node", data, "--json")[1])["config"]
    code, out, _ = pyrsia("config", "--node", data, "edit", *flags)
    assert code == 0
    assert out.splitlines() == ["Node configuration saved", "restart the node for it to take effect"]
    after = json.loads(pyrsia("config", "--node", data, "--json")[1])["config"]
    assert after[section][key] == value
    before[section][key] = value
    assert after == before


def test_the_original_spelling_edits_all_three_together(pyrsia, data, monkeypatch):
    monkeypatch.setenv("PYRSIA_NODE", str(data))
    assert pyrsia("-c", "-e", "-H", "::1", "-p", "80", "-d", "7 GB", "--json")[0] == 0
    found = config.load(data, environ={})
    assert (found.http.host, found.http.port, found.storage.allocated_gb) == ("::1", 80, 7)


@pytest.mark.parametrize(
    "flags",
    [
        ["-d", "10 TB"],
        ["-d", "0 GB"],
        ["-d", "4097"],
        ["-d", "\u0661 GB"],
        ["-d", ""],
        ["-p", "65536"],
        ["-H", ".some.localhost"],
        ["-H", ""],
        ["-H", "a b"],
        ["-H", "\u00fc"],
        ["-p", "1", "-H", "-x"],
    ],
)
def test_config_edit_with_a_wrong_value_changes_nothing(pyrsia, data, flags):
    before = (data / "config.toml").read_bytes()
    code, _, err = pyrsia("config", "--node", data, "edit", *flags)
    assert (code, bool(err)) == (2, True)
    assert (data / "config.toml").read_bytes() == before


def test_a_damaged_configuration_is_named(pyrsia, data):
    (data / "config.toml").write_text("[http]\nprot = 1\n")
    code, _, err = pyrsia("config", "--node", data)
    assert (code, "prot" in err, "config.toml" in err) == (2, True, True)


def test_a_directory_that_is_not_there_cannot_be_edited(pyrsia, tmp_path):
    for arguments in (["--node", tmp_path / "none", "edit"], ["edit", "--node", tmp_path / "none"]):
        code, out, err = pyrsia("config", *arguments, "-p", "1")
        assert (code, out) == (1, "")
        assert f"pyrsia init --data {tmp_path / 'none'}" in err
    assert not (tmp_path / "none").exists()


def test_config_edit_takes_its_node_on_either_side(pyrsia, data, tmp_path):
    for port, line in enumerate(
        (
            ["config", "--node", data, "edit"],
            ["config", "edit", "--node", data],
            ["-c", "-e", "--node", data],
            ["config", "--node", tmp_path / "none", "edit", "--node", data],
        ),
        start=1000,
    ):
        assert pyrsia(*line, "-p", port)[0] == 0
        assert config.load(data, environ={}).http.port == port


def test_defaults_are_said_to_be_defaults(pyrsia, tmp_path, data):
    out = pyrsia("config", "--node", tmp_path / "none")[1]
    assert "not there; these are the defaults" in out.splitlines()[0]
    assert tomllib.loads(out)["http"]["port"] == 7888
    assert pyrsia("config", "--node", data)[1].splitlines()[0] == f"# {data / 'config.toml'}"


def test_the_disk_setting_says_what_happens_when_it_is_used_up(pyrsia):
    """A store that is opened with it keeps it: tests/unit/store/test_quota.py."""
    assert "what nobody pinned goes when it is used up" in " ".join(
        pyrsia("config", "edit", "--help")[1].split()
    )


# -- trust --


def test_a_file_is_pinned_listed_and_removed(pyrsia, genesis, home):
    code, out, _ = pyrsia("trust", "add", genesis, "--json")
    assert (code, json.loads(out)["digest"], json.loads(out)["network"]) == (0, DIGEST, "test")
    assert json.loads(pyrsia("trust", "list", "--json")[1]) == {
        "pins": [{"network": "test", "digest": DIGEST, "epoch": 0}]
    }
    assert DIGEST in pyrsia("trust", "list")[1]
    assert [pin.digest for pin in Pins.of_user().all()] == [DIGEST.removeprefix("sha256:")]
    assert pyrsia("trust", "remove", DIGEST)[:2] == (0, "forgot test\n")
    assert pyrsia("trust", "remove", DIGEST)[0] == 1
    assert json.loads(pyrsia("trust", "list", "--json")[1]) == {"pins": []}


def test_an_address_alone_pins_nothing_and_is_not_even_asked(pyrsia, node):
    node.answers["/log/genesis"] = (200, GENESIS)
    code, _, err = pyrsia("trust", "add", node.url)
    assert (code, "by its address alone" in err, node.seen) == (2, True, [])
    code, out, _ = pyrsia("trust", "add", node.url, "--digest", "sha256:" + "0" * 64, "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "digest-mismatch")
    assert Pins.of_user().all() == []
    assert pyrsia("trust", "add", node.url, "--digest", DIGEST)[0] == 0
    assert [pin.name for pin in Pins.of_user().all()] == ["test"]


def test_what_is_no_genesis_is_not_pinned_even_with_its_digest(pyrsia, node):
    node.answers["/log/genesis"] = (200, b"{}")
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert pyrsia("trust", "add", node.url, "--digest", digest)[0] == 2
    assert Pins.of_user().all() == []


@pytest.mark.parametrize("source", ["missing", ".", "{trust}x", "ftp://x"])
def test_a_file_that_cannot_be_read_is_a_refusal(pyrsia, genesis, source):
    code, out, err = pyrsia("trust", "add", source.format(trust=genesis))
    assert (code, out) == (1, "")
    assert "cannot be read" in err


# -- doctor, node, dashboard --


def test_doctor_says_what_works_here(pyrsia):
    code, out, _ = pyrsia("doctor", "--json")
    checks = {one["what"]: one for one in json.loads(out)["checks"]}
    assert code == 0
    assert {"python", "native extension", "compiler", "build sandbox"} <= set(checks)
    assert checks["python"]["ok"]
    assert checks["native extension"]["ok"]
    assert all(bool(one["do"]) <= (not one["ok"]) for one in checks.values())
    assert "python" in pyrsia("doctor")[1]


@pytest.mark.parametrize("words", [("--data",), ("--node",), ("run", "--data"), ("run", "--node")])
def test_a_node_without_a_network_does_not_start(pyrsia, data, words):
    code, out, err = pyrsia("node", *words, data)
    assert (code in (1, 2), out) == (True, "")
    assert "  do:  " in err


@pytest.mark.parametrize("once", [(), ("--once",)], ids=["no terminal", "asked for"])
def test_a_dashboard_of_no_node_ends_with_a_sentence(pyrsia, tmp_path, once):
    """Without a terminal nobody could end it: it is one picture, then, or a refusal."""
    code, _, err = pyrsia("dashboard", *once, "--node", tmp_path / "none")
    assert code == 1
    assert err.strip()
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["home"]
