"""`config`: show the node's configuration, or change it key by key."""

import ipaddress
import re
import shlex
from pathlib import Path
from typing import Final

import click
import msgspec

from pyrsia import config as settings
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, tell
from pyrsia.client import resolve
from pyrsia.errors import Refusal

RESTART: Final = "restart the node for it to take effect"
_LABEL: Final = re.compile("[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def data_folder(target: str | None) -> Path:
    """The data directory that applies; an address has no configuration to change."""
    where = resolve(target)
    if where.startswith(("http://", "https://")):
        raise Refusal(
            "usage",
            what="a configuration is read from the data directory",
            who="your command",
            do="name the directory: --node DIR",
        )
    return Path(where)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--node", "target", metavar="DIR", help="The node's data directory.")
@click.option("-s", "--show", is_flag=True, help="Show it (what the bare command does).")
@json_option
@click.pass_context
def config(ctx: click.Context, target: str | None, show: bool, as_json: bool) -> None:
    """Show the node's configuration; `config edit` changes it.

    What is shown is the file with the PYRSIA_SECTION__KEY variables over it.
    """
    ctx.obj = target
    if ctx.invoked_subcommand is None:
        path = data_folder(target) / settings.CONFIG_NAME
        current = settings.load(path.parent)
        there = "" if path.exists() else " is not there; these are the defaults"
        tell(
            {"file": str(path), "config": msgspec.to_builtins(current)},
            as_json=as_json,
            text=lambda: [f"# {path}{there}", *settings.render(current).splitlines()],
        )


@config.command()
@click.option("-H", "--host", help="Address that the HTTP port for package clients listens on.")
@click.option("-p", "--port", type=click.IntRange(0, 65_535), help="That port; 0 takes a free one.")
@click.option(
    "-d",
    "--diskspace",
    metavar='"N GB"',
    help="Disk for artifacts, 1 to 4096 GB: what nobody pinned goes when it is used up.",
)
@click.option("--node", "target", metavar="DIR", help="The node's data directory.")
@json_option
@click.pass_context
def edit(
    ctx: click.Context,
    host: str | None,
    port: int | None,
    diskspace: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Change host, port or disk space; asks for each when none is given.

    A running node goes on with what it read at its start: restart it.
    """
    folder = data_folder(target or ctx.obj)
    if not folder.is_dir():
        raise Refusal(
            "not-found",
            what=f"there is no data directory {folder}",
            who="your command",
            do=f"make it first: pyrsia init --data {shlex.quote(str(folder))}",
        )
    current = settings.load(folder, environ={})
    if host is None and port is None and diskspace is None:
        host = click.prompt("Host", default=current.http.host)
        port = click.prompt("Port", default=current.http.port, type=click.IntRange(0, 65_535))
        diskspace = click.prompt("Disk space", default=f"{current.storage.allocated_gb} GB")
    raw = msgspec.to_builtins(current)
    if host is not None:
        raw["http"]["host"] = _hostname(host)
    if port is not None:
        raw["http"]["port"] = port
    if diskspace is not None:
        raw["storage"]["allocated_gb"] = _gigabytes(diskspace)
    path = settings.save(settings.parse(raw, folder / settings.CONFIG_NAME), folder)
    tell({"saved": str(path)}, as_json=as_json, text=lambda: ["Node configuration saved", RESTART])


def _hostname(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
            raise Refusal(
                "usage",
                what=f"Invalid value for Hostname: {text!r}",
                who="your command",
                do="write an address or a name, for example 127.0.0.1 or localhost",
            ) from None
    return text


def _gigabytes(text: str) -> int:
    number = text.strip().upper().removesuffix("GB").strip()
    if not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= 4096:
        raise Refusal(
            "usage",
            what=f"Invalid value for Disk Allocation: {text!r}",
            who="your command",
            do='write a number of gigabytes from 1 to 4096, for example "10 GB"',
        )
    return int(number)
