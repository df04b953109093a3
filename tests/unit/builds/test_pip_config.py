"""The user's pip configuration, read as pip reads it."""

from pathlib import Path

import pytest

from pyrsia.builds.pip import config
from pyrsia.errors import Refusal

GLOBAL = "[global]\nindex-url = https://one.example/simple/\ncert = /etc/one.pem\n"
USER = "[global]\nindex-url = https://two.example/simple\nextra_index_url =\n  http://three.example/s/\n  file:///srv/x\n"


def test_nothing_configured_is_the_public_index():
    assert config.parse([], {}) == config.PipConfig()


def test_a_later_file_wins_and_a_variable_wins_over_every_file():
    files = [("global", GLOBAL), ("user", USER)]

    assert config.parse(files, {}).indexes == (
        "https://two.example/simple",
        "http://three.example/s",
        "file:///srv/x",
    )
    assert config.parse(files, {}).cert == "/etc/one.pem"
    assert (
        config.parse(files, {"PIP_INDEX_URL": "https://four.example/"}).indexes[0] == "https://four.example"
    )
    assert config.parse(files, {"PIP_EXTRA_INDEX_URL": "https://a.example https://b.example"}).indexes[
        1:
    ] == (
        "https://a.example",
        "https://b.example",
    )


def test_the_section_of_the_install_command_wins_over_the_global_one():
    text = "[install]\nindex-url=https://narrow.example/simple\n[global]\nindex-url=https://wide.example/simple\n"

    assert config.parse([("f", text)], {}).indexes == ("https://narrow.example/simple",)


def test_find_links_and_constraints_are_named_and_not_used():
    found = config.parse([("f", "[global]\nfind-links = /opt/wheels\n")], {"PIP_CONSTRAINT": "c.txt"})

    assert found.unused == (
        "pip's option find-links (/opt/wheels) is not used for builds",
        "pip's option constraint (c.txt) is not used for builds",
    )
    assert found.indexes == (config.DEFAULT_INDEX,)


def test_certificate_proxy_trust_and_timeout_are_taken_over():
    env = {
        "PIP_CERT": "/a.pem",
        "PIP_CLIENT_CERT": "/b.pem",
        "PIP_PROXY": "http://proxy.example:3128",
        "PIP_TRUSTED_HOST": "one.example two.example:8443",
        "PIP_DEFAULT_TIMEOUT": "180",
    }

    found = config.parse([], env)

    assert (found.cert, found.client_cert, found.proxy) == ("/a.pem", "/b.pem", "http://proxy.example:3128")
    assert found.trusted_hosts == ("one.example", "two.example:8443")
    assert found.timeout_s == 180.0


@pytest.mark.parametrize(
    "text",
    [
        "[global\nindex-url = x",
        "[global]\nindex-url = ftp://x/",
        "[global]\ntimeout = soon",
        "[global]\ntimeout = nan",
    ],
)
def test_what_pip_would_refuse_is_refused_with_its_place(text):
    with pytest.raises(Refusal) as caught:
        config.parse([("pip.conf", text)], {})

    assert caught.value.code == "config-invalid"


def test_the_files_are_pip_s_in_pip_s_order():
    home, prefix = Path("/home/u"), Path("/venv")
    plain = [str(path) for path in config.config_files({}, home, prefix)]

    assert plain == [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        "/home/u/.pip/pip.conf",
        "/home/u/.config/pip/pip.conf",
        "/venv/pip.conf",
    ]
    assert config.config_files({"PIP_CONFIG_FILE": "/dev/null"}, home, prefix) == ()


def test_a_named_file_that_exists_replaces_the_user_s_own(tmp_path):
    named = tmp_path / "mine.conf"
    named.write_text("[global]\nindex-url = https://mine.example/simple\n")
    env = {"PIP_CONFIG_FILE": str(named), "HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none")}
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nindex-url = https://other.example/simple\n")

    assert str(named) == str(config.config_files(env, tmp_path, tmp_path)[-1])
    assert config.load(env).indexes == ("https://mine.example/simple",)
