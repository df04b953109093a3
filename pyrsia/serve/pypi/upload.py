"""Uploads as twine and `uv publish` send them, to this node's own shelf.

Decides whether a file is what its name, its form and its own METADATA say, and whether it may stand where it wants to:
under a name that its token reaches and that the network does not own, and never in the place of other bytes. The file
is hashed as it arrives and kept when all of that holds. Attestations that come with it are kept beside it and believed
by nobody: who checks them here would vouch for them.

An sdist is not opened: what it says inside is found when it is built, in a sandbox.

Source: PyPI's "legacy" upload (docs.pypi.org, "Upload API"), as twine and uv send it; PEP 694 is left out.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import trio
from packaging.version import InvalidVersion, Version

from pyrsia.builds.pip.simple import plain_name
from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.facts import NETWORK
from pyrsia.serve.answers import header, not_found
from pyrsia.serve.desks.supply import LocalRow, Supply, Upload
from pyrsia.serve.grants import Grant, require_delete, require_push
from pyrsia.serve.http.connection import ClientGone, Receive, Scope
from pyrsia.serve.pypi.form import Form
from pyrsia.serve.pypi.listing import FILES
from pyrsia.serve.pypi.names import PURL, normalise, release, same_file
from pyrsia.verify import wheel

_DIGESTS: Final = ("sha256_digest", "blake2_256_digest", "md5_digest")
_ATTESTATION_BYTES: Final = 49_152  # three of the 12 KB that one takes with its certificate, and headroom
_WANTED: Final[Mapping[str, int]] = {
    ":action": 50,
    "protocol_version": 10,
    "name": 200,
    "version": 200,
    "filetype": 50,
    "requires_python": 1_000,
    "attestations": _ATTESTATION_BYTES,
    **dict.fromkeys(_DIGESTS, 128),
}
_TYPES: Final = {"bdist_wheel": (".whl",), "sdist": (".tar.gz", ".zip")}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a form wants: a file under a name and a version."""

    package: str
    name: str
    version: str
    filename: str
    by: str


class Uploads:
    """The door for uploads of one node."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._arriving: set[tuple[str, str]] = set()  # packages and names of files that are on their way

    async def take(self, scope: Scope, receive: Receive) -> str:
        """Read the request and keep its file; what to tell the client.

        Raises:
            Refusal: the token, the form, the file or its name is not as it must be; nothing is kept.
            ClientGone: the client left before its form was whole.
        """
        _check_token(scope)
        form = Form(header(scope, b"content-type"), _WANTED, "content")
        body, blake2 = _Body(receive), hashlib.blake2b(digest_size=32)
        wish: _Wish | None = None
        upload: Upload | None = None
        try:
            while (data := await body.more()) is not None:
                piece = form.feed(data)
                if wish is None and form.begun:
                    wish = self._wish(scope, form)
                    upload = await self._supply.local.open(wish.package, FILES + wish.filename, by=wish.by)
                if upload is not None and piece:
                    blake2.update(piece)
                    await upload.write(piece)
            if wish is None or upload is None or not form.whole:
                raise _bad("the form ends before its file does")
            return await self._keep(form, wish, upload, blake2.hexdigest())
        finally:
            if wish is not None:
                self._arriving.discard((wish.package, wish.filename))
            if upload is not None:
                upload.drop()

    async def take_back(self, scope: Scope, name: str, filename: str) -> str:
        """Delete a pushed file; what to tell the client.

        Raises:
            Refusal: the token does not reach that far; `not-found`.
        """
        package = PURL + name
        if normalise(name) != name:
            raise not_found("the address names no package", do="write its name in lower case, with hyphens")
        require_delete(scope, package, pushers=self._supply.local.pushers_delete())
        if not await self._supply.local.delete(package, FILES + filename):
            raise not_found(f"no file {filename[:200]} was pushed to this node as {name}")
        return f"{filename} is deleted\n"

    # -- before the file --

    def _wish(self, scope: Scope, form: Form) -> _Wish:
        """What is to be kept where, by the fields that stand before the file; the file's name is taken.

        Raises:
            Refusal: `bad-request`, `forbidden`, `conflict`.
        """
        fields = form.fields
        if fields.get(":action") != "file_upload" or fields.get("protocol_version", "1") != "1":
            raise _bad("the form is no upload of a file: `:action` must be file_upload, protocol_version 1")
        name, version = normalise(fields.get("name", "")), _version(fields.get("version", ""))
        if name is None or version is None:
            raise _bad("name and version must stand before the file, and be those of a Python package")
        package = PURL + name
        grant: Grant = require_push(scope, package)
        _check_filename(form, name, version)
        if self._supply.owner(package) == NETWORK:
            raise Refusal(
                "conflict",
                what=f"{name} is a package of the network: nobody pushes to it",
                who="the client's upload",
                do="choose another name; the network publishes what its builders agree on",
            )
        row = self._standing(package, form.filename)
        told = fields.get("sha256_digest", "").lower()
        if row is not None and told and told != row.sha256:
            raise _taken(form.filename, row)
        arriving = [filename for one, filename in self._arriving if one == package]
        if same_file(form.filename, arriving):
            raise Refusal(
                "conflict",
                what=f"{form.filename} is being uploaded",
                who="another upload",
                do="wait until it is done",
            )
        self._arriving.add((package, form.filename))
        return _Wish(package, name, version, form.filename, grant.name)

    def _standing(self, package: str, filename: str) -> LocalRow | None:
        """What is here as this file, under whatever spelling of its name."""
        keys = self._supply.local.keys(package, FILES)
        found = same_file(filename, (key.removeprefix(FILES) for key in keys))
        return self._supply.local.row(package, FILES + found) if found else None

    # -- behind the file --

    async def _keep(self, form: Form, wish: _Wish, upload: Upload, blake2: str) -> str:
        _check_digests(form.fields, upload, blake2)
        row = self._standing(wish.package, wish.filename)
        if row is not None:
            if row.sha256 != upload.digest("sha256"):
                raise _taken(wish.filename, row)
            return f"{row.key.removeprefix(FILES)} was here already\n"
        more = {"version": wish.version, **_attested(form.fields)}
        if wish.filename.endswith(".whl"):
            path = await upload.peek()
            more |= await trio.to_thread.run_sync(_looked_into, path, wish)
        elif form.fields.get("requires_python"):
            more["requires-python"] = form.fields["requires_python"]
        await upload.keep(FILES + wish.filename, by=wish.by, more=more)
        return f"{wish.filename} is kept by this node\n"


async def metadata_of(path: Path, sha256: str) -> bytes:
    """The METADATA of a kept wheel, which has this digest.

    Raises:
        Refusal: `unavailable`: the file on disk is another than it was.
    """
    try:
        found = await trio.to_thread.run_sync(wheel.metadata, path)
    except Malformed:
        found = b""
    if hashlib.sha256(found).hexdigest() != sha256:
        raise Refusal(
            "unavailable",
            what="this node's copy of the file is damaged",
            who="this node's disk",
            do="push the file again to another node; the operator of this one checks the disk",
        )
    return found


def _check_token(scope: Scope) -> None:
    """Refuse who may push nothing at all before a byte of the body is read; who may push what follows the name."""
    grant: Grant | None = scope.get("pyrsia.grant")
    if grant is None or not grant.pattern:
        require_push(scope, PURL)


class _Body:
    """The pieces of a request's body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def more(self) -> bytes | None:
        """The next piece, perhaps an empty one; None behind the last.

        Raises:
            ClientGone: nobody sends the rest.
        """
        if self._ended:
            return None
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise ClientGone("the client left in the middle of its upload")
        self._ended = not event.get("more_body", False)
        data: bytes = event.get("body", b"")
        return data


