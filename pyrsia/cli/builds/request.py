"""`build request` and `build plan`: packages, purls, files that list them, or a source of one's own.

Every package is an order of its own, so that one that cannot be built does not keep the others back: it is named with
its reason, and the exit code says that not everything was asked for.
"""

import functools
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.builds import files as build_files
from pyrsia.cli.builds import follow as build_follow
from pyrsia.cli.builds import install
from pyrsia.cli.builds.find import called
from pyrsia.cli.builds.tell import Asked, judge, plan_lines, tell_asked
from pyrsia.cli.tell import json_option, node_option, tell, together
from pyrsia.client import Client
from pyrsia.errors import Refusal, usage
from pyrsia.wire.text import safe

PROGRESS_S: Final = 1.0
_OF_A_REQUEST: Final = re.compile("[0-9a-f]{8}: ")  # begins what a node says of a build
PLAN_S: Final = 600.0  # resolving a closure downloads every member's metadata
ECOSYSTEMS: Final = ("pip", "maven", "conan", "oci", "witness", "pipeline")
SOURCED: Final = ECOSYSTEMS[:4]  # those that build a source of one's own
# what a folder holds that is a source of that kind; without it a tool may pack an empty package (setuptools does)
_MARKS: Final = {
    "pip": ("pyproject.toml", "setup.py"),
    "maven": ("pom.xml",),
    "conan": ("conanfile.py",),
    "oci": ("Dockerfile",),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the words of a command ask for."""

    packages: tuple[str, ...]
    files: tuple[Path, ...]
    source: str | None
    kind: str | None
    parameters: tuple[str, ...]
    verified_only: bool
    witness: bool

    def of_each(self) -> dict[str, bool]:
        """What every order says, whatever its package is. Of a source of one's own upstream has no file."""
        said = {"verified_only": self.verified_only, "witness": self.witness and self.source is None}
        return {name: True for name, value in said.items() if value}


_options = together(
    click.argument("packages", metavar="[PURL|NAME[==VERSION]]...", nargs=-1),
    click.option(
        "-r",
        "--requirement",
        "files",
        multiple=True,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Every package of a requirements.txt, uv.lock, pom.xml or conan.lock.",
    ),
    click.option(
        "--source",
        metavar="DIR|ARCHIVE|git+URL@COMMIT",
        help="Build this source, under your node's own name.",
    ),
    click.option(
        "--as",
        "kind",
        type=click.Choice(ECOSYSTEMS),
        help="What a name is [pip], or a source [as its folder says]; or how a purl is taken: witness, pipeline.",
    ),
    click.option(
        "--param",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Of the recipe; only with --source.",
    ),
    click.option(
        "--only-verified-inputs",
        "verified_only",
        is_flag=True,
        help="Refuse builds whose inputs were not all built by this network.",
    ),
    click.option(
        "--witness/--no-witness",
        default=True,
        help="Have upstream's file witnessed where no source can be built [yes].",
    ),
)


def _wanting(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what to build, given to a command as one `Wanted`."""

    @functools.wraps(command)
    def called_with(**words: Any) -> None:
        wanted = Wanted(**{one.name: words.pop(one.name) for one in fields(Wanted)})
        command(wanted, **words)

    return _options(called_with)


@click.command()
@_wanting
@click.option("--wait", "--follow", "follow", is_flag=True, help="Stay until every build has its verdict.")
@node_option
@json_option
def request(wanted: Wanted, follow: bool, target: str | None, as_json: bool) -> None:
    """Ask for packages and everything they need at run time; no version: the newest.

    What the network has or builds already is named and not asked for again.
    """
    with Client(target, patience_s=PLAN_S) as node:
        asked = Asked()
        orders = _orders(node, asked, wanted)
        for order in _counted(orders, quiet=as_json):
            _ask(node, order | wanted.of_each(), asked, quiet=as_json)
        ids = list(dict.fromkeys(one["request"] for one in asked.requests))
        done = build_follow.wait(node, ids, quiet=as_json) if follow else []
        address = install.address(node) if done and len(orders) == 1 and not as_json else ""
    tell_asked(asked, done, follow=follow, as_json=as_json, address=address)
    judge(asked, done, one_order=len(orders) == 1)


@click.command()
@_wanting
@node_option
@json_option
def plan(wanted: Wanted, target: str | None, as_json: bool) -> None:
    """Show recipe, lock, inputs and environment of each build, before anything is asked for or runs."""
    with Client(target, patience_s=PLAN_S) as node:
        asked = Asked()
        orders = _orders(node, asked, wanted)
        for order in _counted(orders, quiet=as_json):
            _ask(node, order | wanted.of_each() | {"dry_run": True}, asked, quiet=as_json)
    if as_json:
        told = {"plans": asked.plans, "refused": asked.refused, "skipped": asked.skipped}
        tell(told, as_json=True, text=lambda: ())
    else:
        tell({}, as_json=False, text=lambda: plan_lines(asked))
    judge(asked, [], one_order=len(orders) == 1)


# -- orders --


def _orders(node: Client, asked: Asked, wanted: Wanted) -> list[dict[str, Any]]:
    """Each package once, in the order given.

    Raises:
        Refusal: `usage`.
    """
    if wanted.parameters and wanted.source is None:
        raise usage("--param goes with --source", "parameters of known packages come from their mapping")
    orders = [_order_of(text, wanted.kind) for text in wanted.packages]
    if wanted.source is not None:
        return [_sourced(node, orders, wanted, wanted.source)]
    for path in wanted.files:
        listed = build_files.read(path)
        asked.skipped += [f"{path.name}: {one}" for one in listed.skipped]
        for item in listed.items:
            order: dict[str, Any] = {
                "ecosystem": item.ecosystem,
                "name": item.name,
                "version": item.version,
            }
            orders.append(order if item.closure else order | {"closure": False})
    unique = list({repr(order): order for order in orders}.values())
    if not unique and not asked.skipped:
        raise usage("nothing to ask for", "name packages, or a file with -r, or a --source")
    return unique


def _order_of(text: str, kind: str | None) -> dict[str, Any]:
    if text.startswith("pkg:"):
        return {"purl": text} | ({"ecosystem": kind} if kind is not None else {})
    name, _, version = text.partition("==")
    return {"ecosystem": kind or "pip", "name": name.strip(), "version": version.strip()}


def _sourced(node: Client, orders: Sequence[dict[str, Any]], wanted: Wanted, source: str) -> dict[str, Any]:
    """The order of a source that is given along; the source is sent to the node first."""
    values = dict(_parameter(text) for text in wanted.parameters)
    kind = _kind(Path(source), wanted.kind, values)
    if kind not in SOURCED:
        raise usage(f"{kind} builds no source of one's own", f"write --as {', --as '.join(SOURCED)}")
    if wanted.files or len(orders) > 1:
        raise usage("--source is one package's", "leave -r and further names out")
    order = dict(orders[0]) if orders else {}
    if "purl" in order:
        raise usage(
            "a source of your own is published under your node's name, not under a purl",
            "write NAME==VERSION",
        )
    name, version = str(order.get("name", "")), str(order.get("version", ""))
    if kind == "oci" and not (name and version):
        raise usage(
            "nothing in a Dockerfile says how the image is called", "write NAME==TAG, as in team/app==1.0"
        )
    given = _posted_source(node, source, name, version)
    made = {"ecosystem": kind, "name": name, "version": version, "source": given}
    return made | ({"parameters": values} if values else {})


def _posted_source(node: Client, source: str, name: str, version: str) -> dict[str, Any]:
    """Pack a source and send it to the node; what the node calls it.

    Raises:
        Refusal: `digest-mismatch`.
    """
    from pyrsia.builds.sources import local  # it brings the sandbox along, which most commands need not

    with tempfile.TemporaryDirectory(prefix="pyrsia-source-") as folder:
        found = local.given(source, Path(folder), name=name, version=version)
        sent = node.post_file(f"/api/v1/builds/sources?file={found.file}", found.path)
    given: dict[str, Any] = shaped(sent, answers.GivenSource)
    if given["sha256"] != found.sha256:
        raise Refusal(
            "digest-mismatch",
            what=f"the node kept {given['sha256']}, {found.sha256} was sent",
            who="the node, or the way to it",
            do="send it again",
        )
    return given


def _kind(folder: Path, kind: str | None, values: dict[str, str]) -> str:
    """What a source is built as: as was said, else as what lies in its folder says; `pip` for archives and git.

    Raises:
        Refusal: `usage`: a folder without the file that makes it such a source, or with several of these files.
    """
    if not folder.is_dir() or values.keys() & {"subdir", "dockerfile"}:
        return kind or "pip"
    found = [each for each, marks in _MARKS.items() if any((folder / mark).is_file() for mark in marks)]
    if kind is None and len(found) != 1:
        seen = f"has {', '.join(_MARKS[each][0] for each in found)}" if found else "has no project file"
        raise usage(f"{folder} {seen}", f"say what it is: --as {', --as '.join(found or SOURCED)}")
    if kind in _MARKS and kind not in found:
        other = f"; it looks like one for --as {found[0]}" if found else ""
        raise usage(
            f"{folder} has no {' or '.join(_MARKS[kind])}{other}",
            "name the folder of the project, or its part with --param subdir=FOLDER",
        )
    return kind or found[0]


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise usage(f"{text[:60]!r} is no parameter", "write --param NAME=VALUE")
    return name, value


def _counted(orders: Sequence[dict[str, Any]], *, quiet: bool) -> Iterator[dict[str, Any]]:
    """The orders, with one line each on standard error where there are several: planning takes its time."""
    for number, order in enumerate(orders, 1):
        if not quiet and len(orders) > 1:
            click.echo(safe(f"  planning {number} of {len(orders)}: {_called(order)}"), err=True)
        yield order


def _called(order: dict[str, Any]) -> str:
    if "purl" in order:
        return str(order["purl"])
    return f"{order['name']}=={order['version']}" if order["version"] else str(order["name"])


def _ask(node: Client, order: dict[str, Any], asked: Asked, *, quiet: bool) -> None:
    """One order; a no of the plan or of the log is this package's, any other one ends the command."""
    try:
        answer = shaped(_posted(node, order, quiet=quiet), answers.Ordered)
    except Refusal as refusal:
        if refusal.code in (
            "not-running",
            "no-sandbox",
            "unauthenticated",
            "forbidden",
            "unavailable",
            "wrong-host",
            "internal",
        ):
            raise
        asked.refused.append({"package": _called(order), **refusal.as_dict()})
        return
    asked.plans += answer["plans"]
    known = {one["request"] for one in asked.requests}
    for one in answer["requests"]:
        if one["request"] in known:
            continue
        asked.requests.append(one)
        if not quiet:
            word = "known" if one["known"] else "asked"
            note = f", {one['note']}" if one["note"] else ""
            click.echo(safe(f"{word}: {called(one['purl'])} ({one['request'][:16]}){note}"))


def _posted(node: Client, order: dict[str, Any], *, quiet: bool) -> Any:
    """The answer to an order; what the node plans meanwhile is told on standard error, where it takes long."""
    done: Future[Any] = Future()

    def post() -> None:
        try:
            done.set_result(node.post("/api/v1/builds", order))
        except BaseException as error:  # noqa: BLE001 (carried to the thread that waits)
            done.set_exception(error)

    threading.Thread(target=post, daemon=True).start()
    shown = ""
    while True:
        try:
            return done.result(PROGRESS_S)
        except TimeoutError:
            told = "" if quiet else _planning(node)
            if told and told != shown:
                shown = told
                click.echo(safe(f"  {told}"), err=True)


def _planning(node: Client) -> str:
    """What the node says that it plans now; "" where it says nothing."""
    try:
        building = shaped(node.get("/api/v1/status"), answers.Status)["building"]
    except Refusal:
        return ""
    notes = [one for one in building if not _OF_A_REQUEST.match(one)]
    return str(notes[-1]) if notes else ""
