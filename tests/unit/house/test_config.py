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

    loaded = config.load(tmp_path, environ={"PYRSIA_HTTP__PORT": "1234", "PYRSIA_NET__PEERS": "a,b"})

    assert loaded.http.port == 1234
    assert loaded.net.peers == ("a", "b")


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