def _version(text: str) -> str | None:
    try:
        return str(Version(text))
    except InvalidVersion:
        return None


def _check_filename(form: Form, name: str, version: str) -> None:
    filename = form.filename
    if not plain_name(filename) or release(filename) != (name, version):
        raise _bad("the file's name is not that of a wheel or an sdist of the name and version in the form")
    ends = _TYPES.get(form.fields.get("filetype", ""))
    if ends is not None and not filename.endswith(ends):
        raise _bad(f"the file's name is not that of a {form.fields['filetype']}")
    if form.fields.get("filetype") and ends is None:
        raise _bad("this node keeps wheels and sdists (bdist_wheel, sdist)")


def _check_digests(fields: Mapping[str, str], upload: Upload, blake2: str) -> None:
    found = {
        "sha256_digest": upload.digest("sha256"),
        "blake2_256_digest": blake2,
        "md5_digest": upload.digest("md5"),
    }
    for name in _DIGESTS:
        told = fields.get(name, "").lower()
        if told and not hmac.compare_digest(told.encode(), found[name].encode()):
            raise Refusal(
                "digest-mismatch",
                what=f"the file that arrived has another {name.removesuffix('_digest')} than the form says",
                who="the client's upload, or what stands between it and this node",
                do="upload it again",
            )


def _attested(fields: Mapping[str, str]) -> dict[str, str]:
    """Attestations as they came, if they are a list at all."""
    text = fields.get("attestations", "")
    if not text:
        return {}
    try:
        msgspec.json.decode(text, type=list[dict[str, object]])
    except (msgspec.MsgspecError, RecursionError):
        raise _bad("the field attestations is not a JSON list of objects") from None
    return {"attestations": text}


def _looked_into(path: Path, wish: _Wish) -> dict[str, str]:
    """What a wheel's METADATA adds. Blocks: for a thread.

    Raises:
        Refusal: `bad-request`: it is no wheel, or of another package.
    """
    try:
        metadata = wheel.metadata(path)
        name, version = wheel.header(metadata, "Name"), wheel.header(metadata, "Version")
    except Malformed as error:
        raise _bad(f"{wish.filename} is no wheel: {error}") from None
    if (normalise(name), _version(version)) != (wish.name, wish.version):
        raise _bad("the METADATA inside the wheel has another name or version than the form says")
    found = {"metadata": hashlib.sha256(metadata).hexdigest()}
    try:
        found["requires-python"] = wheel.header(metadata, "Requires-Python")
    except Malformed:  # it has none
        return found
    return found


def _taken(filename: str, row: LocalRow) -> Refusal:
    here = row.key.removeprefix(FILES)
    under = "" if here == filename else f" as {here}"
    return Refusal(
        "conflict",
        what=f"{filename} is here already{under} with other bytes: a file never changes",
        who="the client's upload",
        do="give the package a new version",
    )


def _bad(what: str) -> Refusal:
    return Refusal(
        "bad-request", what=what, who="the client's upload", do="build the package again and use twine or uv"
    )
