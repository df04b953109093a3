"""`fetch`: files of the network, with proof and attestations beside each."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

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
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.consumers import fetching
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.policy.facts import LOCAL, NETWORK
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

PROOF_WAIT_S = Limit(30, "a head is cosigned within two seconds; the rest bridges a validator's restart")
POLL_S: Final = 0.3
FALLEN: Final = {"WITHDRAWN": "withdrawn", "DISPUTED": "disputed"}  # status -> code
DIGEST: Final = "sha256:"
PROOF: Final = ".tlog-proof"
BUNDLE: Final = ".intoto.jsonl"

# A node names the file; a name is not a path.
_FILE: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199}")
_SHA256: Final = re.compile("[0-9a-f]{64}")


@click.command(
    epilog=examples(
        "pyrsia fetch pkg:pypi/idna                    the newest, into this folder",
        "pyrsia fetch pkg:maven/commons-io/commons-io@2.16.1 -o lib",
        "pyrsia fetch sha256:HEX                       these bytes, withdrawn or not",
        "pyrsia verify idna-3.10-py3-none-any.whl      by the proof that came along",
    )
)
@click.argument("what", metavar="PURL|sha256:HEX")
@click.option(
    "-o",
    "--out",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to [.].",
)
@node_option
@json_option
def fetch(what: str, out: Path, target: str | None, as_json: bool) -> None:
    """Download PURL and beside each file its proof and attestations; without @VERSION the newest release.

    Of pkg:pypi/NAME one file is taken, of other packages every file of the version. The newest is by version for
    pypi, a pre-release only where there is nothing else, and the one published last elsewhere. The bytes are
    compared with the digest that the node names; `pyrsia verify` checks that the log says so. What was interrupted
    goes on where it ended.

    What is withdrawn is only given to who names its bytes by sha256:HEX, where the node's policy allows that.
    """
    with Client(target, patience_s=300.0) as node:
        chosen = _of_digest(node, what) if what.startswith(DIGEST) else _of_purl(node, what)
        for one in chosen:
            _check_names(one["file"], one["sha256"])
        files = [_one(node, one, out, quiet=as_json) for one in chosen]
    for one in chosen if not as_json else ():
        if one.get("status") in FALLEN:
            click.echo(f"{one['file']} is {one['status']}: see `pyrsia package show {one['purl']}`", err=True)
    tell(
        {**files[0], "files": files},
        as_json=as_json,
        text=lambda: [line for one in files for line in _told(one)],
    )


def _of_purl(node: Client, purl: str) -> list[dict[str, Any]]:
    """The files that PURL means, of those that the node offers.

    Raises:
        Refusal: `withdrawn`, `disputed`, `denied`, `version-unknown`, `package-unknown`.
    """
    wanted = _package(purl)
    missing: Refusal | None = None
    try:
        listed = _listed(node, wanted.versionless)
    except Refusal as refusal:
        if refusal.code != "package-unknown":
            raise
        listed, missing = [], refusal
    chosen = _of_pypi(listed, wanted) if wanted.type == "pypi" else _of_version(listed, wanted.version)
    if chosen:
        return chosen
    held = [one for one in _known(node, purl=str(wanted)) if one["origin"] == NETWORK]
    if held:
        raise _kept_back(held[-1])
    raise missing or Refusal(
        "version-unknown",
        what=f"the network holds no {purl}",
        who="your command",
        do=f"ask for it: pyrsia build request {_asked(wanted)}",
    )


def _kept_back(one: dict[str, Any]) -> Refusal:
    """Why the node offers no file of what its log holds."""
    if one["status"] not in FALLEN:
        return Refusal(
            "denied",
            what=f"the node's policy refuses {one['purl']}",
            who="the node's operator",
            do=f"see why: pyrsia policy explain {one['purl']}",
        )
    return Refusal(
        FALLEN[one["status"]],
        what=f"{one['purl']} is {one['status']} in the log",
        who="the network's members",
        do=f"take another version, or name the bytes: pyrsia fetch sha256:{one['sha256']}"
        f" (why: pyrsia package show {one['purl']})",
    )


def _of_digest(node: Client, digest: str) -> list[dict[str, Any]]:
    """The file with this digest, with its present `status`.

    Raises:
        Refusal: `usage`; `not-found`.
    """
    sha256 = digest.removeprefix(DIGEST)
    if _SHA256.fullmatch(sha256) is None:
        raise click.UsageError("sha256: is followed by 64 hexadecimal digits in lower case")
    found = shaped(node.get(f"/api/v1/artifacts/{sha256}"), answers.Artifact)
    same = (one for one in _known(node, sha256=sha256) if one["purl"] == found["purl"])
    status = next((one["status"] for one in same), "")
    return [
        {
            "file": found["file"],
            "sha256": sha256,
            "size": found["size"],
            "purl": found["purl"],
            "status": status,
        }
    ]


def _known(node: Client, **of: str) -> list[dict[str, Any]]:
    """What the log says of files now; nothing where the node does not tell."""
    try:
        return list(shaped(node.get("/api/v1/policy/facts", **of), answers.PolicyFacts)["files"])
    except Refusal:
        return []


def _listed(node: Client, package: purls.Purl) -> list[dict[str, Any]]:
    """The log's files of a package.

    Raises:
        Refusal: `package-unknown`, and of what was pushed to the node no advice to ask the network for it: that would
            tell everybody its name.
    """
    try:
        query = urlencode({"purl": str(package)})
        return list(shaped(node.get(f"/api/v1/packages?{query}"), answers.PackageFiles))
    except Refusal as refusal:
        if refusal.code != "package-unknown" or not _is_local(node, package):
            raise
    raise Refusal(
        "package-unknown",
        what=f"{package} was pushed to this node: the log says nothing of it, and there is no proof to fetch",
        who="your command",
        do="install it with its own client, from this node: pyrsia setup",
    )


def _is_local(node: Client, package: purls.Purl) -> bool:
    try:
        told = node.get("/api/v1/policy/facts", purl=str(package))
    except Refusal:
        return False
    return isinstance(told, dict) and told.get("owner") == LOCAL


def _asked(wanted: purls.Purl) -> str:
    """As `build request` takes it: a pypi package by the name that people write."""
    if wanted.type != "pypi":
        return str(wanted)
    return f"{wanted.name}=={wanted.version}" if wanted.version else wanted.name


def _told(one: dict[str, str]) -> list[str]:
    beside = [one[name] for name in ("proof", "attestations") if one[name]]
    return [one["file"], *beside, f"check it: pyrsia verify {one['file']}"]


def _one(node: Client, one: dict[str, Any], out: Path, *, quiet: bool) -> dict[str, str]:
    """Download one file with what stands beside it; the paths that were written.

    Raises:
        Refusal: `digest-mismatch`; the node's.
    """
    path = f"/pypi/files/{one['sha256']}/{quote(one['file'], safe='!')}"  # by digest, whatever made it
    proof = _proof(node, f"{path}{PROOF}", quiet=quiet)
    out.mkdir(parents=True, exist_ok=True)
    file = out / one["file"]

    def told(have: int, size: int) -> None:
        if not quiet:
            click.echo(f"  {one['file']}: {have >> 20} of {size >> 20} MiB", err=True)

    fetching.fetch(node, path, file, one["sha256"], one["size"], told)
    bundle = _bundle(node, f"{path}{BUNDLE}")
    write_whole(file.with_name(file.name + PROOF), proof)
    if bundle:
        write_whole(file.with_name(file.name + BUNDLE), bundle)
    return {
        "attestations": f"{file}{BUNDLE}" if bundle else "",
        "file": str(file),
        "proof": f"{file}{PROOF}",
        "sha256": one["sha256"],
    }


def _bundle(node: Client, path: str) -> bytes:
    """The bundle of attestations; b"" where nobody attests the file, as of one that was witnessed."""
    try:
        return node.get_bytes(path)
    except Refusal as refusal:
        if refusal.code != "not-found":
            raise
        return b""


def _package(purl: str) -> purls.Purl:
    """What PURL names; a bare name is one of pypi. The version may be empty."""
    try:
        found = purls.parse(purl if purl.startswith("pkg:") else f"pkg:pypi/{purl}")
        if found.type not in purls.BUILT and not found.owner:
            raise Malformed(f"packages of type {found.type} are not built here")
        return found
    except Malformed as error:
        raise Refusal(
            "usage", what=f"{purl}: {error}", who="your command", do="write it as pkg:TYPE/NAME@VERSION"
        ) from None


def _of_version(files: Sequence[dict[str, Any]], version: str) -> list[dict[str, Any]]:
    """Every file of `version`, or of the version that was published last."""
    wanted = version or (files[-1]["version"] if files else "")
    return [one for one in files if one["version"] == wanted]


def _of_pypi(files: Sequence[dict[str, Any]], wanted: purls.Purl) -> list[dict[str, Any]]:
    """The last published file of the version, or of the newest one: finals before pre-releases."""
    exact = Version(wanted.version) if wanted.version else None
    best: tuple[tuple[bool, Version], dict[str, Any]] | None = None
    for file in files:
        found = _version(file["file"], wanted.name)
        if found is None or (exact is not None and found != exact):
            continue
        rank = (not found.is_prerelease, found)
        if best is None or rank >= best[0]:
            best = rank, file
    return [best[1]] if best else []


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
