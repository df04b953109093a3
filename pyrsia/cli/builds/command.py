"""`build`: ask for verified builds and follow them."""

from collections.abc import Iterator
from typing import Any

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.builds import find, past
from pyrsia.cli.builds import follow as build_follow
from pyrsia.cli.builds.request import plan, request
from pyrsia.cli.compare import compare
from pyrsia.cli.environments import environment
from pyrsia.cli.explain import explain
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import in_words
from pyrsia.wire.text import safe

request_argument = click.argument("request", metavar="REQUEST")


@click.group(cls=Group)
def build() -> None:
    """Ask the network for a verified build; plan, list, follow and explain builds."""


for command in (request, plan, explain, compare, environment):
    build.add_command(command)


@build.command("list")
@click.option("--queue", is_flag=True, help="What waits on this node to be built, in its order.")
@past.as_of_option
@node_option
@json_option
def show_all(queue: bool, as_of: str | None, target: str | None, as_json: bool) -> None:
    """The newest requests and how far they are."""
    past.refuse(as_of)
    with Client(target) as node:
        if queue:
            waiting = shaped(node.get("/api/v1/builds/queue"), answers.Queue)
            tell(waiting, as_json=as_json, text=lambda: waiting["queue"] or ["nothing waits here"])
            return
        answer = shaped(node.get("/api/v1/builds"), answers.Builds)
    rows = [
        (
            one["request"][:16],
            find.called(one["purl"]),
            one["state"],
            one["verdict"] or "-",
            len(one["agreeing"]),
        )
        for one in answer["builds"]
    ]
    tell(
        answer,
        as_json=as_json,
        text=lambda: table(rows, ("request", "package", "state", "verdict", "agreeing")),
    )


@build.command()
@request_argument
@past.as_of_option
@node_option
@json_option
def show(request: str, as_of: str | None, target: str | None, as_json: bool) -> None:
    """One request: who was drawn, who committed, who agreed.

    REQUEST is its id, or the first 8 or more digits of a recent one.
    """
    past.refuse(as_of, request)
    with Client(target) as node:
        found = find.one(node, request)
    tell(found, as_json=as_json, text=lambda: _detail(found))


def _detail(one: dict[str, Any]) -> Iterator[str]:
    yield f"{find.called(one['purl'])}: {one['state']} {one['verdict']}".rstrip()
    yield f"package   {one['purl']}"
    yield f"request   {one['request']}"
    if one["verdict"]:
        yield f"verdict   {in_words(one['verdict'], len(one['agreeing']))}"
    if one["waits"]:
        yield f"waits for {one['waits']}"
    for builder in one["builders"]:
        did = "agreed" if builder in one["agreeing"] else "dissents" if builder in one["dissenting"] else ""
        step = (
            "revealed"
            if builder in one["revealed"]
            else "committed"
            if builder in one["committed"]
            else "drawn"
        )
        yield f"builder   {builder[:8]}  {step}  {did}"
    if one["file"]:
        yield f"file      {one['file']}  sha256:{one['sha256']}"
    for name in one["files"][1:]:
        yield f"file      {name}"
    if one["note"]:
        yield f"note      {one['note']}"


@build.command("status")
@click.option("--id", "request", required=True, metavar="REQUEST", help="Its id, or how that begins.")
@past.as_of_option
@node_option
@json_option
def status(request: str, as_of: str | None, target: str | None, as_json: bool) -> None:
    """Build state in the original's words: RUNNING, SUCCESS or FAILED."""
    past.refuse(as_of, request)
    with Client(target) as node:
        found = find.one(node, request)
    word = "RUNNING"
    if found["state"] == "done":
        word = "SUCCESS" if build_follow.good(found) else f"FAILED - (Error: {found['verdict']})"
    tell(
        {"id": found["request"], "status": word},
        as_json=as_json,
        text=lambda: [f"Build status for '{request}' is '{word}'"],
    )


@build.command()
@request_argument
@click.option(
    "--builder", default="", metavar="ID", help="Whose log [the node's own, else the first there is]."
)
@click.option("--follow", is_flag=True, help="Wait until the log may be read.")
@node_option
@json_option
def logs(request: str, builder: str, follow: bool, target: str | None, as_json: bool) -> None:
    """What a builder's build printed, once that builder has committed to its result.

    Before, a log would tell the other builders what came out. REQUEST is its id, or the first 8 or more digits of a
    recent one.
    """
    with Client(target) as node:
        found = find.one(node, request)["request"]
        whole = next((one for one in _builders(node, found) if builder and one.startswith(builder)), builder)
        lines = build_follow.log_lines(node, found, whole, follow=follow)
        if as_json:
            tell({"request": found, "lines": list(lines)}, as_json=True, text=lambda: ())
            return
        told = False
        for line in lines:
            told = True
            click.echo(safe(line))
    if not told:
        click.echo("this build printed nothing", err=True)


def _builders(node: Client, request: str) -> list[str]:
    drawn: list[str] = find.one(node, request)["builders"]
    return drawn


@build.command()
@request_argument
@node_option
@json_option
def cancel(request: str, target: str | None, as_json: bool) -> None:
    """End a request of this node before its builders are drawn; after the draw nobody can."""
    with Client(target) as node:
        found = find.one(node, request)["request"]
        try:
            answer = shaped(node.post(f"/api/v1/builds/{found}/cancel", {}), answers.Cancelled)
        except Refusal as refusal:
            if refusal.code != "entry-refused":
                raise
            do = f"let it end; see `pyrsia build show {found[:16]}`"
            raise Refusal(refusal.code, what=refusal.what, who="the log's rules", do=do) from None
    tell(answer, as_json=as_json, text=lambda: [f"cancelled: {found} (leaf {answer['leaf']})"])


@build.command()
@request_argument
@node_option
@json_option
def prefer(request: str, target: str | None, as_json: bool) -> None:
    """Have this node build a request before all others that wait there."""
    with Client(target) as node:
        found = find.one(node, request)["request"]
        answer = shaped(node.post(f"/api/v1/builds/{found}/prefer", {}), answers.Queue)
    tell(answer, as_json=as_json, text=lambda: answer["queue"] or ["nothing waits here"])
