"""`setup`: point a client at a node, and take it back byte for byte."""

import difflib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyrsia.cli.tell import examples, json_option, table, tell
from pyrsia.consumers.clients import NAMES
from pyrsia.errors import Refusal
from pyrsia.wire.text import safe

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.consumers.applying import Change
    from pyrsia.consumers.edits import Kind, Place, Plan
    from pyrsia.consumers.undoing import Undone

_NAMED = 10  # witnessed files that are named; all of them are in --json
_MODES = ("verified", "verified+witnessed", "proxy")
_folder = click.Path(file_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "pyrsia setup                    the clients here, and what each asks now",
        "pyrsia setup pip --node http://127.0.0.1:7888",
        "pyrsia setup maven --mode verified+witnessed",
        "pyrsia setup docker --print     show what would change",
        "pyrsia setup pip --undo         every file as it was, byte for byte",
    )
)
@click.argument("client", type=click.Choice(NAMES), required=False)
@click.option(
    "--node", "target", metavar="URL|DIR", help="The node [PYRSIA_NODE, else yours, else the system's]."
)
@click.option("--mode", type=click.Choice(_MODES), help="What the node shall give [asked for on a terminal].")
@click.option(
    "--strict", is_flag=True, help="Close every way past the node, or refuse and say which stay open."
)
@click.option("--undo", is_flag=True, help="Put every file back as it was before the first setup.")
@click.option(
    "--force", is_flag=True, help="With --undo: also files that were edited since; copies are kept."
)
@click.option("--print", "only_print", is_flag=True, help="Show what would change; change nothing.")
@click.option("--system", is_flag=True, help="The configuration of all users, where a client has one.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    help="The file to edit instead of the client's usual one; for containerd its folder certs.d.",
)
@click.option("--root", type=_folder, default="/", help="A folder that stands for / [/].")
@json_option
def setup(
    client: str | None,
    target: str | None,
    mode: str | None,
    strict: bool,
    undo: bool,
    force: bool,
    only_print: bool,
    system: bool,
    file: Path | None,
    root: Path,
    as_json: bool,
) -> None:
    """Point CLIENT at a node; without CLIENT list those that are here, and where each gets packages from.

    The client's own configuration is edited and nothing else of it changes; ways by which packages still come past the
    node are told. What was there before is kept, and --undo puts it back byte for byte.
    """
    from pyrsia.consumers.clients import kind as client_of
    from pyrsia.consumers.edits import Place

    place = Place(Path.home(), root, dict(os.environ), Path.cwd(), file, system)
    if client is None:
        if undo or strict or mode or file:
            raise click.UsageError("name a client: " + ", ".join(NAMES))
        _list(place, as_json=as_json)
        return
    kind = client_of(client)
    if undo:
        _undo(kind, place, force=force, only_print=only_print, as_json=as_json)
    else:
        _setup(kind, place, target, mode, strict=strict, only_print=only_print, as_json=as_json)


# -- the list ------------------------------------------------------------------------------------


def _list(place: "Place", *, as_json: bool) -> None:
    from pyrsia.consumers.applying import journal_path, see
    from pyrsia.consumers.clients import kind as client_of

    rows: list[dict[str, Any]] = []
    for name in NAMES:
        kind = client_of(name)
        try:
            now = list(kind.now(place, see(kind, place)))
        except Refusal as refusal:
            now = [refusal.what]
        here = next((one for one in kind.programs if shutil.which(one)), "")
        rows.append({"client": name, "here": here, "now": now, "set_up": journal_path(kind, place).exists()})
    tell({"clients": rows}, as_json=as_json, text=lambda: _rows(rows))


