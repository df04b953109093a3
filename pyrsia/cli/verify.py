"""`verify`: check a downloaded file against the log, offline."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyrsia.cli.tell import json_option, tell, trust_option
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.units import MAX_PROOFFILE_BYTES

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.verify.evidence import Evidence
    from pyrsia.verify.pins import Pin, Pins

PROOF_SUFFIX = ".tlog-proof"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--proof", type=click.Path(dir_okay=False, path_type=Path), help="Proof file [FILE.tlog-proof]."
)
@click.option("--node", "target", metavar="URL|DIR", help="Fetch the proof from this node instead.")
@trust_option
@click.option("--as", "purl", metavar="PURL", help="The package that the file must be.")
@click.option(
    "--policy",
    "rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The rules that must accept it [policy.toml of your configuration folder, else the defaults].",
)
@json_option
def verify(
    file: Path,
    proof: Path | None,
    target: str | None,
    trust: Path | None,
    purl: str | None,
    rules: Path | None,
    as_json: bool,
) -> None:
    """Check FILE: what it is, who built it from which source, that the log says so, and that your policy accepts it.

    Exit codes: 0 accepted, 1 refused, 2 usage, 3 no proof, not pinned or too old.
    """
    import time

    from pyrsia.keys import verify as verify_signature
    from pyrsia.verify import accepting, evidence
    from pyrsia.verify.artifact import judge_by
    from pyrsia.verify.pins import Pins, read_genesis

    if proof is not None and target is not None:
        raise click.UsageError("--proof and --node are two places for one proof; name one of them")
    policy = accepting.of_file(rules) if rules else accepting.of_user()
    pins = Pins.of_user()
    believed = [read_genesis(trust)] if trust else pins.all()
    raw = _proof(file, proof, target)
    if target is not None:
        believed = _told(believed, raw, target)
    found = evidence.read(raw, believed, verify_signature)
    finding = judge_by(
        file,
        found,
        now_ms=int(time.time() * 1000),
        expected=purl,
        verify=verify_signature,
        policy=policy,
        current=target is not None,
    )
    if not trust:  # a network that is pinned for one call leaves nothing behind
        _remember(pins, found, current=target is not None)
    tell(finding.as_dict(), as_json=as_json, text=finding.lines)


def _remember(pins: "Pins", found: "Evidence", *, current: bool) -> None:
    """Compare with the newest head seen; a trust folder that cannot be written still verifies."""
    try:
        pins.learn(found.pin, found.line)
        pins.saw(found.pin, found.note, found.head.checkpoint, current=current)
    except OSError as error:
        click.echo(f"pyrsia: the newest head is not remembered: {error.strerror}: {pins.folder}", err=True)


def _told(believed: "list[Pin]", proof: bytes, target: str) -> "list[Pin]":
    """The same pins with the epochs that the node knows, where its proof has no room for all that are new here."""
    from dataclasses import replace

    from pyrsia.cli.epochs import followed, told_by
    from pyrsia.keys import verify as verify_signature
    from pyrsia.verify import evidence

    try:
        evidence.read(proof, believed, verify_signature)
    except Refusal as refusal:
        if refusal.code == "no-proof":
            pin = evidence.pin_of_proof(proof, believed)
            with Client(target) as node:
                line = followed(pin, told_by(node))
            return [replace(pin, steps=tuple(line.steps))]
    return believed


def _proof(file: Path, proof: Path | None, target: str | None) -> bytes:
    if target:
        return _asked(file, target)
    path = proof or file.with_name(file.name + PROOF_SUFFIX)
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_PROOFFILE_BYTES.value + 1)  # one more, so that what is too long shows
    except OSError as error:
        raise Refusal(
            "no-proof",
            what=f"there is no proof: {path}: {error.strerror}",
            who="the download",
            do="fetch it beside the file (<file url>.tlog-proof), or name a node with --node URL",
        ) from None


def _asked(file: Path, target: str) -> bytes:
    """The proof from a node. One that does not give it, for whatever reason, leaves the file without a proof."""
    import hashlib

    with file.open("rb") as opened, Client(target) as node:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        try:
            return node.get_bytes(f"/api/v1/artifacts/{digest}/proof")
        except Refusal as refusal:
            if refusal.code == "no-proof":
                raise
            raise Refusal(
                "no-proof", what=f"there is no proof: {refusal.what}", who=refusal.who, do=refusal.do
            ) from None
