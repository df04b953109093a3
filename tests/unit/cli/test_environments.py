"""`build environment`: whose environments are meant."""

import json

import pytest

from pyrsia.builds.environments.making import place


@pytest.fixture
def noted(monkeypatch):
    """The folder that the command opened its store in."""
    opened = []

    class Store:
        def __init__(self, folder):
            opened.append(folder)

        def here(self):
            return ()

    monkeypatch.setattr("pyrsia.builds.environments.store.Store", Store)
    return opened


def test_the_environments_are_those_of_the_node_that_other_commands_ask(pyrsia, noted, tmp_path, monkeypatch):
    node, other = tmp_path / "node", tmp_path / "other"
    node.mkdir()
    monkeypatch.delenv("PYRSIA_DATA", raising=False)
    monkeypatch.setenv("PYRSIA_NODE", str(node))
    code, out, _ = pyrsia("build", "environment", "list", "--json")
    pyrsia("build", "environment", "list", "--data", str(other))
    monkeypatch.setenv("PYRSIA_NODE", "http://127.0.0.1:7888")
    pyrsia("build", "environment", "list")
    assert (code, bool(json.loads(out))) == (0, True)
    assert noted[:2] == [place(node, ""), place(other, "")]
    assert noted[2] not in noted[:2]