def _rows(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [
        (row["client"] if not at else "", (row["here"] or "not here") if not at else "", line,
         "yes" if row["set_up"] and not at else "")
        for row in rows
        for at, line in enumerate(row["now"])
    ]  # fmt: skip
    yield from table(cells, ("client", "program", "packages come from", "set up"))


# -- setting up -------------------------------------------------------------------------------------


def _setup(
    kind: "Kind",
    place: "Place",
    target: str | None,
    mode: str | None,
    *,
    strict: bool,
    only_print: bool,
    as_json: bool,
) -> None:
    from pyrsia.consumers import applying, nodes
    from pyrsia.consumers.edits import Want

    want = Want(nodes.address(target), strict)
    now = nodes.mode(target, kind.ecosystem)
    if mode is None and not only_print and not as_json and sys.stdin.isatty():
        mode = _asked(kind, now)
    made, changes = applying.plan(kind, place, want) if only_print else applying.apply(kind, place, want)
    told = {
        "client": kind.name,
        "node": want.node,
        "changed": [str(one.path) for one in changes],
        "diff": _diff(changes),
        "printed": only_print,
        "holes": [hole.as_dict() for hole in made.holes],
        "closed": list(made.closed),
        "advice": list(made.advice),
        "answers": nodes.answers(want.node),
        "mode": _mode(kind, target, now, mode, write=not only_print),
    }
    tell(told, as_json=as_json, text=lambda: _told(kind, made, told))


def _mode(kind: "Kind", target: str | None, now: str, chosen: str | None, *, write: bool) -> dict[str, Any]:
    """The mode that holds or is wanted, what fails in it, and how the node gets it."""
    from pyrsia.consumers import nodes

    wanted = chosen or now or nodes.DEFAULTS[kind.ecosystem]
    refused = nodes.witnessed(target, kind.ecosystem) if wanted == "verified" else ()
    folder = nodes.own_folder(target)
    line = f'[{kind.ecosystem}] mode = "{wanted}"'
    how, written = "", False
    if chosen and chosen != now and folder is not None and folder.is_dir() and write:
        path = nodes.set_mode(folder, kind.ecosystem, chosen)
        how, written = f"wrote {path}: {line}; a running node takes it over within five seconds", True
    elif not now:
        how = f"to have that and no other, its operator writes into its policy.toml: {line}"
    elif wanted != now:
        where = f"{folder}/policy.toml" if folder else "the node's policy.toml, which its operator edits"
        how = f"the node is in mode {now}; for {wanted} write into {where}: {line}"
    return {
        "node": now,
        "wanted": wanted,
        "written": written,
        "fails": list(nodes.fails(kind.ecosystem, wanted)),
        "witnessed": list(refused),
        "set_it": how,
    }


def _asked(kind: "Kind", now: str) -> str:
    """The mode that the person at the terminal chooses; what each of them means is shown first."""
    from pyrsia.consumers import nodes

    for name in _MODES:
        mark = "  (the node's now)" if name == now else ""
        click.echo(f"{name}{mark}")
        for line in nodes.fails(kind.ecosystem, name):
            click.echo(f"    {line}")
    default = now or nodes.DEFAULTS[kind.ecosystem]
    return str(click.prompt("mode", type=click.Choice(_MODES), default=default))


def _told(kind: "Kind", made: "Plan", told: dict[str, Any]) -> Iterator[str]:
    if told["printed"]:
        yield from told["diff"] or ["nothing would change"]
    else:
        yield from (f"wrote {path}" for path in told["changed"])
        if not told["changed"]:
            yield f"{kind.name} is set up for {told['node']} already"
        else:
            yield f"{kind.name} now gets packages from {told['node']}"
    if not told["answers"]:
        yield f"warning: no node answers at {told['node']} now; {kind.name} will find nothing there"
    yield from (f"closed: {one}" for one in made.closed)
    for hole in made.holes:
        yield f"hole: {hole.what}"
        yield f"      {hole.do}"
    mode = told["mode"]
    yield from _in_force(kind, mode, answers=told["answers"])
    yield from (f"      {line}" for line in mode["fails"])
    if mode["witnessed"]:
        first = ", ".join(mode["witnessed"][:_NAMED])
        yield f"      witnessed only in the node's log, so refused: {len(mode['witnessed'])} files: {first}"
    if mode["set_it"]:
        yield f"      {mode['set_it']}"
    yield from (f"note: {line}" for line in made.advice)
    if not told["printed"]:
        yield f"undo: pyrsia setup {kind.name} --undo"


def _in_force(kind: "Kind", mode: dict[str, Any], *, answers: bool) -> Iterator[str]:
    """The mode that holds, and what fails in it where another one is wanted; what was only wanted is no fact."""
    from pyrsia.consumers import nodes

    now, wanted = mode["node"], mode["wanted"]
    if mode["written"] or now == wanted:
        yield f"mode: {wanted}"
    elif now:
        yield f"mode: {now}"
        yield from (f"      {line}" for line in nodes.fails(kind.ecosystem, now))
        yield f"wanted: {wanted}"
    else:
        why = "the node does not say it" if answers else "no node answers"
        yield f"mode: not known, {why}; a new node has {nodes.DEFAULTS[kind.ecosystem]}. In {wanted}:"


def _diff(changes: Sequence["Change"]) -> list[str]:
    """A unified diff of every change, harmless to a terminal. Passwords of the user's own files may stand in it."""
    lines: list[str] = []
    for one in changes:
        old, new = (
            (data or b"").decode("utf-8", "replace").splitlines() for data in (one.was.data, one.data)
        )
        names = (str(one.path) if one.was.data is not None else "/dev/null",
                 str(one.path) if one.data is not None else "/dev/null")  # fmt: skip
        lines += [safe(line) for line in difflib.unified_diff(old, new, *names, lineterm="")]
    return lines


# -- taking back ------------------------------------------------------------------------------------


def _undo(kind: "Kind", place: "Place", *, force: bool, only_print: bool, as_json: bool) -> None:
    from pyrsia.consumers import undoing

    if only_print:
        diff = _diff(undoing.to_undo(kind, place))
        tell({"client": kind.name, "diff": diff, "printed": True}, as_json=as_json,
             text=lambda: diff or ["nothing would change"])  # fmt: skip
        return
    done = undoing.undo(kind, place, force=force)
    told = {
        "client": kind.name,
        "restored": [str(one) for one in done.files],
        "removed": [str(one) for one in done.removed],
        "left": [str(one) for one in done.left],
        "kept": [str(one) for one in done.kept],
    }
    tell(told, as_json=as_json, text=lambda: _undone(kind, done))


def _undone(kind: "Kind", done: "Undone") -> Iterator[str]:
    yield from (f"{path} is as it was" for path in done.files)
    yield from (f"{path} is gone, as before" for path in done.removed)
    yield from (f"{path} stays: it holds files of others now" for path in done.left)
    yield from (f"your edited copy: {path}" for path in done.kept)
    if not (done.files or done.removed):
        yield f"everything of {kind.name} was as before already"
