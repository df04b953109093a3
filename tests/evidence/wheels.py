"""Popular wheels built from their source archives: against the index's own files, and again under other conditions.

    python -m tests.evidence.wheels [--roots FOLDER] [--only NAME ...] [--home FOLDER] [--speed]

Plans and builds with the plug-in itself, one package after the other, without a network of nodes. Each is built as
every builder builds it, again, then varied (another path, umask, time zone, order of folders) and, where `--roots`
names a store of root file systems, in each of those that has a compiler.
"""

import argparse
import contextlib
import sys
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.environments.store import Store
from pyrsia.builds.model import Built, Planned, Want
from pyrsia.builds.pip import config, host
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import BuildLimits
from pyrsia.builds.sandbox import choose as choose_sandbox
from pyrsia.builds.sandbox.model import Sandbox
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable

PURE: Final = (
    "attrs==24.2.0",
    "jinja2==3.1.4",
    "packaging==24.2",
    "rich==13.9.4",
    "urllib3==2.2.3",
    "click==8.1.7",
    "requests==2.32.3",
    "six==1.16.0",
    "certifi==2024.8.30",
    "flask==3.0.3",
    "idna==3.10",
    "platformdirs==4.3.6",
    "pygments==2.18.0",
    "pytest==8.3.3",
    "tqdm==4.66.5",
    "typing-extensions==4.12.2",
)
COMPILED: Final = ("markupsafe==3.0.2", "msgpack==1.1.0", "wrapt==1.17.0")


class Roots:
    """`Environments` with the host's own and those that were given, in that order."""

    def __init__(self, environments: Sequence[Environment]) -> None:
        self._all = tuple(environments)

    def here(self) -> Sequence[Environment]:
        return self._all

    def chosen(self, admitted: Sequence[str], *tools: str, pure: bool = False) -> Environment:
        return choose(self._all, admitted, tools, pure=pure)

    async def get(self, id: str) -> Environment:
        return find(self._all, id)


@dataclass(slots=True)
class Row:
    """What is known of one package."""

    name: str
    backend: str = ""
    relation: str = ""
    same: str = ""
    containment: str = ""
    cause: str = ""
    seconds: float = 0.0


def request_of(planned: Planned) -> dict[str, Any]:
    return {
        "purl": planned.purl,
        "coordinates": planned.coordinates,
        "source": planned.source,
        "recipe": planned.recipe,
        "target": planned.target,
    }


class Bench:
    """Builds packages in a home of its own."""

    def __init__(self, plugin: PipPlugin, environments: Sequence[Environment]) -> None:
        self._plugin = plugin
        self._environments = environments

    async def planned(self, package: str, environment: str = "") -> Planned:
        name, _, version = package.partition("==")
        want = Want(name, version, closure=False, environment=environment)
        return (await self._plugin.plan(want, int(time.time() * 1000), lambda _: None))[0]

    async def built(self, planned: Planned, *, vary: bool = False) -> Built:
        request = request_of(planned)
        locked = await self._plugin.relock(request)
        if locked != planned.lock:
            raise SystemExit(f"{planned.purl}: the lock came out differently")
        inputs = await self._plugin.prefetch(request, locked)
        return await self._plugin.build(request, inputs, lambda _: None, vary)

    async def row(self, package: str) -> Row:
        row = Row(package)
        try:
            plan = await self.planned(package)
            first = await self.built(plan)
        except Refusal as refusal:
            row.cause = refusal.what
            return row
        if first.outcome != "built":
            row.cause = first.why
            return row
        start = time.monotonic()
        again = await self.built(plan)
        row.seconds = time.monotonic() - start
        varied = await self.built(plan, vary=True)
        out = first.outputs[0]
        row.relation, row.containment = out.upstream_relation, out.containment
        row.backend = generator(out.raw.file.path)
        row.same = ", ".join((compared("again", first, again), compared("varied", first, varied)))
        here = plan.recipe["environment"]
        for at, other in enumerate(self._environments, 1):
            if other.id != here:
                row.same += ", " + await self._elsewhere(package, plan, first, other, at)
        if out.upstream is not None and out.upstream_relation != "identical":
            row.cause = out.upstream_reason or cause(out.raw.file.path, out.upstream.file.path)
        return row

    async def _elsewhere(self, package: str, plan: Planned, first: Built, other: Environment, at: int) -> str:
        """The same package in another environment; another lock may come of another Python."""
        name = f"{'root' if other.root else 'host'} {at}, Python {other.facts['python']}"
        if first.outputs[0].raw.file.path.name.endswith("-none-any.whl"):
            theirs = await self.planned(package, other.id)
            name += "" if theirs.lock == plan.lock else ", other tools"
            return compared(name, first, await self.built(theirs))
        return f"{name}: {'another target' if other.root else 'has no compiler'}"


