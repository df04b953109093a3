"""A user's machine without a node: own folders, no variables of the developer's."""

import pytest

from pyrsia.cli.main import cli, rewrite
from pyrsia.cli.tell import run
from tests.reference.fakenode import ANSWERS, FakeNode


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for variable in ("PYRSIA_NODE", "PYRSIA_TRUST", "PYRSIA_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    return home


@pytest.fixture
def pyrsia(capsys):
    """Run a command line: (exit code, standard output, standard error)."""

    def call(*arguments):
        code = run(cli, rewrite([str(one) for one in arguments]))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def node():
    with FakeNode(dict(ANSWERS)) as made:
        yield made
