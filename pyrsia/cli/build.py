"""`build`: ask for verified builds and follow them."""

import re
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.environments import environment
from pyrsia.cli.explain import explain
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.units import Limit

PLAN_S: Final = 600.0  # resolving a closure downloads every member's metadata
POLL_S: Final = 0.3
_WHOLE: Final = re.compile("[0-9a-f]{64}")
_PREFIX: Final = re.compile("[0-9a-f]{8,63}")
SHOWN_IDS = Limit(20, "ids that a person compares; 8 digits are never shared by so many by accident")
FOLLOW_S = Limit(3_600, "two rounds of 12 minutes each with their draws, twice over")


@click.group()
def build() -> None:
    """Ask the network for a verified build; list and follow builds."""


build.add_command(explain)


build.add_command(environment)


@build.command()
@click.argument("package", metavar="NAME[==VERSION]")
@click.option("--follow", is_flag=True, help="Stay until every build has its verdict.")
@node_option
@json_option
def request(package: str, follow: bool, target: str | None, as_json: bool) -> None:
    """Ask for a package and everything it needs at run time; no version: the newest."""
    name, _, version = package.partition("==")
    with Client(target, patience_s=PLAN_S) as node:
        order = {"ecosystem": "pip", "name": name, "version": version}
        answer = shaped(node.post("/api/v1/builds", order), answers.Requests)
        asked = answer["requests"]
        if not as_json:
            for one in asked:
                click.echo(f"asked: {one['purl']} ({one['request'][:16]})")
        done = [_wait(node, one["request"], quiet=as_json) for one in asked] if follow else []
    if follow:
        tell({"builds": done}, as_json=as_json, text=lambda: [_line(one) for one in done])
        if any(one["verdict"] not in ("REPRODUCED", "EQUIVALENT") for one in done):
            raise Refusal(
                "build-failed",
                what="not every package of the closure was reproduced",
                who="the builders named above",
                do="see what each said with `pyrsia build list` and `pyrsia build show REQUEST`",
            )
    elif as_json:
        tell(answer, as_json=True, text=lambda: ())


def _wait(node: Client, request: str, *, quiet: bool) -> dict[str, Any]:
    """Poll until the verdict. Every request ends by its deadlines in block time; a network that stands still
    has none, so we have one of our own."""
    shown, until_s = "", time.monotonic() + FOLLOW_S.value
    while time.monotonic() < until_s:
        one = _one(node, request)
        if one["state"] == "done":
            return one
        if not quiet and one["state"] != shown:
            shown = one["state"]
            click.echo(f"  {one['purl']}: {shown}", err=True)
        time.sleep(POLL_S)
    raise Refusal(
        "unavailable",
        what=f"the build has no verdict after {FOLLOW_S.value} s",
        who="the network",
        do=f"see `pyrsia status`, and later `pyrsia build show {request[:64]}`",
    )


def _one(node: Client, request: str) -> dict[str, Any]:
    """The build whose id is `request`, or begins with it.

    Raises:
        Refusal: `not-found`; `usage` for a beginning that several ids share.
    """
    text = request.lower()
    if _PREFIX.fullmatch(text):
        return _by_prefix(node, text)
    if not _WHOLE.fullmatch(text):
        raise _not_found(request)
    try:
        found: dict[str, Any] = shaped(node.get(f"/api/v1/builds/{text}"), answers.Build)
    except Refusal as refusal:
        raise _not_found(request) if refusal.code == "not-found" else refusal from None
    return found


def _by_prefix(node: Client, prefix: str) -> dict[str, Any]:
    """Among the newest requests, which is where people have a shortened id from."""
    newest = shaped(node.get("/api/v1/builds"), answers.Builds)["builds"]
    found: list[dict[str, Any]] = [one for one in newest if one["request"].startswith(prefix)]
    if not found:
        raise _not_found(prefix)
    if len(found) > 1:
        raise Refusal(
            "usage",
            what=f"{len(found)} requests begin with {prefix}: "
            + ", ".join(f"{one['request']} ({one['purl']})" for one in found[: SHOWN_IDS.value]),
            who="your command",
            do="write more of its digits",
        )
    return found[0]


def _not_found(request: str) -> Refusal:
    return Refusal(
        "not-found",
        what=f"Failed to fetch the build: '{request[:80]}' was not found",
        who="your command",
        do="see `pyrsia build list`; an id is 64 hexadecimal digits, or the first 8 and more of a recent one",
    )


def _line(one: dict[str, Any]) -> str:
    dissent = f", {len(one['dissenting'])} dissenting" if one["dissenting"] else ""
    return f"{one['purl']}: {one['verdict']} ({len(one['agreeing'])} agreeing{dissent}) {one['file']}"


@build.command("list")
@node_option
@json_option
def show_all(target: str | None, as_json: bool) -> None:
    """The newest requests and how far they are."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/builds"), answers.Builds)
    rows = [
        (one["request"][:16], one["purl"], one["state"], one["verdict"] or "-", len(one["agreeing"]))
        for one in answer["builds"]
    ]
    tell(
        answer,
        as_json=as_json,
        text=lambda: table(rows, ("request", "package", "state", "verdict", "agreeing")),
    )


@build.command()
@click.argument("request", metavar="REQUEST")
@node_option
@json_option
def show(request: str, target: str | None, as_json: bool) -> None:
    """One request: who was drawn, who committed, who agreed.

    REQUEST is its id, or the first 8 or more digits of a recent one.
    """
    with Client(target) as node:
        one = _one(node, request)
    tell(one, as_json=as_json, text=lambda: _detail(one))


def _detail(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['purl']}: {one['state']} {one['verdict']}"
    yield f"request   {one['request']}"
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
    if one["note"]:
        yield f"note      {one['note']}"


@build.command("status")
@click.option("--id", "request", required=True, metavar="REQUEST", help="Its id, or how that begins.")
@node_option
@json_option
def status(request: str, target: str | None, as_json: bool) -> None:
    """Build state in the original's words: RUNNING, SUCCESS or FAILED."""
    with Client(target) as node:
        one = _one(node, request)
    word = "RUNNING"
    if one["state"] == "done":
        good = one["verdict"] in ("REPRODUCED", "EQUIVALENT", "WITNESSED")
        word = "SUCCESS" if good else f"FAILED - (Error: {one['verdict']})"
    tell(
        {"id": one["request"], "status": word},
        as_json=as_json,
        text=lambda: [f"Build status for '{request}' is '{word}'"],
    )
