"""The preflight of `make`: one line that names all that lacks, one command that installs it.

It runs on a PATH of stand-ins only, so that a machine can lack anything and be root or not.
"""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "preflight.sh"
PYTHON = """#!/bin/sh
case "$2" in
*version_info*) exit {old} ;;
*ensurepip*) exit {no_venv} ;;
*Python.h*) exit {no_headers} ;;
esac
[ "$1" = -V ] && echo "Python 3.9.2"
exit 0
"""


@dataclass
class Machine:
    """A PATH with just these programs on it."""

    folder: Path
    uid: int = 1000
    python: bool = True
    old: int = 0
    no_venv: int = 0
    no_headers: int = 0
    programs: tuple[str, ...] = ("cc", "bwrap")
    apt_get: bool = False
    env: dict[str, str] = field(default_factory=dict)

    def run(self) -> subprocess.CompletedProcess[str]:
        self.program("id", f"echo {self.uid}")
        for name in self.programs:
            self.program(name, "exit 0")
        if self.python:
            text = PYTHON.format(old=self.old, no_venv=self.no_venv, no_headers=self.no_headers)
            self.program("python3", text.partition("\n")[2])
        if self.apt_get:
            self.program("apt-get", f'echo "$DEBIAN_FRONTEND $*" >> "{self.folder}/called"')
        return subprocess.run(
            ["/bin/sh", str(SCRIPT)],
            env={"PATH": str(self.folder)} | self.env,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def called(self) -> list[str]:
        path = self.folder / "called"
        return path.read_text().splitlines() if path.exists() else []


def test_a_machine_with_everything_passes_in_silence(tmp_path: Path):
    done = Machine(tmp_path).run()

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_user_is_told_everything_in_one_line_with_one_command(tmp_path: Path):
    machine = Machine(tmp_path, no_venv=1, no_headers=1, programs=(), apt_get=True)
    told = machine.run()

    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr == (
        "pyrsia: this machine lacks python3-venv, python3-dev (Python.h), a C compiler; "
        "install with: sudo apt-get install -y python3-venv python3-dev build-essential\n"
    )
    assert machine.called() == []


@pytest.mark.parametrize(
    ("lacking", "words", "packages"),
    [
        ({"python": False}, "python3 (3.11 or newer)", "python3 python3-venv python3-dev"),
        ({"no_venv": 1}, "python3-venv", "python3-venv"),
        ({"no_headers": 1}, "python3-dev (Python.h)", "python3-dev"),
        ({"programs": ("bwrap",)}, "a C compiler", "build-essential"),
    ],
)
def test_each_thing_is_named_alone(lacking: dict[str, object], words: str, packages: str, tmp_path: Path):
    done = Machine(tmp_path, **lacking).run()

    assert done.returncode == 1
    assert done.stderr == (
        f"pyrsia: this machine lacks {words}; install with: sudo apt-get install -y {packages}\n"
    )


def test_another_compiler_name_is_as_good(tmp_path: Path):
    assert Machine(tmp_path, programs=("gcc", "bwrap")).run().returncode == 0


def test_root_with_apt_get_says_what_lacks_and_installs_just_that(tmp_path: Path):
    machine = Machine(tmp_path, uid=0, no_venv=1, programs=("bwrap",), apt_get=True)
    done = machine.run()

    assert done.returncode == 0
    assert done.stdout == (
        "pyrsia: this machine lacks python3-venv, a C compiler; "
        "running: apt-get update && apt-get install -y python3-venv build-essential\n"
    )
    assert machine.called() == [" update -qq", "noninteractive install -y python3-venv build-essential"]


def test_root_without_apt_get_is_told_and_nothing_runs(tmp_path: Path):
    done = Machine(tmp_path, uid=0, programs=("bwrap",)).run()

    assert done.returncode == 1
    assert "this machine lacks a C compiler" in done.stderr


def test_an_install_that_fails_is_no_success(tmp_path: Path):
    machine = Machine(tmp_path, uid=0, programs=("bwrap",))
    machine.program("apt-get", "exit 100")

    assert machine.run().returncode == 100


def test_an_old_python_is_named_with_the_way_to_name_another(tmp_path: Path):
    done = Machine(tmp_path, old=1).run()

    assert done.returncode == 1
    assert done.stderr == (
        "pyrsia: python3 is Python 3.9.2, 3.11 or newer is needed; "
        "name another with: make PYTHON=/path/to/python3.11\n"
    )


def test_another_python_may_be_named(tmp_path: Path):
    machine = Machine(tmp_path, old=1, env={"PYTHON": "python4"})
    machine.program("python4", "exit 0")

    assert machine.run().returncode == 0


def test_bubblewrap_is_advised_to_a_user_and_does_not_stop_him(tmp_path: Path):
    done = Machine(tmp_path, programs=("cc",)).run()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "pyrsia: bubblewrap is advised (builds use unshare without it, where they may make namespaces); "
        "install with: sudo apt-get install -y bubblewrap\n"
    )


def test_root_gets_bubblewrap_installed_unless_told_not_to(tmp_path: Path):
    machine = Machine(tmp_path, uid=0, programs=("cc",), apt_get=True)

    assert machine.run().returncode == 0
    assert machine.called() == [" update -qq", "noninteractive install -y bubblewrap"]
    machine.env["PYRSIA_NO_BWRAP"] = "1"
    assert machine.run().returncode == 0
    assert len(machine.called()) == 2


def test_root_without_the_network_goes_on_without_bubblewrap(tmp_path: Path):
    machine = Machine(tmp_path, uid=0, programs=("cc",))
    machine.program("apt-get", "exit 100")
    done = machine.run()

    assert done.returncode == 0
    assert done.stdout.endswith(
        "pyrsia: bubblewrap could not be installed; builds will use unshare where they may, and else run confined\n"
    )
