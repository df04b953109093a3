"""Configuration: what is written is read back; each mistake is named."""

import ast
from pathlib import Path

import pytest

from pyrsia import config
from pyrsia.errors import Refusal


def test_a_missing_file_gives_the_defaults(tmp_path):
    assert config.load(tmp_path, environ={}) == config.Config()


def test_what_is_saved_is_read_back(tmp_path):
    changed = config.Config(
        node=config.NodeSection(name='a "quoted" name'),
        http=config.HttpSection(port=0, names=("a.example", "b.example")),
        builds=config.BuildsSection(allow_confined=True),
        knowledge=config.KnowledgeSection(
            (
                config.Webhook('https://hooks.example/?a="b"'),
                config.Webhook("http://[::1]:8080/", (), ("pkg:pypi/*",), "high", "secret", True, 7),
            )
        ),
    )

    path = config.save(changed, tmp_path)

    assert config.load(tmp_path, environ={}) == changed
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_environment_wins_over_the_file(tmp_path):
    config.save(config.Config(), tmp_path)

    loaded = config.load(tmp_path, environ={"PYRSIA_HTTP__PORT": "1234", "PYRSIA_HTTP__NAMES": "a,b"})

    assert loaded.http.port == 1234
    assert loaded.http.names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[http]\nport = 70000\n", "port"),
        ("[http]\nprot = 1\n", "prot"),
        ("[htpt]\nport = 1\n", "htpt"),
        ("[http\n", "config.toml"),
        ('[log]\nformat = "xml"\n', "format"),
        ("[storage]\nallocated_gb = 0\n", "allocated_gb"),
        ('[[knowledge.webhooks]]\nurl = "https://a"\nseverity = "bad"\n', "severity"),
        ("[[knowledge.webhooks]]\nkinds = []\n", "url"),
        ('[[knowledge.webhooks]]\nurl = "https://a"\nsecret = "s"\n', "secret"),
        ('[knowledge]\nwebhooks = ["https://a"]\n', "webhooks"),
        ('[[knowledge.webhooks]]\nurl = "https://a"\n' * 17, "webhooks"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_file(tmp_path, text, named):
    (tmp_path / config.CONFIG_NAME).write_text(text)

    with pytest.raises(Refusal) as caught:
        config.load(tmp_path, environ={})

    assert caught.value.code == "config-invalid"
    assert named in f"{caught.value.what} {caught.value.who}"


ID = "a" * 52


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("net.peers", f'["{peer}"]')
            for peer in (
                "rubbish",
                f"{ID}@tcp://1.2.3.4",
                f"{ID}@tcp://1.2.3.4:",
                f"{ID}@tcp://1.2.3.4:0",
                f"{ID}@tcp://1.2.3.4:65536",
                f"{ID}@tcp://:7889",
                f"{ID}@tcp://a b:7889",
                f"{ID}@tcp://::1:7889",
                f"{ID}@tcp://a:7889/",
                f"{ID}@udp://1.2.3.4:7889",
                f"{ID[:-1]}@tcp://1.2.3.4:7889",
                f"{ID}@1.2.3.4:7889",
                "",
            )
        ),
        *(
            ("net.bootstrap", f'["{url}"]')
            for url in (
                "ftp://x",
                "x:7888",
                "http://",
                "http://a:b",
                "http://a:0",
                "http://a b",
                "http://[::1",
                "",
            )
        ),
        *(
            ("net.dns", f'["{name}"]')
            for name in ("a b", "", ".", "a..b", "-a", "a" * 64, "x." * 130, "http://a")
        ),
        *(
            ("net.lan", f'"{lan}"')
            for lan in (
                "1.2.3.4:70000",
                "239.1.1.1",
                "239.1.1.1:0",
                "239.1.1.1:-1",
                "[ff02::1]:7893",
                "lan:7893",
            )
        ),
        ("net.data_port", "7889"),
        ("net.broadcast_port", "7888"),
        ("net.control_port", "7891"),
    ],
)
def test_what_would_do_nothing_or_fail_late_is_refused_with_its_key(tmp_path, key, value):
    section, _, name = key.partition(".")
    (tmp_path / config.CONFIG_NAME).write_text(f"[{section}]\n{name} = {value}\n")

    with pytest.raises(Refusal) as caught:
        config.load(tmp_path, environ={})

    assert caught.value.code == "config-invalid"
    assert f"not valid: {'net.broadcast_port' if name == 'control_port' else key}" in caught.value.what


def test_what_names_others_in_every_good_form_is_taken(tmp_path):
    (tmp_path / config.CONFIG_NAME).write_text(
        f"""
[http]
host = "127.0.0.2"
port = 7889
[net]
peers = ["{ID}@tcp://1.2.3.4:7889", "{ID}@tcp://[::1]:1", "{ID}@tcp://node-1.packages.example:65535"]
bootstrap = ["http://1.2.3.4:7888", "https://packages.example/", "http://[::1]:7888", "https://a.example/pyrsia"]
dns = ["nodes.packages.example", "_nodes.example.", "localhost"]
lan = "239.255.77.77:7893"
plain_port = 7889
"""
    )
    assert len(config.load(tmp_path, environ={}).net.peers) == 3
    free = {f"PYRSIA_NET__{key}_PORT": "0" for key in ("CONTROL", "DATA", "BROADCAST")}
    assert config.load(tmp_path, environ=free).net.data_port == 0
    with pytest.raises(Refusal, match=r"net\.plain_port is 7889, as net\.control_port is"):
        config.load(tmp_path, environ={"PYRSIA_NET__DATA_SECURITY": "null"})
    with pytest.raises(Refusal, match=r"net\.control_port is 7889, as http\.port is"):
        config.load(tmp_path, environ={"PYRSIA_HTTP__HOST": "::"})


@pytest.mark.parametrize("name", [config.CONTROL_SOCKET, config.CONTROL_TOKEN, config.CONFIG_NAME])
def test_a_file_that_many_must_find_is_named_in_one_place(name):
    root = Path(config.__file__).parent
    sources = [*root.rglob("*.py"), *(root.parent / "tui").rglob("*.py")]
    spelled = [
        path.relative_to(root.parent).as_posix()
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == name
    ]
    assert spelled == ["pyrsia/config.py"]
