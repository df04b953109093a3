"""`verify`: check a downloaded file, or what is installed, against the log."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import click

from pyrsia.cli.tell import examples, json_option, tell, trust_option
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.units import MAX_HISTORY_BYTES, MAX_PROOFFILE_BYTES

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.policy.rules import Policy
    from pyrsia.verify.evidence import Evidence
    from pyrsia.verify.history import Subject
    from pyrsia.verify.knowing import Learn
    from pyrsia.verify.pins import Pin, Pins

PROOF_SUFFIX = ".tlog-proof"


_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(exists=True, file_okay=False, path_type=Path)
_new = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "pyrsia verify idna-3.10-py3-none-any.whl      by the proof beside it",
        "pyrsia verify --venv .venv --node URL         an environment, file by file",
        "pyrsia verify --m2 ~/.m2/repository --bundle proofs",
        "pyrsia verify --image library/alpine:3.20 --node URL",
        "pyrsia verify -r requirements.txt --node URL",
    )
)
@click.argument("file", required=False, metavar="[FILE|sha256:HEX]")
@click.option("--venv", "venvs", multiple=True, type=_folder, help="A Python environment, file by file.")
@click.option("--m2", "m2s", multiple=True, type=_folder, help="A local Maven repository, as ~/.m2.")
@click.option("--conan-home", "conans", multiple=True, type=_folder, help="A Conan home, as ~/.conan2.")
@click.option("--image", "images", multiple=True, help="An OCI layout or archive, or a name at the node.")
@click.option(
    "-r", "--lock", "locks", multiple=True, type=_file, help="Requirements with hashes, uv.lock, conan.lock."
)
@click.option(
    "--skip", multiple=True, metavar="NAME", help="Leave this package, or file, of an environment out."
)
@click.option("--all", "every", is_flag=True, help="Tell every file, not only those that are not accepted.")
@click.option("--proof", type=_new, help="Proof file [FILE.tlog-proof].")
@click.option("--node", "target", metavar="URL|DIR", help="Fetch the proofs from this node.")
@click.option("--bundle", type=_file, help="Take the proofs from this file, which --save-bundle made.")
@click.option("--save-bundle", "save", type=_new, help="Write the proofs that were needed to this file.")
@click.option("--facts", "facts", multiple=True, type=_file,
              help="What is known, where rules ask: a file that pyrsia log history --prove wrote.")  # fmt: skip
@trust_option
@click.option("--as", "purl", metavar="PURL", help="The package that the file or image must be.")
@click.option(
    "--policy", "rules", type=_file, help="The rules that must accept it [your policy.toml, or the defaults]."
)
@json_option
def verify(
    file: str | None,
    venvs: tuple[Path, ...],
    m2s: tuple[Path, ...],
    conans: tuple[Path, ...],
    images: tuple[str, ...],
    locks: tuple[Path, ...],
    skip: tuple[str, ...],
    every: bool,
    proof: Path | None,
    target: str | None,
    bundle: Path | None,
    save: Path | None,
    facts: tuple[Path, ...],
    trust: Path | None,
    purl: str | None,
    rules: Path | None,
    as_json: bool,
) -> int:
    """Check FILE, or what is installed: who built it from which source, that the log says so, that your policy accepts.

    A file is checked with the proof beside it. What is installed is checked file by file with proofs that a node or a
    bundle gives; nothing that these say is believed beyond the proofs.

    Exit codes: 0 all accepted, 1 something refused, 2 usage, 3 something without proof, not pinned or too old.
    """
    from pyrsia.cli.verify.installed import How, What, run
    from pyrsia.verify import accepting
    from pyrsia.verify.pins import Pins, read_genesis

    if sum(one is not None for one in (proof, target, bundle)) > 1:
        raise click.UsageError("--proof, --node and --bundle are places for one proof; name one of them")
    if save is not None and bundle is not None:
        raise click.UsageError("--save-bundle writes what a node says; name it with --node")
    policy = accepting.of_file(rules) if rules else accepting.of_user()
    pins = Pins.of_user()
    believed = [read_genesis(trust)] if trust else pins.all()

    def remember(found: "Evidence", current: bool) -> None:
        if not trust:  # a network that is pinned for one call leaves nothing behind
            _remember(pins, found, current=current)

    digests = (_digest(file),) if file is not None and file.startswith("sha256:") else ()
    what = What(digests, venvs, m2s, conans, images, locks, skip)
    if what:
        if proof is not None or (file is not None and not digests):
            raise click.UsageError("a file is checked by itself: leave the other options, or FILE, out")
        if purl is not None and (venvs or m2s or conans or locks):
            raise click.UsageError(
                "--as says what one file or image must be; here each file is compared by its place"
            )
        learn = _learning(believed, facts, target)
        return run(what, How(target, bundle, save, believed, policy, learn, purl, every, as_json), remember)
    if file is None or save is not None:
        raise click.UsageError("name a FILE, sha256:HEX, or one of --venv, --m2, --conan-home, --image, -r")
    path = _file.convert(file, None, None)
    _one(Path(path), proof, target, bundle, believed, policy, facts, purl, remember, as_json=as_json)
    return 0


def _digest(text: str) -> str:
    import re

    found = text.removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise click.UsageError("sha256: is followed by 64 hexadecimal digits in lower case")
    return found


def _one(
    file: Path,
    proof: Path | None,
    target: str | None,
    bundle: Path | None,
    believed: "list[Pin]",
    policy: "Policy",
    facts: tuple[Path, ...],
    purl: str | None,
    remember: "Callable[[Evidence, bool], None]",
    *,
    as_json: bool,
) -> None:
    """One file by the proof beside it, or that a node or bundle gives."""
    import time

    from pyrsia.keys import verify as verify_signature
    from pyrsia.verify import evidence
    from pyrsia.verify.artifact import judge_by

    raw = _of_bundle(file, bundle) if bundle is not None else _proof(file, proof, target)
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
        learn=_learning(believed, facts, target),
    )
    remember(found, target is not None)
    tell(finding.as_dict(), as_json=as_json, text=finding.lines)


def _learning(believed: "list[Pin]", files: tuple[Path, ...], target: str | None) -> "Learn":
    """Proven histories: of these files, and of the node where one is named."""
    import time

    from pyrsia.keys import verify as verify_signature
    from pyrsia.verify.knowing import Histories

    def told(subject: "Subject") -> bytes:
        with Client(target) as node:
            query = urlencode({"of": subject.text})
            return node.get_bytes(f"/api/v1/log/history?{query}", most=MAX_HISTORY_BYTES.value)

    def given() -> "Iterator[bytes]":
        for path in files:
            with path.open("rb") as opened:
                yield opened.read(MAX_HISTORY_BYTES.value + 1)

    return Histories(
        believed,
        verify_signature,
        now_ms=int(time.time() * 1000),
        given=given(),
        fetch=told if target is not None else None,
    )


def _of_bundle(file: Path, bundle: Path) -> bytes:
    import hashlib
    from contextlib import closing

    from pyrsia.consumers.installed.bundle import FromBundle

    with file.open("rb") as opened, closing(FromBundle(bundle)) as source:
        return source.proof(hashlib.file_digest(opened, "sha256").hexdigest())


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
