"""`keys token`: passwords by which package clients push to a node, or read it from other machines."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal

SCOPES: Final = ("push", "admin", "read")
_SPAN: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400}


class _Status(msgspec.Struct):
    id: str
    name: str
    scope: str
    package: str
    made_ms: int
    expires_ms: int
    used_ms: int = 0


class _Made(msgspec.Struct):
    token: str
    status: _Status


class _Tokens(msgspec.Struct):
    tokens: tuple[_Status, ...]
    failures: int = 0


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "pyrsia keys token --scope push --package 'pkg:maven/org.example/*'",
        "pyrsia keys token --scope read --expires 365d   for other machines",
        "pyrsia keys token list",
        "pyrsia keys token revoke ci",
    ),
)
@click.option("--scope", type=click.Choice(SCOPES), help="What it allows.")
@click.option(
    "--package",
    metavar="GLOB",
    default="",
    help="Packages that it may push, as in 'pkg:maven/org.example/*' [all].",
)
@click.option("--name", default="", help="What people call it [made of its scope and id].")
@click.option("--expires", metavar="SPAN", default="90d", show_default=True, help="As in 30m, 12h or 365d.")
@node_option
@json_option
@click.pass_context
def token(
    context: click.Context,
    scope: str | None,
    package: str,
    name: str,
    expires: str,
    target: str | None,
    as_json: bool,
) -> None:
    """Make a token for package clients; it is shown this once.

    Clients take it as a password, of whatever user. `push`: also read; nothing but packages changes. `admin`: all that
    this node's operator may, from other machines. `read`: packages, the log and the pages, where http.public is off.
    """
    if context.invoked_subcommand is not None:
        if target or as_json or scope or package or name:
            raise click.UsageError(f"Options of `{context.invoked_subcommand}` stand behind it.")
        return
    if scope is None:
        raise click.UsageError("Name what it is to allow: --scope push, admin or read.")
    order = {"scope": scope, "package": package, "name": name, "expires_s": seconds(expires)}
    with Client(target) as node:
        answer = shaped(node.post("/api/v1/tokens", order), _Made)
    told = {"token": answer["token"], **answer["status"]}
    tell(told, as_json=as_json, text=lambda: _made(told))


@token.command("list")
@node_option
@json_option
def list_tokens(target: str | None, as_json: bool) -> None:
    """Tokens that are in force: what each allows and until when. Not the tokens themselves: nobody has those."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/tokens"), _Tokens)
    tell(answer, as_json=as_json, text=lambda: _listed(answer))


@token.command()
@click.argument("which", metavar="NAME|ID")
@node_option
@json_option
def revoke(which: str, target: str | None, as_json: bool) -> None:
    """End a token at once."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", which) is None:
        raise click.UsageError("That is no name of a token: see `pyrsia keys token list`.")
    with Client(target) as node:
        answer = shaped(node.post(f"/api/v1/tokens/{which}/revoke", {}), _Status)
    tell(answer, as_json=as_json, text=lambda: [f"revoked: {answer['name']} ({answer['scope']})"])


def seconds(span: str) -> int:
    """How long `30m`, `12h` or `90d` are.

    Raises:
        Refusal: `usage`.
    """
    match = _SPAN.fullmatch(span)
    found = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 60 <= found <= 3_660 * 86_400:
        raise Refusal(
            "usage",
            what=f"{span} is not how long a token may live",
            who="your command",
            do="write a number and m, h or d, ten years at most: --expires 90d",
        )
    return found


def _made(told: dict[str, Any]) -> Iterator[str]:
    yield told["token"]
    allows = f"push {told['package'] or 'every package'}" if told["scope"] == "push" else told["scope"]
    yield f"  {told['name']}: {allows}, until {_day(told['expires_ms'])}; it is shown this once"
    yield f"  to end it: pyrsia keys token revoke {told['name']}"


def _listed(answer: dict[str, Any]) -> Iterator[str]:
    if not answer["tokens"]:
        yield "no tokens; to make one: pyrsia keys token --scope push"
    else:
        yield from table(
            (
                (one["name"], one["id"], one["scope"], one["package"] or "-", _day(one["made_ms"]),
                 _day(one["expires_ms"]), _day(one["used_ms"]) if one["used_ms"] else "-")
                for one in answer["tokens"]
            ),
            ("name", "id", "scope", "packages", "made", "expires", "last used"),
        )  # fmt: skip
    if answer["failures"]:
        yield f"requests with a wrong token since the node started: {answer['failures']}"


def _day(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "?"