def generator(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as archive:
        name = next(one for one in archive.namelist() if one.endswith(".dist-info/WHEEL"))
        text = archive.read(name).decode()
    return next(line.partition(": ")[2] for line in text.splitlines() if line.startswith("Generator"))


def compared(name: str, first: Built, second: Built) -> str:
    if second.outcome != "built":
        return f"{name}: {second.why}"
    one, two = first.outputs[0], second.outputs[0]
    if one.raw.file.sha256 == two.raw.file.sha256:
        return f"{name}: same"
    if one.stable != two.stable:
        return f"{name}: DIFFERS ({cause(one.raw.file.path, two.raw.file.path)})"
    return f"{name}: equivalent ({cause(one.raw.file.path, two.raw.file.path)})"


def cause(ours: Path, theirs: Path) -> str:
    """Why two wheels are not the same bytes, in words."""
    with zipfile.ZipFile(ours) as one, zipfile.ZipFile(theirs) as two:
        left, right = ({item.filename: item for item in archive.infolist()} for archive in (one, two))
        only = sorted(left.keys() ^ right.keys())
        both = sorted(left.keys() & right.keys())
        changed = [name for name in both if one.read(name) != two.read(name) and not name.endswith("/RECORD")]
        found = []
        if only:
            found.append(f"members: {', '.join(only[:3])}")
        if changed:
            found.append(f"contents: {', '.join(changed[:3])}")
        times = sum(left[name].date_time != right[name].date_time for name in both)
        modes = [name for name in both if left[name].external_attr != right[name].external_attr]
        if times:
            theirs_ = len({right[name].date_time for name in both})
            found.append(f"no SOURCE_DATE_EPOCH there: {theirs_} times among its members, one in ours")
        if modes:
            shown = sorted({oct(right[name].external_attr >> 16 & 0o7777) for name in modes})
            found.append(f"umask 002 there: modes {', '.join(shown[:3])}")
        if not found and list(left) != list(right):
            found.append("order of members")
        if not found:
            found.append("packing alone: compressor or header fields")
    return "; ".join(found)


# -- a home ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def workplace(
    home: Path, sandbox: Sandbox, environments: Sequence[Environment]
) -> AsyncIterator[PipPlugin]:
    async def claimed(_: Mapping[str, Any]) -> Path:
        raise Unavailable("no source was given along")

    async with IndexClient(config.load(), home / "cache") as index:
        yield PipPlugin(
            Shop(
                sandbox=sandbox,
                limits=BuildLimits(),
                scratch=home / "scratch",
                results=home / "results",
                cache=home / "cache",
                index=index,
                environments=Roots(environments),
                admitted=lambda: [one.id for one in environments],
                claimed=claimed,
                mapping=lambda _: None,
            )
        )


async def speed(home: Path, sandbox: Sandbox, environment: Environment, rounds: int = 3) -> None:
    """Our time on top of the backend's own, and wheels an hour with two at once; all inputs are here already."""
    async with workplace(home, sandbox, [environment]) as plugin:
        bench = Bench(plugin, [environment])
        plans = [await bench.planned(package) for package in PURE]
        bare_all, ours_all = 0.0, 0.0
        for plan in plans:
            await bench.built(plan)  # lays its tools out
            request = request_of(plan)
            inputs = await plugin.prefetch(request, plan.lock)
            best: list[tuple[float, float]] = []
            for _ in range(rounds):
                start = time.monotonic()
                built = await plugin.build(request, inputs)
                took = time.monotonic() - start
                best.append((took, backend_s(built.log.path.read_text())))
                await built.discard()
            took, bare = min(best)
            bare_all, ours_all = bare_all + bare, ours_all + took
            print(
                f"{plan.purl:36} backend {bare:5.2f} s, whole build {took:5.2f} s, {took / bare - 1:4.0%} on top"
            )
        print(
            f"{'all':36} backend {bare_all:5.2f} s, whole {ours_all:5.2f} s, {ours_all / bare_all - 1:4.0%} on top"
        )
        waiting = [*plans, *plans]
        start = time.monotonic()

        async def builder() -> None:
            while waiting:
                await (await bench.built(waiting.pop())).discard()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(builder)
            nursery.start_soon(builder)
        hour = 2 * len(plans) / (time.monotonic() - start) * 3600
        print(f"\nwith lock, inputs and inspection, two at once: {hour:,.0f} wheels an hour")


def backend_s(log: str) -> float:
    lines = [line for line in log.splitlines() if line.startswith("pyrsia: the backend took ")]
    return int(lines[-1].split()[-2]) / 1000


async def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.evidence.wheels")
    parser.add_argument("--roots", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--speed", action="store_true", help="measure instead, in the host's own environment")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = arguments.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wheels-")))
        home.mkdir(exist_ok=True)
        home.chmod(0o755)
        environments = [Environment(host.environment(), None, host.facts())]
        if arguments.speed:
            await speed(home, await choose_sandbox(False), environments[0])
            return 0
        if arguments.roots:
            roots = [one for one in Store(arguments.roots).here() if one.offers("python", "compiler")]
            environments += {one.facts["python"]: one for one in roots}.values()  # one for each Python
            environments[1:] = sorted(environments[1:], key=lambda one: one.facts["python"])
        return await table(home, await choose_sandbox(False), environments, arguments.only)


async def table(
    home: Path, sandbox: Sandbox, environments: Sequence[Environment], only: Sequence[str]
) -> int:
    """Print the rows; 1 where one is neither identical nor equivalent nor explained."""
    for at, one in enumerate(environments, 1):
        kind = "the host's own" if one.root is None else "a root file system"
        print(f"environment {at}: {kind}, Python {one.facts['python']}, {one.facts['libc']}")
    print(f"isolation: {sandbox.isolation}\n", flush=True)
    counts: dict[str, int] = {}
    native = any(one.offers("compiler") and one.root for one in environments)
    async with workplace(home, sandbox, environments) as plugin:
        bench = Bench(plugin, environments)
        for package in (*PURE, *(COMPILED if native else ())):
            if only and package.partition("==")[0] not in only:
                continue
            row = await bench.row(package)
            kind = row.relation or "failed"
            if package in PURE:
                counts[kind] = counts.get(kind, 0) + 1
            print(
                f"{row.name:26} {row.backend:22} {kind:10} source: {row.containment:8} {row.seconds:5.1f} s"
            )
            print(f"{'':26} {row.same}")
            if row.cause:
                print(f"{'':26} {row.cause}")
            sys.stdout.flush()
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items(), key=lambda one: -one[1]))
    print(f"\npure packages against the index's files: {told}")
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(main))
