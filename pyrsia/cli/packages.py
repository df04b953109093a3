"""`fetch`: a file of the network, with its proof beside it."""

import hashlib
from pathlib import Path

import click

from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal


@click.command()
@click.argument("purl", metavar="PURL")
@click.option("--out", default=".", type=click.Path(file_okay=False, path_type=Path), help="Folder [.]")
@node_option
@json_option
def fetch(purl: str, out: Path, target: str | None, as_json: bool) -> None:
    """Download PURL (pkg:pypi/NAME@VERSION) and its proof; check the bytes against the log's digest."""
    name, _, version = purl.removeprefix("pkg:pypi/").partition("@")
    with Client(target, patience_s=300.0) as node:
        page = node.get(f"/pypi/simple/{name}/?format=json")
        files = [one for one in page["files"] if f"-{version}-" in one["filename"] or not version]
        if not files:
            raise Refusal(
                "version-unknown",
                what=f"the network holds no {purl}",
                who="your command",
                do=f"ask for it: pyrsia build request {name}{'==' + version if version else ''}",
            )
        chosen = files[-1]
        path = f"/pypi/files/{chosen['hashes']['sha256']}/{chosen['filename']}"
        data = node.get_bytes(path)
        proof = node.get_bytes(f"{path}.tlog-proof")
    if hashlib.sha256(data).hexdigest() != chosen["hashes"]["sha256"]:
        raise Refusal(
            "digest-mismatch",
            what="the bytes are not what the log names",
            who="the node",
            do="ask another node; do not use these bytes",
        )
    out.mkdir(parents=True, exist_ok=True)
    file = out / chosen["filename"]
    file.write_bytes(data)
    file.with_name(file.name + ".tlog-proof").write_bytes(proof)
    tell(
        {"file": str(file), "proof": f"{file}.tlog-proof", "sha256": chosen["hashes"]["sha256"]},
        as_json=as_json,
        text=lambda: [f"{file}", f"{file}.tlog-proof", f"check it: pyrsia verify {file}"],
    )
