"""`build environment`: what builds run in, each by its digest; planned, made, shown and imported on this machine.

No node is asked: the folder belongs to the data directory, or is the one that its configuration names.
"""

import hashlib
import platform
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, table, tell
from pyrsia.errors import Malformed, Refusal

if TYPE_CHECKING:
    from pyrsia.builds.environments.apt import Apt
    from pyrsia.builds.environments.making import Maker
    from pyrsia.builds.environments.model import Environment
    from pyrsia.builds.environments.store import Store
    from pyrsia.builds.pip.index import IndexClient

_SCRATCH: Final = "scratch-environments"  # beside the store: a running node empties its own scratch folder
data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="PYRSIA_DATA",
    help="Data directory of the node [PYRSIA_NODE where that is one, else the user's].",
)
_ARCHES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "i686": "i386",
    "riscv64": "riscv64",
}


suite_option = click.option(
    "--suite", default="", metavar="NAME", help="Another release of this machine's archive, such as trixie."
)


@click.group(cls=Group)
def environment() -> None:
    """Build environments by digest: file systems that every builder makes with the same bytes."""


@environment.command("list")
@data_option
@json_option
def list_environments(data: Path | None, as_json: bool) -> None:
    """Those on this machine, and the definitions that come with Pyrsia."""
    from pyrsia.builds.environments import recipes

    here = [_row(one) for one in _store(data).here()]
    known = [{"name": name, "about": recipes.definition(name).about} for name in recipes.names()]

    def text() -> Iterator[str]:
        rows = (
            (one["id"], ", ".join(f"{key} {value}" for key, value in one["facts"].items())) for one in here
        )
        yield from table(rows, ("environment", "offers")) if here else ("no environment of its own is here",)
        yield ""
        yield "definitions, for `pyrsia build environment make NAME`:"
        yield from (f"  {one['name']:8} {one['about']}" for one in known)

    tell({"environments": here, "definitions": known}, as_json=as_json, text=text)


@environment.command()
@click.argument("definition")
@click.option("--arch", default="", help="Architecture, as uname says it [this machine's].")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write the lock there.")
@suite_option
@data_option
@json_option
def plan(
    definition: str, arch: str, output: Path | None, suite: str, data: Path | None, as_json: bool
) -> None:
    """Print the lock of a definition: every file by digest, every rule. Nothing is made.

    DEFINITION is a name of `list`, or a TOML file of your own.
    """
    import trio

    locked = trio.run(_plan, definition, arch, suite, data)
    if output is not None:
        output.write_bytes(locked)
    text = [] if output is not None else locked.decode("ascii").splitlines()
    answer = {"lock": locked.decode("ascii"), "sha256": hashlib.sha256(locked).hexdigest()}
    tell(answer, as_json=as_json, text=lambda: text)


@environment.command()
@click.argument("definition")
@click.option("--arch", default="", help="Architecture, as uname says it [this machine's].")
@suite_option
@data_option
@json_option
def make(definition: str, arch: str, suite: str, data: Path | None, as_json: bool) -> None:
    """Make an environment from a definition, or from a lock that somebody planned.

    The lock's SHA-256 decides every byte, so that two machines make the same environment.
    """
    import trio

    made = trio.run(_make, definition, arch, suite, data, not as_json)
    _told(made, as_json=as_json)


@environment.command()
@click.argument("name", metavar="ENVIRONMENT")
@click.option("--lock", "with_lock", is_flag=True, help="Print what it was made of.")
@data_option
@json_option
def show(name: str, with_lock: bool, data: Path | None, as_json: bool) -> None:
    """What an environment offers. ENVIRONMENT: its id or the first digits of it."""
    store = _store(data)
    found = _found(store, name)
    digest = found.id.partition(":")[2]
    locked = store.lock(digest)
    if with_lock:
        click.echo(locked.decode("ascii"), nl=False)
        return
    archive = store.archive(digest)
    more = {"archive_bytes": archive.stat().st_size if archive else 0, "lock_lines": locked.count(b"\n")}
    row = _row(found) | more

    def text() -> Iterator[str]:
        yield row["id"]
        yield from (f"  {key}: {value}" for key, value in row["facts"].items())
        yield f"  archive: {more['archive_bytes'] >> 20} MiB"
        yield f"  lock: {more['lock_lines']} lines" if locked else "  lock: none, it was imported"

    tell(row, as_json=as_json, text=text)


@environment.command("import")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--fact", "facts", multiple=True, metavar="NAME=VALUE", help="What it offers, where it does not say."
)
@click.option(
    "--drop", "dropped", multiple=True, metavar="PREFIX", help="Leave out what lies below this path."
)
@data_option
@json_option
def take(
    archive: Path, facts: tuple[str, ...], dropped: tuple[str, ...], data: Path | None, as_json: bool
) -> None:
    """Take a root that another tool packed (`mmdebstrap ... root.tar`; tar, .gz or .xz), or an archive of ours.

    Facts come from its own list of packages; times, owners, order and setuid bits do not matter.
    """
    import trio

    told = {}
    for one in facts:
        key, sign, value = one.partition("=")
        if not sign or not key or not value:
            raise click.UsageError("a fact is NAME=VALUE, such as python=3.11.2")
        told[key] = value
    made = trio.run(_take, archive.resolve(), told, dropped, data)
    _told(made, as_json=as_json)


