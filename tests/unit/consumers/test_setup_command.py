"""`pyrsia setup` as people and scripts call it: the list, what it says of modes, and what it refuses."""

import io
import json
import stat

import pytest

from pyrsia.consumers import nodes
from pyrsia.errors import Refusal
from tests.reference.fakenode import FakeNode

POLICY = {
    "rules": {name: [{"key": "mode", "value": "verified", "origin": "default"}] for name in ("pip", "maven")}
}
WITNESSED = {
    "entries": [{"index": 7, "kind": "artifact.add", "summary": "jar-plugin-3.jar sha256:ab WITNESSED"}]
}


@pytest.fixture
def node():
    told = {
        "/api/v1/policy": (200, POLICY),
        "/api/v1/log/entries": (200, WITNESSED),
        "/healthz": (200, {"ready": True}),
    }
    with FakeNode(told) as made:
        yield made


def test_the_list_says_what_is_here_and_where_it_gets_packages_from(pyrsia, home, node):
    code, out, _ = pyrsia("setup", "--root", home / "root")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")][1:] == [
        "pip", "uv", "docker", "containerd", "podman", "maven", "gradle", "conan",
    ]  # fmt: skip
    assert "https://pypi.org/simple" in out
    assert pyrsia("setup", "pip", "--node", node.url)[0] == 0
    rows = json.loads(pyrsia("setup", "--root", home / "root", "--json")[1])["clients"]
    assert next(row["now"][0] for row in rows if row["client"] == "pip") == f"{node.url}/pypi/simple/"


def test_print_shows_the_change_and_makes_none(pyrsia, home, node):
    code, out, _ = pyrsia("setup", "maven", "--node", node.url, "--print")
    assert code == 0
    assert f"+      <url>{node.url}/maven2/</url>" in out
    assert not list(home.rglob("settings.xml"))
    assert not list(home.rglob("*.json"))


def test_the_mode_is_the_nodes_and_what_fails_in_it_is_named(pyrsia, node):
    code, out, _ = pyrsia("setup", "maven", "--node", node.url)
    assert code == 0
    assert "mode: verified\n" in out
    assert "plugins and everything that is only witnessed are refused" in out
    assert "1 files: jar-plugin-3.jar" in out
    code, out, _ = pyrsia("setup", "maven", "--node", node.url, "--mode", "verified+witnessed", "--json")
    told = json.loads(out)["mode"]
    assert (told["node"], told["wanted"]) == ("verified", "verified+witnessed")
    assert '[maven] mode = "verified+witnessed"' in told["set_it"]


@pytest.mark.parametrize("asked", [(), ("--mode", "proxy")])
def test_a_mode_that_no_node_told_is_not_said_to_be_in_force(pyrsia, home, asked):
    code, out, _ = pyrsia("setup", "pip", "--node", "http://127.0.0.1:9", *asked)
    assert code == 0
    assert (
        f"mode: not known, no node answers; a new node has verified. In {asked[1] if asked else 'verified'}:\n"
        in out
    )
    assert "to have that and no other, its operator writes into its policy.toml: [pip] mode =" in out


