"""What is planned of a closure: each package from where the log takes it."""

from types import SimpleNamespace

import pytest

from pyrsia.builds.environments import Environment
from pyrsia.builds.model import SourceMapping
from pyrsia.builds.pip import host
from pyrsia.builds.pip.gather import Source
from pyrsia.builds.pip.origins import Origin
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.planning import Planner

HERE = Place(Environment("host:" + "0" * 64, None, host.facts()), host.target())
GIT = {
    "file": "lib.tar",
    "git": {"commit": "ab" * 20, "tag": "v1.0", "tree": "cd" * 32},
    "sha256": "ef" * 32,
    "size": 5,
}


class Origins:
    """A registry with everything, and the repository of one mapped package."""

    def __init__(self, folder):
        (folder / "source").write_bytes(b"12345")
        self.source = Source("any-1.0.tar.gz", "12" * 32, folder / "source", 1_000)
        self.asked = []

    async def release(self, name, version, target, now_ms):
        return SimpleNamespace(name=name, version=version, compiled=False, sdist=self.source)

    async def registered(self, release):
        self.asked.append(("registry", release.name))
        return Origin("registry", self.source, release, {})

    async def mapped(self, mapping, name, version, target, now_ms):
        self.asked.append(("mapping", name))
        return Origin("mapping", self.source, None, {}, version), SimpleNamespace(as_source=lambda: GIT)

    async def recipe(self, origin, place, claimed_ms):
        return {"sde": 5}

    async def tools(self, origin, place, recipe):
        return []


@pytest.mark.parametrize("environment", [{}, {"environment": HERE.environment.id}])
async def test_a_mapped_package_of_a_closure_comes_out_of_its_repository(tmp_path, environment):
    """From the registry the log would not take it, and the whole order would be refused at this package."""
    mappings = {
        "pkg:pypi/lib": SourceMapping("pkg:pypi/lib", "https://example.org/lib", "v{version}", environment, 1)
    }

    async def get(name):
        assert name == HERE.environment.id
        return HERE.environment

    shop = SimpleNamespace(
        index=None,
        mapping=mappings.get,
        admitted=lambda: (HERE.environment.id,),
        environments=SimpleNamespace(get=get, chosen=lambda *_, **__: HERE.environment, own=HERE.environment),
        published=lambda _: None,
        verified=lambda _: None,
    )
    origins = Origins(tmp_path)
    planner = Planner(shop, None, origins)

    async def places(want):
        named = shop.mapping(f"pkg:pypi/{want.name}").recipe.get("environment")
        assert named in (None, HERE.environment.id)
        return HERE, None

    if not environment:
        planner._places = places  # which environments are chosen is `places`' test
    chosen = [SimpleNamespace(name=name, version="1.0", compiled=False) for name in ("app", "lib")]
    app, lib = await planner._plan_all(chosen, HERE, None, 7, lambda _: None)
    assert sorted(origins.asked) == [("mapping", "lib"), ("registry", "app")]
    assert (lib.purl, lib.source, lib.ecosystem) == ("pkg:pypi/lib@1.0", GIT, "pip")
    assert "git" not in app.source
