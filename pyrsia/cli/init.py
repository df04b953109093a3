"""`init`: a node's data directory, keys and configuration."""

import hashlib
from pathlib import Path

import click

from pyrsia import config
from pyrsia.cli.tell import json_option, tell
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.keys import KeyRing
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire.text import b32


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory [the user's].")
@click.option("--name", default="node", show_default=True, help="What people call this node.")
@click.option(
    "--genesis", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Trust file."
)
@click.option("--join", "url", metavar="URL", help="Fetch the genesis from this node.")
@click.option("--digest", metavar="sha256:HEX", help="What the genesis must be; needed with --join.")
@click.option("--peer", "peers", multiple=True, metavar="ID@tcp://HOST:PORT", help="A peer to dial.")
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
    """Make the keys and configuration of a node, and pin its network."""
    folder = data or config.user_data_dir()
    genesis = _genesis(file, url, digest)
    if (folder / "genesis.json").exists() and genesis and (folder / "genesis.json").read_bytes() != genesis:
        raise Refusal(
            "data-foreign",
            what=f"{folder} belongs to another network",
            who="your command",
            do="choose another --data directory",
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = KeyRing.load_or_create(folder / "keys")
    if genesis:
        (folder / "genesis.json").write_bytes(genesis)
    if not (folder / config.CONFIG_NAME).exists():
        settings = config.Config(node=config.NodeSection(name=name), net=config.NetSection(peers=peers))
        config.save(settings, folder)
    identity = b32(keys.node.public)
    tell(
        {"data": str(folder), "node_id": identity, "network": _name(genesis)},
        as_json=as_json,
        text=lambda: [
            f"node {identity}",
            f"data {folder}",
            "start it with: pyrsia node run"
            if genesis
            else "next: --genesis FILE or --join URL --digest sha256:...",
        ],
    )


def _genesis(file: Path | None, url: str | None, digest: str | None) -> bytes | None:
    if file is not None:
        data = file.read_bytes()
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
    if digest and hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:"):
        raise Refusal(
            "digest-mismatch",
            what="the genesis is not the one that the digest names",
            who=str(file or url),
            do="do not join; ask the operators",
        )
    return data


def _name(genesis: bytes | None) -> str:
    if genesis is None:
        return ""
    try:
        return Genesis.parse(genesis).name
    except Malformed as error:
        raise Refusal(
            "bad-request", what=f"this is no genesis: {error}", who="the file", do="fetch it again"
        ) from None
