"""The sweep of what builds leave and the tools that builds share: neither is in the other's way."""

import os
import shutil
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from pyrsia.builds.pip.toolbox import TOOLS, Toolbox
from pyrsia.node.builds.keep import FOLDER_GRACE_S, Keeper

LONGEST_S = 600.0
OLD_S = 2 * LONGEST_S + FOLDER_GRACE_S.value + 60
ENVIRONMENT = SimpleNamespace(id="rootfs:" + "1" * 64)
WHEELS = {"setuptools-1-py3-none-any.whl": ("0" * 64, "/x")}


class Inside:
    """Lays out one tool for each set that is asked for."""

    def __init__(self, folder):
        self.folder, self.made = folder, 0

    @asynccontextmanager
    async def run(self, job, files, **_):
        self.made += 1
        work = self.folder / f"job-{self.made}"
        (work / "tools").mkdir(parents=True)
        (work / "tools" / "setuptools.py").write_text("x = 1\n")
        yield SimpleNamespace(work=work)
        shutil.rmtree(work)


class Workplace:
    """A scratch folder as a node has it, with its toolbox and its keeper; the keeper looks when the test says."""

    def __init__(self, folder):
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.inside = Inside(self.scratch)
        self.toolbox = Toolbox(self.inside, self.scratch / TOOLS)
        self.keeper = Keeper(
            None,
            None,
            named=lambda _: False,
            folders=(self.scratch,),
            longest_s=LONGEST_S,
            cache=folder / "cache",
            cache_bytes=0,
            forget=lambda: None,
            spared=(TOOLS,),
        )

    def look_later(self):
        """Everything in the scratch folder is old; the keeper looks."""
        for path in (self.scratch, *self.scratch.rglob("*")):
            then = path.stat().st_mtime - OLD_S
            os.utime(path, (then, then))
        return self.keeper._old_folders()

    @asynccontextmanager
    async def shown(self):
        async with self.toolbox.opened(WHEELS, ENVIRONMENT, who="a test") as (mount,):
            yield mount.source


@pytest.fixture
def place(tmp_path):
    return Workplace(tmp_path)


async def test_tools_stay_while_a_hook_looks_at_them_and_after_it_and_a_dead_jobs_folder_goes(place):
    (place.scratch / "job-dead").mkdir()
    async with place.shown() as first:
        assert place.look_later() == 1
        assert (first / "setuptools.py").is_file()
    assert place.look_later() == 0
    async with place.shown() as again:
        assert (again, place.inside.made) == (first, 1)
    assert not (place.scratch / "job-dead").exists()


async def test_tools_that_somebody_deleted_are_made_anew(place):
    async with place.shown():
        pass
    shutil.rmtree(place.scratch / TOOLS)
    async with place.shown() as again:
        assert (again / "setuptools.py").is_file()
    assert place.inside.made == 2


def test_a_nodes_own_keeper_spares_the_tools(tmp_path):
    from pyrsia.node.builds.parts import _Maker

    builds = SimpleNamespace(wall_s=LONGEST_S, cache_gb=1)
    house = SimpleNamespace(
        data=tmp_path,
        database=None,
        blobs=None,
        archive=SimpleNamespace(names=None),
        settings=SimpleNamespace(builds=builds),
    )
    keeper = _Maker(house, None, None, None, None, None, None).keeper(None)
    tools = tmp_path / "scratch" / TOOLS
    tools.mkdir(parents=True)
    os.utime(tools, (0, 0))
    assert keeper._old_folders() == 0
    assert tools.is_dir()
