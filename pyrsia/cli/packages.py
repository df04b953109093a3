"""`fetch`: a file of the network, with its proof beside it."""

import hashlib
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import click
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.units import MAX_FILE_BYTES, Limit
from pyrsia.wire import purl as purls

PROOF_WAIT_S = Limit(30, "a head is cosigned within two seconds; the rest bridges a validator's restart")
POLL_S: Final = 0.3

# A node names the file; a name is not a path.
_FILE: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199}")
_SHA256: Final = re.compile("[0-9a-f]{64}")


@click.command()
@click.argument("purl", metavar="PURL")
@click.option(
    "--out", default=".", type=click.Path(file_okay=False, path_type=Path), help="Folder to write to [.]."
)
@node_option
@json_option
def fetch(purl: str, out: Path, target: str | None, as_json: bool) -> None:
    """Download PURL (pkg:pypi/NAME@VERSION) and its proof; without @VERSION the newest release.

    The newest is by version, not by date, and a pre-release only where there is nothing else. The bytes are
    compared with the digest that the node names; `pyrsia verify` checks that the log says so.
    """
    name, version = _package(purl)
    with Client(target, patience_s=300.0) as node:
        page = shaped(node.get(f"/pypi/simple/{name}/"), answers.Project)
        chosen = _chosen(page["files"], name, version)
        if chosen is None:
            raise Refusal(
                "version-unknown",
                what=f"the network holds no {purl}",
                who="your command",
                do=f"ask for it: pyrsia build request {name}{'==' + version if version else ''}",
            )
        _check_names(chosen["filename"], chosen["hashes"]["sha256"])
        path = f"/pypi/files/{chosen['hashes']['sha256']}/{chosen['filename']}"
        data = node.get_bytes(path, most=MAX_FILE_BYTES.value)
        proof = _proof(node, f"{path}.tlog-proof", quiet=as_json)
    if hashlib.sha256(data).hexdigest() != chosen["hashes"]["sha256"]:
        raise Refusal(
            "digest-mismatch",
            what="the bytes are not what the node's own index names",
            who="the node",
            do="ask another node; do not use these bytes",
        )
    out.mkdir(parents=True, exist_ok=True)
    file = out / chosen["filename"]
    write_whole(file.with_name(file.name + ".tlog-proof"), proof)
    write_whole(file, data)
    tell(
        {"file": str(file), "proof": f"{file}.tlog-proof", "sha256": chosen["hashes"]["sha256"]},
        as_json=as_json,
        text=lambda: [f"{file}", f"{file}.tlog-proof", f"check it: pyrsia verify {file}"],
    )


def _package(purl: str) -> tuple[str, str]:
    """Name and version of a pypi purl; the version may be empty."""
    try:
        found = purls.parse(purl if purl.startswith("pkg:") else f"pkg:pypi/{purl}")
        if found.type != "pypi":
            raise Malformed(f"packages of type {found.type} are not served here")
    except Malformed as error:
        raise Refusal(
            "usage", what=f"{purl}: {error}", who="your command", do="write it as pkg:pypi/NAME@VERSION"
        ) from None
    return found.name, found.version


def _chosen(files: Iterable[dict[str, Any]], name: str, version: str) -> dict[str, Any] | None:
    """The last published file of `version`, or of the newest one: finals before pre-releases."""
    wanted = Version(version) if version else None
    best: tuple[tuple[bool, Version], dict[str, Any]] | None = None
    for file in files:
        found = _version(file["filename"], name)
        if found is None or (wanted is not None and found != wanted):
            continue
        rank = (not found.is_prerelease, found)
        if best is None or rank >= best[0]:
            best = rank, file
    return best[1] if best else None


def _version(filename: str, name: str) -> Version | None:
    """The version that a file name of project `name` says; None for any other file."""
    try:
        if filename.endswith(".whl"):
            project, version, _, _ = parse_wheel_filename(filename)
        else:
            project, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return version if project == name else None


def _proof(node: Client, path: str, *, quiet: bool) -> bytes:
    """The proof file; one that the validators are about to cosign is waited for."""
    until_s, told = time.monotonic() + PROOF_WAIT_S.value, False
    while True:
        try:
            return node.get_bytes(path)
        except Refusal as refusal:
            if refusal.code != "no-proof" or time.monotonic() >= until_s:
                raise
        if not told and not quiet:
            click.echo("  waiting for the validators to cosign it", err=True)
            told = True
        time.sleep(POLL_S)


def _check_names(filename: str, sha256: str) -> None:
    if _FILE.fullmatch(filename) is None or _SHA256.fullmatch(sha256) is None:
        raise Refusal(
            "unavailable",
            what=f"the node names a file {filename!r} that cannot be one",
            who="the node",
            do="ask another node, and do not trust this one",
        )
