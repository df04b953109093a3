"""`config`: show the node's configuration, or change it key by key."""

from pathlib import Path

import click
import msgspec

from pyrsia import config as settings
from pyrsia.cli.tell import json_option, tell
from pyrsia.client import resolve
from pyrsia.errors import Refusal


def _folder(target: str | None) -> Path:
    where = resolve(target)
    if where.startswith(("http://", "https://")):
        raise Refusal(
            "usage",
            what="a configuration is read from the data directory",
            who="your command",
            do="name the directory: --node DIR",
        )
    return Path(where)


@click.group(invoke_without_command=True)
@click.option("--node", "target", metavar="DIR", help="The node's data directory.")
@click.option("-s", "--show", is_flag=True, help="Show it (what the bare command does).")
@json_option
@click.pass_context
def config(ctx: click.Context, target: str | None, show: bool, as_json: bool) -> None:
    """Show the node's configuration; `config edit` changes it."""
    ctx.obj = target
    if ctx.invoked_subcommand is None:
        folder = _folder(target)
        current = settings.load(folder)
        tell(
            {"file": str(folder / settings.CONFIG_NAME), "config": msgspec.to_builtins(current)},
            as_json=as_json,
            text=lambda: [f"# {folder / settings.CONFIG_NAME}", *settings.render(current).splitlines()],
        )


@config.command()
@click.option("-H", "--host", help="Address for package clients.")
@click.option("-p", "--port", type=click.IntRange(0, 65_535), help="Port for package clients.")
@click.option("-d", "--diskspace", metavar='"N GB"', help="Disk that artifacts may take, 1 to 4096 GB.")
@json_option
@click.pass_context
def edit(
    ctx: click.Context, host: str | None, port: int | None, diskspace: str | None, as_json: bool
) -> None:
    """Change host, port or disk space; asks for each when none is given."""
    folder = _folder(ctx.obj)
    current = settings.load(folder, environ={})
    if host is None and port is None and diskspace is None:
        host = click.prompt("Host", default=current.http.host)
        port = click.prompt("Port", default=current.http.port, type=click.IntRange(0, 65_535))
        diskspace = click.prompt("Disk space", default=f"{current.storage.allocated_gb} GB")
    raw = msgspec.to_builtins(current)
    if host is not None:
        raw["http"]["host"] = host
    if port is not None:
        raw["http"]["port"] = port
    if diskspace is not None:
        raw["storage"]["allocated_gb"] = _gigabytes(diskspace)
    path = settings.save(settings.parse(raw, folder / settings.CONFIG_NAME), folder)
    tell({"saved": str(path)}, as_json=as_json, text=lambda: ["Node configuration saved"])


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
