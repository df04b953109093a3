"""Releases of a public repository, planned, built twice and compared with what it serves; a table for docs/evidence/.

    python -m tests.e2e.maven_evidence STORE [GROUP:ARTIFACT:VERSION ...]

STORE is the folder of a node's environments (`<data>/environments`) that holds one with a JDK and Maven. Sources and
files come from the operator's Maven settings.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import trio

from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.environments.store import Store
from pyrsia.builds.maven.plugin import MavenPlugin
from pyrsia.builds.model import Built, Planned, Want
from pyrsia.builds.sandbox import BuildLimits
from pyrsia.builds.sandbox import choose as choose_sandbox
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal

PROJECTS: Final = (
    "org.apache.maven.shared:maven-shared-utils:3.4.2",
    "org.apache.maven.shared:file-management:3.2.0",
    "org.apache.maven.plugins:maven-clean-plugin:3.3.1",
)


class Kept:
    """The environments of a store, and nothing of this machine's own."""

    def __init__(self, store: Path) -> None:
        names = [path.name for path in store.iterdir() if len(path.name) == 64]
        found = (Store(store).get(name) for name in sorted(names))
        self._here = tuple(one for one in found if one is not None and one.offers("jdk", "maven"))

    def here(self) -> tuple[Environment, ...]:
        return self._here

    def chosen(self, admitted: Any, *tools: str, pure: bool = False) -> Environment:
        return choose(self._here, admitted, tools, pure=pure)

    async def get(self, id: str) -> Environment:
        return find(self._here, id)


async def shop(home: Path, environments: Kept) -> Shop:
    async def nothing(_: Mapping[str, Any]) -> Path:
        raise AssertionError("no source is given along")

    return Shop(
        sandbox=await choose_sandbox(False),
        limits=BuildLimits(),
        scratch=home / "scratch",
        results=home / "results",
        cache=home / "cache",
        index=cast("Any", None),
        environments=environments,
        admitted=lambda: tuple(one.id for one in environments.here()),
        claimed=nothing,
        mapping=lambda _: None,
    )


async def row(plugin: MavenPlugin, text: str) -> str:
    group, name, version = text.split(":")
    started = time.monotonic()
    (planned,) = await plugin.plan(Want(f"{group}:{name}", version, closure=False), int(time.time() * 1000))
    planning = time.monotonic() - started
    request = {key: getattr(planned, key) for key in Planned.__dataclass_fields__}
    inputs = await plugin.prefetch(request, planned.lock)
    started = time.monotonic()
    first = await plugin.build(request, inputs, vary=False)
    building = time.monotonic() - started
    second = await plugin.build(request, inputs, vary=True)
    same = "equal" if _digests(first) == _digests(second) else "DIFFERENT"
    told = ", ".join(
        f"{one.name.removeprefix(f'{name}-{version}')} {one.upstream_relation}" for one in first.outputs
    )
    why = first.why or told
    return f"| {text} | {len(inputs.files)} | {planning:.0f} | {building:.0f} | {same} | {why} |"


def _digests(built: Built) -> list[tuple[str, str]]:
    return [(one.name, one.raw.file.sha256) for one in built.outputs]


async def main(store: Path, home: Path, projects: tuple[str, ...]) -> None:
    print(
        "| release | files of its lock | planning, s | build, s | two builds | against the repository's files |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    plugin = MavenPlugin(await shop(home, Kept(store)))
    for text in projects:
        try:
            print(await row(plugin, text), flush=True)
        except Refusal as refusal:
            print(f"| {text} | | | | | {refusal.code}: {refusal.what} |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        trio.run(main, Path(sys.argv[1]), Path(folder), tuple(sys.argv[2:]) or PROJECTS)
