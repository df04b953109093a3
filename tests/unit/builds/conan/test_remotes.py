"""The operator's Conan remotes, read as data."""

import json

import pytest

from pyrsia.builds.conan import remotes
from pyrsia.errors import Refusal


def test_without_a_conan_home_there_are_no_remotes(tmp_path):
    assert remotes.load(tmp_path / "nowhere") == remotes.Remotes({}, {})


def test_enabled_remotes_come_in_their_order_and_sources_from_global_conf(tmp_path):
    rows = [
        {"name": "mine", "url": "https://mine.example/conan/", "verify_ssl": True},
        {"name": "off", "url": "https://off.example", "disabled": True},
        {"name": "folder", "url": "/home/me/recipes", "remote_type": "local-recipes-index"},
        {"name": "center", "url": "http://center.example"},
    ]
    (tmp_path / "remotes.json").write_text(json.dumps({"remotes": rows}))
    (tmp_path / "global.conf").write_text(
        "# a comment\ncore:non_interactive = True\n"
        "core.sources:download_urls = ['https://backup.example/', 'origin']\n"
        'user.pyrsia:source_urls=["https://code.example"]\n'
    )

    found = remotes.load(tmp_path)

    assert found.conan == {"conan-0": "https://mine.example/conan", "conan-1": "http://center.example"}
    assert found.sources == {"source-0": "https://backup.example", "source-1": "https://code.example"}
    assert list(found.all) == ["conan-0", "conan-1", "source-0", "source-1"]


def test_the_home_is_conans_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CONAN_HOME", str(tmp_path))
    assert remotes.home() == tmp_path
    monkeypatch.delenv("CONAN_HOME")
    monkeypatch.setenv("HOME", "/nobody")
    assert str(remotes.home()) == "/nobody/.conan2"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"remotes": [1]}', '{"remotes": [{}]}', '{"remotes": 3}', "[" * 5000, "\xff"]
)
def test_a_broken_list_is_refused_and_the_home_named(tmp_path, text):
    (tmp_path / "remotes.json").write_text(text, encoding="latin-1")

    with pytest.raises(Refusal, match="remotes") as caught:
        remotes.load(tmp_path)

    assert caught.value.code == "config-invalid"
    assert str(tmp_path) in caught.value.who


def test_only_http_is_asked(tmp_path):
    rows = [{"name": "x", "url": "file:///etc"}, {"name": "y", "url": "ftp://y"}]
    (tmp_path / "remotes.json").write_text(json.dumps({"remotes": rows}))

    assert remotes.load(tmp_path).conan == {}