def test_on_a_terminal_the_mode_is_asked_for_with_what_fails_in_each(pyrsia, node, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("verified+witnessed\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, out, _ = pyrsia("setup", "maven", "--node", node.url)
    assert code == 0
    assert "verified  (the node's now)" in out
    assert "Maven's own plugins and everything that is only witnessed are refused" in out
    assert "mode: verified\n" in out  # what is in force, not what is wished for
    assert "wanted: verified+witnessed\n" in out
    assert "the node is in mode verified; for verified+witnessed write into" in out


def test_the_policy_of_ones_own_node_is_edited_and_keeps_its_comments(pyrsia, home):
    folder = home / "node"
    folder.mkdir()
    (folder / "config.toml").write_text("[http]\nport = 7999\n")
    (folder / "policy.toml").write_text("# mine\n[all]\nagreeing = 3 # why\n")
    code, out, _ = pyrsia("setup", "pip", "--node", folder, "--mode", "proxy")
    assert code == 0
    assert f"wrote {folder}/policy.toml" in out
    assert "warning: no node answers at http://127.0.0.1:7999" in out
    assert "mode: proxy\n" in out  # it was written into the node's own policy
    text = (folder / "policy.toml").read_text()
    assert text.startswith("# mine\n[all]\nagreeing = 3 # why\n")
    assert '[pip]\nmode = "proxy"' in text
    (folder / "policy.toml").write_text("[all]\nnonsense = 1\n")
    code, _, err = pyrsia("setup", "pip", "--node", folder, "--mode", "verified")
    assert code == 2
    assert "nonsense" in err
    assert (folder / "policy.toml").read_text() == "[all]\nnonsense = 1\n"


def test_the_policy_behind_a_link_is_edited_and_keeps_its_mode(pyrsia, home):
    folder = home / "node"
    folder.mkdir()
    (folder / "config.toml").write_text("[http]\nport = 7999\n")
    real = home / "managed.toml"
    real.write_text("# managed\n")
    real.chmod(0o600)
    (folder / "policy.toml").symlink_to(real)
    assert pyrsia("setup", "pip", "--node", folder, "--mode", "proxy")[0] == 0
    assert (folder / "policy.toml").is_symlink()
    assert '[pip]\nmode = "proxy"' in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600


def test_undo_says_what_it_did_and_a_second_one_that_there_is_nothing(pyrsia, home, node):
    path = home / "xdg_config_home" / "pip" / "pip.conf"
    pyrsia("setup", "pip", "--node", node.url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    code, out, _ = pyrsia("setup", "pip", "--undo", "--print")
    assert (code, "-[global]" in out, path.exists()) == (0, True, True)
    code, out, _ = pyrsia("setup", "pip", "--undo")
    assert (code, path.exists(), "is gone, as before" in out) == (0, False, True)
    code, _, err = pyrsia("setup", "pip", "--undo")
    assert (code, "nothing" in err or "no setup of pip to undo" in err) == (1, True)


@pytest.mark.parametrize(
    "url",
    ["http://u:p@h:1", "http://h:1/a b", "http://h/'x", 'http://h/"', "http://h/<x>", "http://h/$x", "ftp://h", "http://",
     "http://h\nx", "http://h/?q=1", "http://h/#f"],
)  # fmt: skip
def test_an_address_that_cannot_stand_in_configuration_is_refused(pyrsia, home, url):
    code, _, err = pyrsia("setup", "pip", "--node", url)
    assert code in (1, 2)
    assert err
    assert not list(home.rglob("pip.conf"))


@pytest.mark.parametrize(
    ("url", "told"),
    [("http://h:1/", "http://h:1"), ("https://h.example/pyrsia", "https://h.example/pyrsia"), ("http://[::1]:7", "http://[::1]:7")],
)  # fmt: skip
def test_an_address_is_taken_as_it_is_but_for_its_last_slash(url, told):
    assert nodes.address(url) == told


def test_a_folder_without_a_node_or_a_port_is_refused(home):
    for text, what in ((None, "no node in"), ("[http]\nport = 0\n", "takes any free port")):
        folder = home / "node"
        folder.mkdir(exist_ok=True)
        if text is not None:
            (folder / "config.toml").write_text(text)
        with pytest.raises(Refusal, match=what):
            nodes.address(str(folder))
    (home / "node/config.toml").write_text('[http]\nhost = "0.0.0.0"\nport = 7001\n')
    assert nodes.address(str(home / "node")) == "http://127.0.0.1:7001"


def test_options_that_need_a_client_say_so(pyrsia):
    for option in (("--undo",), ("--strict",), ("--mode", "proxy")):
        code, _, err = pyrsia("setup", *option)
        assert code == 2
        assert "name a client" in err
