"""What `pyrsia doctor` says of the sandbox, for each thing that a survey can find."""

import json
import os

import pytest
from click.testing import CliRunner

from pyrsia.builds import sandbox
from pyrsia.builds.sandbox import HostSurvey
from pyrsia.cli.main import cli

KERNEL = "by the kernel (control groups, version 2), and by a look at them every 100 ms"
WATCHER = "by a look at them every 100 ms; no control group is ours to use"


def told(monkeypatch: pytest.MonkeyPatch, found: HostSurvey, *words: str) -> str:
    async def survey() -> HostSurvey:
        return found

    monkeypatch.setattr(sandbox, "survey", survey)
    done = CliRunner().invoke(cli, ["doctor", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_machine_that_has_all_needs_nothing(monkeypatch: pytest.MonkeyPatch):
    facts = (("bubblewrap", "not installed"), ("unshare", "works"))

    output = told(monkeypatch, HostSurvey("namespace", "unshare", 7, True, facts, "", KERNEL, roots=True))

    assert "ok    build sandbox: namespace, by unshare: every kind of package\n" in output
    assert "        bubblewrap: not installed\n" in output
    assert f"ok    build limits: memory and processes bounded {KERNEL}\n" in output
    assert "do: apt-get install bubblewrap" not in output


@pytest.mark.parametrize(
    ("isolation", "words"),
    [
        ("confined", "confined: pure packages only, and only where the network lets that count"),
        ("", "none: this machine builds nothing"),
    ],
)
def test_a_machine_that_lacks_something_gets_one_command(isolation: str, words: str, monkeypatch):
    found = HostSurvey(isolation, isolation, 7, False, (), "apt-get install bubblewrap", WATCHER)

    output = told(monkeypatch, found)

    assert f"lack  build sandbox: {words}; do: apt-get install bubblewrap\n" in output


def test_an_old_kernel_that_cannot_show_roots_is_named(monkeypatch: pytest.MonkeyPatch):
    facts = (("bubblewrap", "works"), ("file systems of builds", "mount_setattr is not in this kernel"))

    output = told(monkeypatch, HostSurvey("namespace", "bubblewrap", 7, True, facts, "", KERNEL))

    words = "namespace, by bubblewrap: pure packages only, see `file systems of builds`"
    assert f"lack  build sandbox: {words}\n" in output
    assert "        file systems of builds: mount_setattr is not in this kernel\n" in output


@pytest.mark.parametrize(("uid", "whose"), [(0, ""), (1000, "--user ")])
def test_where_systemd_runs_the_command_gives_the_node_a_group_to_divide(uid: int, whose: str, monkeypatch):
    found = HostSurvey("namespace", "bubblewrap", 7, uid == 0, (), "", WATCHER, roots=True)
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or real(path))
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    rows = json.loads(told(monkeypatch, found, "--json"))["checks"]

    (row,) = [row for row in rows if row["what"] == "build limits"]
    assert row["ok"] is False
    assert row["do"] == f"systemd-run {whose}--scope -p Delegate=yes pyrsia node run"


def test_where_nobody_can_give_a_group_the_watcher_is_enough(monkeypatch: pytest.MonkeyPatch):
    found = HostSurvey("namespace", "bubblewrap", 7, True, (), "", WATCHER, roots=True)
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path != "/run/systemd/system" and real(path))

    assert f"ok    build limits: memory and processes bounded {WATCHER}\n" in told(monkeypatch, found)
