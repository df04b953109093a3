"""Which kernel works: the fastest that runs here, or the one that PYRSIA_SHA256 names, or a clear no."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyrsia._native import merkle
from tests.native.test_merkle import KERNELS
from tests.reference import merkle as oracle

ROOT = Path(__file__).parents[2]
LENGTHS = (0, 1, 55, 56, 63, 64, 65, 119, 65_536)
HASHED = f"""
from pyrsia._native import merkle
leaves = merkle.leaf_hashes([bytes([n % 251]) * n for n in {LENGTHS}])
print(merkle.kernel(), merkle.range_root(leaves).hex())
"""
ROOT_OF_ALL = oracle.range_root(oracle.leaf_hashes([bytes([n % 251]) * n for n in LENGTHS])).hex()


def told(word: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own that is told by `word` how to hash."""
    environment = {name: value for name, value in os.environ.items() if name != "PYRSIA_SHA256"}
    if word is not None:
        environment["PYRSIA_SHA256"] = word
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", KERNELS)
def test_a_process_hashes_the_way_it_is_told_and_to_the_same_root(name: str) -> None:
    done = told(name, "-c", HASHED)
    assert (done.stdout.split(), done.stderr) == ([name, ROOT_OF_ALL], "")


@pytest.mark.parametrize("word", [None, ""])
def test_a_process_that_is_told_nothing_takes_the_fastest(word: str | None) -> None:
    assert told(word, "-c", HASHED).stdout.split() == [KERNELS[-1], ROOT_OF_ALL]


@pytest.mark.parametrize("word", ["sha-ni", "SHANI", "portable ", "avx512", "\x1b[31m" + "x" * 300])
def test_a_word_that_is_unknown_ends_the_import_with_a_sentence(word: str) -> None:
    done = told(word, "-c", "import pyrsia.log.tree")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: PYRSIA_SHA256 names a way to hash that is not built in; set it to ")
    assert word not in done.stderr


def test_the_command_tells_it_as_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    command = ("-m", "pyrsia", "verify", str(tmp_path / "file"))
    spoken = told("quick", *command)
    assert (spoken.returncode, spoken.stdout) == (2, "")
    assert spoken.stderr.splitlines()[0] == "pyrsia: PYRSIA_SHA256 names a way to hash that is not built in"
    assert "Traceback" not in spoken.stderr

    error = json.loads(told("quick", *command, "--json").stdout)["error"]
    assert error["code"] == "config-invalid"
    assert error["do"].endswith("or unset it")


def test_a_choice_that_fails_leaves_the_active_kernel_at_work() -> None:
    active = merkle.kernel()
    assert not merkle._select(b"unknown")
    assert "not built in" in merkle._fault()
    assert merkle.kernel() == active
    assert merkle._select(active.encode())
    assert merkle._fault() == ""
