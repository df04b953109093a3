"""`trust`: pin networks by the digest of their genesis."""

import hashlib
from pathlib import Path

import click

from pyrsia.cli.tell import json_option, table, tell
from pyrsia.errors import Refusal
from pyrsia.verify.pins import Pins, read_genesis


@click.group()
def trust() -> None:
    """Pin the networks that verify believes. A pin is the SHA-256 of a genesis document."""


@trust.command("add")
@click.argument("source", metavar="URL|FILE")
@click.option("--digest", metavar="sha256:HEX", help="The genesis's digest, as told on another channel.")
@json_option
def add(source: str, digest: str | None, as_json: bool) -> None:
    """Pin the network of a node at URL, or of the trust file FILE.

    A URL needs --digest: whoever answers there is not believed.
    """
    if source.startswith(("http://", "https://")):
        if not digest:
            raise Refusal(
                "usage",
                what="a network cannot be pinned by its address alone",
                who="your command",
                do="get the digest from its operators on another channel and add --digest sha256:...",
            )
        from pyrsia.client import Client

        with Client(source) as node:
            genesis = node.get_bytes("/log/genesis")
    else:
        genesis = read_genesis(Path(source)).genesis.raw
    found = hashlib.sha256(genesis).hexdigest()
    if digest and digest.removeprefix("sha256:").lower() != found:
        raise Refusal(
            "digest-mismatch",
            what=f"the genesis has the digest sha256:{found}, not {digest}",
            who=source,
            do="do not trust it; ask the operators which is right",
        )
    pin = Pins.of_user().add(genesis)
    tell(
        {"network": pin.name, "digest": f"sha256:{found}", "file": str(pin.path)},
        as_json=as_json,
        text=lambda: [f"pinned {pin.name} (sha256:{found})"],
    )


@trust.command("list")
@json_option
def show(as_json: bool) -> None:
    """Every pinned network."""
    pins = [{"network": pin.name, "digest": f"sha256:{pin.digest}"} for pin in Pins.of_user().all()]
    rows = [(pin["network"], pin["digest"]) for pin in pins]
    tell({"pins": pins}, as_json=as_json, text=lambda: table(rows, ("network", "digest")))


@trust.command("remove")
@click.argument("digest", metavar="sha256:HEX")
@json_option
def remove(digest: str, as_json: bool) -> None:
    """Forget the network whose genesis has this digest."""
    pin = Pins.of_user().remove(digest.removeprefix("sha256:"))
    tell({"removed": pin.name}, as_json=as_json, text=lambda: [f"forgot {pin.name}"])
