"""The folder of a run: what the sandbox is shown of it, and that nobody else on the host comes in."""

from pathlib import Path

from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.sandbox import Job, Outcome, Usage

PROGRAM = Program("builds/oci/worker.py")


class Leaving:
    """A sandbox whose job leaves a program behind that runs as its owner; it looks at the host's folders meanwhile."""

    isolation = "namespace"

    def __init__(self) -> None:
        self.modes: dict[str, int] = {}

    def python(self) -> tuple[str, ...]:
        return ("python",)

    async def run(self, job: Job) -> Outcome:
        for mount in job.mounts:
            self.modes[mount.target] = mount.source.stat().st_mode & 0o7777
        (work,) = (mount.source for mount in job.mounts if mount.writable)
        (work / "program").write_bytes(b"")
        (work / "program").chmod(0o4755)
        self.modes["folder"] = work.parent.stat().st_mode & 0o7777
        (work / "result.json").write_text("{}")
        return Outcome(0, "exit", b"", False, Usage())


async def test_a_program_that_a_build_leaves_is_in_a_folder_that_only_the_node_enters(tmp_path: Path):
    sandbox = Leaving()

    async with Inside(sandbox, tmp_path / "scratch", PROGRAM).run(
        {"operation": "x"}, {}, phase="build", who="x"
    ) as answer:
        left = answer.work / "program"
        assert left.stat().st_mode & 0o4000

    assert sandbox.modes["folder"] == 0o700
    assert (sandbox.modes["/in"] & 0o055, sandbox.modes["/build"] & 0o055) == (0o055, 0o055)
    assert list((tmp_path / "scratch").iterdir()) == []