@environment.command()
@click.argument("name", metavar="ENVIRONMENT")
@data_option
@json_option
def remove(name: str, data: Path | None, as_json: bool) -> None:
    """Delete an environment from this machine. Builds that run in it will fail."""
    store = _store(data)
    found = _found(store, name)
    store.remove(found.id.partition(":")[2])
    tell({"removed": found.id}, as_json=as_json, text=lambda: [f"removed: {found.id}"])


def _told(made: "Environment", *, as_json: bool) -> None:
    def text() -> Iterator[str]:
        yield made.id
        yield from (f"  {key}: {value}" for key, value in sorted(made.facts.items()))
        yield "admit it: pyrsia member propose network --environment ID (name every one that counts)"

    tell(_row(made), as_json=as_json, text=text)


def _row(one: "Environment") -> dict[str, Any]:
    return {"id": one.id, "facts": dict(sorted(one.facts.items()))}


def _found(store: "Store", name: str) -> "Environment":
    text = name.removeprefix("rootfs:").lower()
    found = [one for one in store.here() if one.id.partition(":")[2].startswith(text)]
    if len(found) != 1 or len(text) < 4:
        raise Refusal(
            "no-environment",
            what=f"{len(found) or 'no'} environments here begin with {name[:72]!a}",
            who="your command",
            do="see `pyrsia build environment list`; write more digits",
        )
    return found[0]


def _folder(data: Path | None) -> Path:
    from pyrsia import config
    from pyrsia.builds.environments.making import place

    house = config.own_data_dir(data)
    return place(house, config.load(house).builds.environments)


def _store(data: Path | None) -> "Store":
    from pyrsia.builds.environments.store import Store

    return Store(_folder(data))


@dataclass(frozen=True, slots=True)
class _Bench:
    """What a command works with."""

    apt: "Apt"
    index: "IndexClient"
    maker: "Maker"


@asynccontextmanager
async def _bench(data: Path | None, arch: str, suite: str) -> AsyncIterator[_Bench]:
    from pyrsia.builds.environments import making, store
    from pyrsia.builds.environments.apt import Apt
    from pyrsia.builds.pip import config as pip_config
    from pyrsia.builds.pip.index import IndexClient
    from pyrsia.builds.sandbox import choose

    folder = _folder(data)
    sandbox = await choose(allow_confined=True)
    machine = arch or platform.machine()
    apt = Apt(
        folder / "apt" / "-".join((machine, *filter(None, (suite,)))), _ARCHES.get(machine, machine), suite
    )
    async with IndexClient(pip_config.load(), folder / "index") as index:
        maker = making.Maker(sandbox, store.Store(folder), folder / _SCRATCH, folder / store.PARTS)
        yield _Bench(apt, index, maker)


async def _plan(definition: str, arch: str, suite: str, data: Path | None) -> bytes:
    from pyrsia.builds.environments import making, recipes

    found = recipes.definition(definition)
    async with _bench(data, arch, suite) as bench:
        return await making.plan(found, bench.apt, bench.index)


async def _make(definition: str, arch: str, suite: str, data: Path | None, talk: bool) -> "Environment":
    from pyrsia.builds.environments import lock, making, recipes

    locked = _locked(definition)
    found = None if locked else recipes.definition(definition)
    started = time.monotonic()

    def progress(text: str) -> None:
        if talk:
            click.echo(f"  {text}", err=True)

    async with _bench(data, arch, suite) as bench:
        if found is not None:
            locked = await making.plan(found, bench.apt, bench.index)
        try:
            parts = lock.decode(locked)
        except Malformed as error:
            raise Refusal("usage", what=str(error), who="the lock", do="plan it anew") from error
        known = _store(data).made_of(locked)
        if known is not None:
            progress("made of this lock before; the same lock makes the same bytes")
            return known
        known = _store(data).of_lock(locked)
        if known is not None:
            progress("it is here already")
            return known
        await bench.maker.gather(parts, bench.apt, bench.index, progress)
        progress(f"making a root of {len(parts.parts)} files")
        made = await bench.maker.make(locked)
        await bench.maker.tidy()
        progress(f"done in {time.monotonic() - started:.0f} s")
        return made


async def _take(
    archive: Path, facts: dict[str, str], dropped: tuple[str, ...], data: Path | None
) -> "Environment":
    async with _bench(data, "", "") as bench:
        return await bench.maker.take(archive, facts, dropped)


def _locked(path: str) -> bytes:
    """The bytes of a lock, or nothing where `path` is no such file."""
    from pyrsia.builds.environments import lock

    try:
        with Path(path).open("rb") as file:
            data = file.read(lock.MAX_ROOTFS_LOCK_BYTES.value + 1)
    except OSError:
        return b""
    return data if data.startswith(lock.HEADER.encode()) else b""
