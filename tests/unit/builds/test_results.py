"""What becomes of a build: an answer with its files, a failure with its log, or nothing that stays on the disk."""

from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds import unbuilt
from pyrsia.builds.model import Inputs, NamedFile, Output, PhaseFailed
from pyrsia.builds.results import Results
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import BUILD_LOG_BYTES

REQUEST: dict[str, Any] = {"purl": "pkg:pypi/x@1", "recipe": {"environment": "host:" + "e" * 64}}
INPUTS = Inputs(NamedFile("x", Path("x")), (), {}, "1" * 64, (("a.whl", "2" * 64),))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results", "namespace")


async def test_what_was_built_is_told_with_its_log_and_goes_when_it_is_discarded(results: Results):
    async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
        (folder / "given").write_bytes(b"data")
        log += b"said" + b"." * BUILD_LOG_BYTES.value
        return (unbuilt.as_it_is(folder, "x.whl", folder / "given"),)

    built = await results.of(REQUEST, INPUTS, "registry", make)

    assert (built.outcome, built.phase, built.source, built.isolation) == (
        "built",
        "",
        "registry",
        "namespace",
    )
    assert (built.environment, built.lock_sha256) == (REQUEST["recipe"]["environment"], "1" * 64)
    assert (built.tools, [one.name for one in built.outputs]) == (INPUTS.tools, ["x.whl"])
    assert built.log.path.read_bytes().endswith(unbuilt.CUT)
    assert built.log.size == BUILD_LOG_BYTES.value
    await built.discard()
    assert list(results.home.iterdir()) == []


async def test_a_failure_is_an_answer_that_keeps_the_log_and_nothing_else(results: Results):
    async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
        (folder / "half").write_bytes(b"data")
        (folder / "more").mkdir()
        log += b"began, "
        raise PhaseFailed("build", "no compiler", who="x", do="y", log=b"ended")

    built = await results.of(REQUEST, INPUTS, "mapping", make)

    assert (built.outcome, built.phase, built.why, built.outputs) == (
        "failed",
        "build",
        "build: no compiler",
        (),
    )
    assert built.log.path.read_bytes() == b"began, ended"
    assert [one.name for one in built.folder.iterdir()] == ["log"]


@pytest.mark.parametrize("error", [OSError("full"), Unavailable("busy"), KeyError("a mistake of ours")])
async def test_what_is_this_machine_s_says_nothing_of_a_package_and_leaves_nothing(
    results: Results, error: Exception
):
    async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
        (folder / "half").write_bytes(b"data")
        raise error

    with pytest.raises(Unavailable if isinstance(error, OSError) else type(error)):
        await results.of(REQUEST, INPUTS, "registry", make)
    assert list(results.home.iterdir()) == []


async def test_what_ends_before_a_build_has_the_phase_that_it_names_or_that_is_told(results: Results):
    refused = Refusal("digest-mismatch", what="other bytes", who="x", do="y")
    first = await results.failed(refused, "1" * 64, "prefetch", source="registry")
    second = await results.failed(
        PhaseFailed("requirements", "none", who="x", do="y", log=b"said"),
        "1" * 64,
        "prefetch",
        source="claimed",
    )

    assert (first.phase, first.why, first.environment, first.source) == (
        "prefetch",
        "prefetch: other bytes",
        "",
        "registry",
    )
    assert (second.phase, second.log.path.read_bytes(), second.source) == ("requirements", b"said", "claimed")


async def test_a_folder_that_cannot_be_made_is_this_machine_s_fault(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot keep"):
        await Results(tmp_path / "file" / "results", "namespace").failed(
            Refusal("not-found", what="a", who="b", do="c"), "1" * 64, "prefetch", source="registry"
        )
