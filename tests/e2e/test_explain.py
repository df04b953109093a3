"""Two results of one build, compared by a worker in a real sandbox, and by diffoscope there."""

import hashlib
import io
import json
import shutil
import tarfile
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from pyrsia.builds.explain.report import Said
from pyrsia.builds.sandbox import BuildLimits, choose
from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from pyrsia.errors import Refusal
from pyrsia.node.builds import explaining
from pyrsia.node.builds.explaining import Explaining
from tests.e2e import sdists

pytestmark = [pytest.mark.processes, pytest.mark.builds]
needs_diffoscope = pytest.mark.skipif(
    shutil.which("diffoscope") is None,
    reason="diffoscope is not installed; apt-get install diffoscope-minimal",
)
FIRST, SECOND = (Said(who * 52, "", who.upper(), "built", "namespace", True, "") for who in "ab")


@asynccontextmanager
async def explainer(folder):
    shop = SimpleNamespace(sandbox=await choose(True), limits=BuildLimits(), scratch=folder / "scratch")
    yield Explaining(reads=lambda key: None, shelf=None, shop=shop), shop


def packed(folder, name, code):
    path = folder / name
    path.write_bytes(sdists.wheels.pack(sdists.wheels.members({"thing/__init__.py": code})))
    return path


async def test_the_worker_compares_two_wheels_inside(tmp_path):
    paths = [packed(tmp_path, "a", b"x = 1\n"), packed(tmp_path, "b", b"x = 1\nbuilt = '2024-05-06'\n")]
    async with explainer(tmp_path) as (made, shop):
        pair = await made._compared(shop, "thing-1.0-py3-none-any.whl", FIRST, SECOND, paths)
    assert [(one.path, one.how) for one in pair.differing] == [("thing/__init__.py", "content")]
    assert pair.differing[0].shown == (("", "built = '2024-05-06'"),)


@needs_diffoscope
async def test_diffoscope_reads_both_inside_and_its_report_is_cut(tmp_path):
    paths = [packed(tmp_path, "a", b"x = 1\n"), packed(tmp_path, "b", b"x = 2\n\x1b[31m\n")]
    async with explainer(tmp_path) as (made, shop):
        told = await made._deep(shop, "thing-1.0-py3-none-any.whl", paths)
    assert "-x = 1" in told
    assert "+x = 2" in told
    assert "\x1b" not in told
    assert len(told) <= explaining.DEEP_BYTES.value + 1_000


async def test_where_diffoscope_is_not_installed_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(explaining, "DIFFOSCOPE", str(tmp_path / "absent"))
    async with explainer(tmp_path) as (made, shop):
        with pytest.raises(Refusal, match="not installed") as caught:
            await made._deep(shop, "x.whl", [tmp_path, tmp_path])
    assert "apt-get install" in caught.value.do


@pytest.mark.parametrize("data", [b"", b"PK\3\4" + b"\0" * 100, hashlib.sha256(b"x").digest() * 999])
async def test_a_result_that_is_no_archive_is_compared_as_bytes(tmp_path, data):
    other = packed(tmp_path, "b", b"x = 1\n")
    (tmp_path / "a").write_bytes(data)
    async with explainer(tmp_path) as (made, shop):
        pair = await made._compared(
            shop, "thing-1.0-py3-none-any.whl", FIRST, SECOND, [tmp_path / "a", other]
        )
    assert pair.note
    assert [one.how for one in pair.differing] == ["content"]


async def test_layers_of_images_are_compared_by_member_although_their_names_say_nothing(tmp_path):
    paths = []
    for name, data in (("a", b"x = 1\n"), ("b", b"x = 2\n")):
        with tarfile.open(tmp_path / name, "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo("app/x.py")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        paths.append(tmp_path / name)
    async with explainer(tmp_path) as (made, shop):
        pair = await made._compared(shop, f"sha256~{'1' * 64}", FIRST, SECOND, paths)
    assert [(one.path, one.how) for one in pair.differing] == [("app/x.py", "content")]


def tarred(path, members, mode, *, time, owner):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = len(data), time, owner
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_two_files_are_compared_on_this_machine_without_a_node(tmp_path, capsys):
    """Order, time, owner and compression make no difference; a changed file does; a trap is told in a sentence."""
    members = [("a/x", b"1\n"), ("a/y", b"built 2024-05-06\n")]
    changed = [members[0], ("a/y", b"built 2025-01-01\n")]
    one = tarred(tmp_path / "one.tar", members, "w", time=5, owner=0)
    other = tarred(tmp_path / "two.tar.gz", members[::-1], "w:gz", time=9, owner=1000)
    third = tarred(tmp_path / "three.tgz", changed, "w:gz", time=9, owner=1000)
    trap = tarred(tmp_path / "trap.tar", [("../x", b"1")], "w", time=5, owner=0)

    assert run(cli, ["build", "compare", one, other, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["result"] == "equivalent"
    words = {note.partition(":")[0] for note in told["sides"][1]["normalised"]}
    assert {"tar-order", "tar-owner", "tar-time", "gzip-compression"} <= words

    assert run(cli, ["build", "compare", one, third]) == 1
    assert "a/y: a date or a time is written into it" in capsys.readouterr().out

    assert run(cli, ["build", "compare", one, trap]) == 2
    assert "trap.tar cannot be read as tar@1: path traversal" in capsys.readouterr().err
