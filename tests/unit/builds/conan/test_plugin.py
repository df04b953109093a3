"""What the conan plug-in refuses before anything runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.conan.plugin import ConanPlugin
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.environments import Environment, HostOnly
from pyrsia.builds.model import PhaseFailed, Want
from pyrsia.builds.sandbox import BuildLimits
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal

RREV = "a1" * 16
ID = "rootfs:" + "0" * 64


@dataclass
class NoSandbox:
    """Says what it is, and fails whoever would run something in it."""

    isolation: str

    async def run(self, job: Any) -> Any:
        raise AssertionError("nothing is to run")


class Here(HostOnly):
    """A file system whose compiler Conan has no words for."""

    def __init__(self) -> None:
        super().__init__(ID, {})
        facts = {"arch": "x86_64", "os": "linux", "compiler": "tcc-1", "cmake": "3", "conan": "2"}
        self._own = Environment(ID, Path("/nowhere"), facts)


def plugin(tmp_path: Path, isolation: str = "namespace", environments: Any = None) -> ConanPlugin:
    shop = Shop(
        sandbox=NoSandbox(isolation),
        limits=BuildLimits(),
        scratch=tmp_path / "scratch",
        results=tmp_path / "results",
        cache=tmp_path / "cache",
        index=None,
        environments=environments or HostOnly("host:" + "0" * 64, {}),
        admitted=lambda: (ID,),
        claimed=None,
        mapping=lambda _: None,
    )
    return ConanPlugin(shop, Remotes({}, {}))


REQUEST = {
    "purl": "pkg:conan/tiny@1.0",
    "coordinates": {"name": "tiny", "version": "1.0"},
    "source": {"file": f"tiny-1.0-{RREV}.tar.gz", "sha256": "1" * 64, "size": 5},
    "recipe": {"environment": ID, "cutoff_ms": 0, "sde": 0, "parameters": []},
    "target": {},
}


async def test_a_weaker_sandbox_plans_and_relocks_nothing(tmp_path):
    weak = plugin(tmp_path, "confined", Here())
    for attempt in (weak.plan(Want("tiny", "1.0"), 0), weak.relock(REQUEST)):
        with pytest.raises(Refusal) as caught:
            await attempt
        assert caught.value.code == "no-sandbox"


async def test_without_a_file_system_that_has_conan_there_is_no_environment(tmp_path):
    node = plugin(tmp_path)
    for attempt in (node.plan(Want("tiny", "1.0"), 0), node.relock(REQUEST)):
        with pytest.raises(Refusal) as caught:
            await attempt
        assert caught.value.code == "no-environment"


async def test_a_compiler_that_is_not_known_is_an_environment_that_does_not_suit(tmp_path):
    with pytest.raises(Refusal, match="no gcc") as caught:
        await plugin(tmp_path, environments=Here()).plan(Want("tiny", "1.0"), 0)

    assert caught.value.code == "no-environment"


async def test_a_failure_before_the_build_is_an_answer_with_its_phase(tmp_path):
    node = plugin(tmp_path)
    for error, phase in (
        (Refusal("digest-mismatch", what="other bytes", who="x", do="y"), "prefetch"),
        (PhaseFailed("requirements", "no recipe", who="x", do="y", log=b"said"), "requirements"),
    ):
        built = await node.failed(error, "2" * 64)

        assert (built.outcome, built.phase, built.outputs, built.lock_sha256) == (
            "failed",
            phase,
            (),
            "2" * 64,
        )
        assert built.log.path.read_bytes() == getattr(error, "log", b"")
        await built.discard()
    assert list((tmp_path / "results").iterdir()) == []
