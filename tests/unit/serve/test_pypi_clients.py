"""Unchanged pip, uv and twine against a node: cold, warm, a wrong hash, a refusal, a transfer that is cut, uploads.

Each refusal stands beside an upstream that holds the refused file and counts what it is asked.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.unit.serve.pypi_toys import HELD, Place, digest, place, refuse
from tests.unit.serve.toy import toy_wheel

pytestmark = pytest.mark.clients

BIN = Path(sys.executable).parent
PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "0")


def program(name: str) -> str:
    found = BIN / name
    path = str(found) if found.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: this client is not tried")
    return path


async def run(folder: Path, *argv: str | Path) -> tuple[int, str]:
    """Exit code and all output of a program that knows no configuration but ours."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "TWINE_"))
    }
    ours = {
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_HTTP_RETRIES": "0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    done = await trio.run_process(
        [str(one) for one in argv],
        env={**kept, **ours},
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, " ".join(done.stdout.decode().split())


def install(client: str, here: Place, target: Path, *wanted: str | Path) -> list[str | Path]:
    index = f"{here.url}/pypi/simple/"
    if client == "pip":
        # Of hosts without TLS pip keeps only what comes from one that it is told to trust.
        return [*PIP, "--trusted-host", "127.0.0.1", "--target", target, "--index-url", index, *wanted]
    return [program("uv"), "pip", "install", "--target", target, "--default-index", index, *wanted]


@pytest.mark.parametrize("client", ["pip", "uv"])
async def test_one_index_gives_what_the_network_the_shelf_and_upstream_have(
    tmp_path: Path, client: str
) -> None:
    async with place(tmp_path) as here:
        here.node.publish(*toy_wheel("ours", "1.0", ("pushed", "theirs>=2")))
        here.node.publish(*toy_wheel("theirs", "1.0"))
        await here.push(await here.token(), *toy_wheel("pushed", "1.5")[:2])
        here.upstream.list("theirs", theirs_2_0=toy_wheel("theirs", "2.0")[1])
        here.upstream.list("pushed", pushed_9_0=toy_wheel("pushed", "9.0")[1])

        cold = await run(tmp_path, *install(client, here, tmp_path / "cold", "ours"))
        before = len([one for one in here.seen if "/simple/" not in one])
        target = tmp_path / "warm"
        warm = await run(tmp_path, *install(client, here, target, "ours"))
        again = [one for one in here.seen if "/simple/" not in one][before:]

    assert (cold[0], warm[0]) == (0, 0), cold[1] + warm[1]
    assert {name: (target / f"{name}.py").read_text() for name in ("ours", "pushed", "theirs")} == {
        "ours": "version = '1.0'\n",
        "pushed": "version = '1.5'\n",
        "theirs": "version = '2.0'\n",
    }
    assert again == []  # every file comes from the client's own cache


@pytest.mark.parametrize("client", ["pip", "uv"])
async def test_a_wrong_hash_in_a_requirements_file_installs_nothing(tmp_path: Path, client: str) -> None:
    filename, data, metadata = toy_wheel("ours", "1.0")
    right, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    right.write_text(f"ours==1.0 --hash=sha256:{digest(data)}\n")
    wrong.write_text(f"ours==1.0 --hash=sha256:{'0' * 64}\n")
    async with place(tmp_path) as here:
        here.node.publish(filename, data, metadata)
        good = await run(tmp_path, *install(client, here, tmp_path / "good", "--require-hashes", "-r", right))
        bad = await run(tmp_path, *install(client, here, tmp_path / "bad", "--require-hashes", "-r", wrong))

    assert good[0] == 0, good[1]
    assert bad[0] != 0
    assert "hash" in bad[1].lower()
    assert not (tmp_path / "bad" / "ours.py").exists()


@pytest.mark.parametrize("client", ["pip", "uv"])
async def test_a_refusal_is_read_by_whoever_installs_and_upstream_is_not_asked_for_the_file(
    tmp_path: Path, client: str
) -> None:
    filename, data, metadata = toy_wheel("bad", "1.0")
    async with place(tmp_path) as here:
        refuse(here.node, here.node.publish(filename, data, metadata), what="policy refuses pkg:pypi/bad@1.0")
        here.upstream.list("bad", bad_1_0=data)
        code, said = await run(tmp_path, *install(client, here, tmp_path / "site", "bad"))

    assert code != 0
    assert "policy refuses pkg:pypi/bad@1.0" in said
    assert [one for one in here.upstream.asked if one.startswith(HELD)] == []
    assert not (tmp_path / "site" / "bad.py").exists()


@pytest.mark.parametrize("client", ["pip", "uv"])
async def test_a_transfer_that_is_cut_installs_nothing_and_the_next_one_does(
    tmp_path: Path, client: str
) -> None:
    async with place(tmp_path) as here:
        here.upstream.list("cut", cut_1_0=toy_wheel("cut", "1.0")[1])
        here.upstream.fails_at = 100
        first = await run(tmp_path, *install(client, here, tmp_path / "site", "cut"))
        assert not (tmp_path / "site" / "cut.py").exists()
        here.upstream.fails_at = -1
        second = await run(tmp_path, *install(client, here, tmp_path / "site", "cut"))

    assert first[0] != 0
    assert second[0] == 0, second[1]
    assert (tmp_path / "site" / "cut.py").exists()


async def test_a_lock_of_uv_that_was_made_elsewhere_installs_the_same_bytes_through_the_node(
    tmp_path: Path,
) -> None:
    """`uv sync --frozen` would go to the addresses in the lock; exported with its hashes it comes to the node."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["ours"]\n'
    )
    uv = program("uv")
    async with place(elsewhere) as other, place(tmp_path) as here:
        for one in (other, here):
            one.node.publish(*toy_wheel("ours", "1.0"))
        here.node.publish(*toy_wheel("ours", "2.0"))
        index = f"{other.url}/pypi/simple/"
        locked = await run(tmp_path, uv, "lock", "--project", project, "--default-index", index)
        wanted = tmp_path / "wanted.txt"
        told = (uv, "export", "--project", project, "--frozen", "--no-emit-project", "-o", wanted, "-q")
        exported = await run(tmp_path, *told)
        before = len(other.seen)
        got = await run(tmp_path, *install("uv", here, tmp_path / "site", "--require-hashes", "-r", wanted))

    assert (locked[0], exported[0]) == (0, 0), locked[1] + exported[1]
    assert got[0] == 0, got[1]
    assert (tmp_path / "site" / "ours.py").read_text() == "version = '1.0'\n"
    assert other.seen[before:] == []


@pytest.mark.parametrize("client", ["twine", "uv"])
async def test_what_is_published_is_installed_and_a_refusal_is_read_by_whoever_publishes(
    tmp_path: Path, client: str
) -> None:
    filename, data, _ = toy_wheel("acme", "1.0")
    (tmp_path / filename).write_bytes(data)
    async with place(tmp_path) as here:
        url = f"{here.url}/pypi/legacy/"

        def publish(token: str) -> list[str | Path]:
            if client == "twine":
                told = ("--repository-url", url, "-u", "__token__", "-p", token, "--non-interactive")
                return [program("twine"), "upload", "--disable-progress-bar", *told, tmp_path / filename]
            return [program("uv"), "publish", "--publish-url", url, "--token", token, tmp_path / filename]

        no = await run(tmp_path, *publish(await here.token("pkg:pypi/other")))
        yes = await run(tmp_path, *publish(await here.token("pkg:pypi/acme")))
        got = await run(tmp_path, *install("uv", here, tmp_path / "site", "acme"))

    assert no[0] != 0
    assert "may not push pkg:pypi/acme" in no[1]
    assert yes[0] == 0, yes[1]
    assert got[0] == 0, got[1]
    assert (tmp_path / "site" / "acme.py").exists()
