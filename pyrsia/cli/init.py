"""`init`: a node's data directory, keys and configuration."""

import hashlib
import shlex
from pathlib import Path

import click

from pyrsia import config
from pyrsia.cli.tell import json_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.files import write_whole
from pyrsia.keys import KeyRing
from pyrsia.verify.pins import pin_of, read_genesis
from pyrsia.wire.text import b32

DEFAULT_NAME = "node"


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory [the user's].")
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="What people call this node.")
@click.option(
    "--genesis",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The network's trust file: its genesis document.",
)
@click.option("--join", "url", metavar="URL", help="Fetch the genesis from this node; needs --digest.")
@click.option("--digest", metavar="sha256:HEX", help="What the genesis must be; its operators publish it.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="ID@tcp://HOST:PORT",
    help="A peer to dial; may be given several times.",
)
@json_option
def init(
    data: Path | None,
    name: str,
    file: Path | None,
    url: str | None,
    digest: str | None,
    peers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make the keys and configuration of a node, and fix its network. What is there already is kept."""
    if file is not None and url is not None:
        raise click.UsageError("--genesis and --join are two places for one genesis; name one of them")
    folder = data or config.user_data_dir()
    settings = _settings(name, peers, folder)
    genesis = _genesis(file, url, digest)
    there = folder / "genesis.json"
    if there.exists() and genesis and there.read_bytes() != genesis:
        raise Refusal(
            "data-foreign",
            what=f"{folder} belongs to another network",
            who="your command",
            do="choose another --data directory",
        )
    if genesis is None and there.exists():
        genesis = there.read_bytes()
    network = pin_of(genesis, file or there).name if genesis else ""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = KeyRing.load_or_create(folder / "keys")
    if genesis and not there.exists():
        write_whole(there, genesis)  # a node that finds half a genesis would belong to no network
    if not (folder / config.CONFIG_NAME).exists():
        config.save(settings, folder)
    identity = b32(keys.node.public)
    tell(
        {"data": str(folder), "node_id": identity, "network": network},
        as_json=as_json,
        text=lambda: [
            f"node {identity}",
            f"data {folder}",
            _hint(data, founded=genesis is not None),
        ],
    )


def _hint(data: Path | None, *, founded: bool) -> str:
    """The next command, with the directory where it is not the user's own."""
    where = f" --data {shlex.quote(str(data))}" if data else ""
    if founded:
        return f"start it with: pyrsia node run{where}"
    again = f"pyrsia init{where}"
    return f"next: {again} --genesis FILE, or {again} --join URL --digest sha256:..."


def _settings(name: str, peers: tuple[str, ...], folder: Path) -> config.Config:
    """The configuration of a new node.

    Raises:
        Refusal: `config-invalid`, or `conflict` where one exists and these options would change it.
    """
    path = folder / config.CONFIG_NAME
    if path.exists():
        there = config.load(folder, environ={})
        if (peers and peers != there.net.peers) or name not in (DEFAULT_NAME, there.node.name):
            raise Refusal(
                "conflict",
                what=f"{path} exists and says something else",
                who="your command",
                do="edit that file, or choose another --data directory",
            )
        return there
    return config.parse({"node": {"name": name}, "net": {"peers": list(peers)}}, path)


def _genesis(file: Path | None, url: str | None, digest: str | None) -> bytes | None:
    if file is not None:
        data = read_genesis(file).genesis.raw
    elif url is not None:
        if not digest:
            raise Refusal(
                "usage",
                what="joining by address alone would believe whoever answers",
                who="your command",
                do="add --digest sha256:... as the network's operators publish it",
            )
        with Client(url) as node:
            data = node.get_bytes("/log/genesis")
    else:
        return None
    if digest and hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:").lower():
        raise Refusal(
            "digest-mismatch",
            what="the genesis is not the one that the digest names",
            who=str(file or url),
            do="do not join; ask the operators",
        )
    return data
