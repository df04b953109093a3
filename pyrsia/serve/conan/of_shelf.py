"""Answers about what people push to this node, and the pushes themselves.

Who may push is asked before a byte of the body is read; so is whether the name is this node's to take: one that the log
holds belongs to the network, whatever the policy says of its files.

Source: Conan 2, `conan/internal/rest/file_uploader.py`.
"""

import re
from collections.abc import AsyncIterator

from pyrsia.builds.conan import names, rest
from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.facts import NETWORK
from pyrsia.serve.answers import REVALIDATE, header, send_body, send_file
from pyrsia.serve.conan.published import package_of
from pyrsia.serve.conan.pushed import Pushed, key_of, place_of
from pyrsia.serve.conan.words import LOCAL_MARK, OCTETS, TEXT, Call, no_such, say, send_json
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.grants import require_delete, require_push
from pyrsia.serve.http.connection import ClientGone, Receive
from pyrsia.units import MAX_CONAN_MANIFEST_BYTES, Limit

INFOS = Limit(2_000, "packages whose settings one search tells, each out of a small file of this disk")
_SHA1 = re.compile(r"[0-9a-f]{40}")


class OfShelf:
    """The node's own shelf, for its clients."""

    def __init__(self, supply: Supply, pushed: Pushed) -> None:
        self._supply = supply
        self._pushed = pushed

    async def answer(self, call: Call) -> None:
        """
        Raises:
            Refusal: by policy; `not-found`.
        """
        ref = call.target.ref
        refusal = self._supply.local.refusal(package_of(ref), ref.version)
        if refusal is not None:
            raise refusal
        match rest.answer(call.path, call.query, lambda: (), self._pushed.of):
            case rest.Json(value):
                await send_json(call.send, value, LOCAL_MARK)
            case rest.Infos(_, places):
                texts = {
                    package_id: await self._pushed.text(ref, place)
                    for package_id, place in list(places.items())[: INFOS.value]
                }
                found = {one: {"content": text} for one, text in texts.items() if text is not None}
                await send_json(call.send, found, LOCAL_MARK)
            case rest.Held(_, place):
                row = self._pushed.row(ref, place)
                path = self._supply.local.path(row.sha256) if row is not None else None
                if row is None or path is None:
                    raise no_such(f"{ref} is not here in this form")
                refusal = self._supply.local.refusal(package_of(ref), ref.version)
                if refusal is not None:
                    raise refusal
                etag = b'"%b"' % row.sha256.encode("ascii")
                # Not for ever: what is deleted may be pushed anew, and metadata may change.
                await send_file(
                    call.scope,
                    call.send,
                    path,
                    row.size,
                    kind=OCTETS,
                    etag=etag,
                    more=[LOCAL_MARK],
                    caching=REVALIDATE,
                )
            case rest.Missing(what):
                await say(call.send, 404, what)

    async def delete(self, call: Call) -> None:
        """Take back a revision, all packages of a recipe, or what else the address is about."""
        pushers = self._supply.local.pushers_delete()
        require_delete(call.scope, package_of(call.target.ref), pushers=pushers)
        self._check_ours(call)
        if call.target.file:
            raise _not_one_file()
        if not await self._pushed.delete(call.target):
            raise no_such(f"{call.target.ref} is not here in this form")
        await send_body(call.send, 200, b"", [(b"content-type", TEXT)])

    async def put(self, call: Call) -> None:
        """Take one file."""
        grant = require_push(call.scope, package_of(call.target.ref))
        self._check_ours(call)
        ref, place = call.target.ref, _checked(call.target)
        sha1 = header(call.scope, b"x-checksum-sha1").decode("latin-1").lower()
        if sha1 and _SHA1.fullmatch(sha1) is None:
            raise _wrong_sha1("X-Checksum-Sha1 is no SHA-1")
        if header(call.scope, b"x-checksum-deploy").lower() == b"true":
            if not await self._pushed.again(ref, place, sha1, grant.name):
                raise no_such("no file of this package has these bytes; send them")
        else:
            await self._take(call, sha1, grant.name)
        await send_body(call.send, 201, b"", [(b"content-type", TEXT)])

    async def _take(self, call: Call, sha1: str, by: str) -> None:
        ref, place = call.target.ref, _checked(call.target)
        upload = await self._supply.local.open(package_of(ref), key_of(ref.version, place), by=by)
        kept = bytearray()
        try:
            async for piece in _body(call.receive):
                await upload.write(piece)
                if place.file == names.MANIFEST:
                    kept += piece
                    if len(kept) > MAX_CONAN_MANIFEST_BYTES.value:
                        raise _too_long()
            if sha1 and upload.digest("sha1") != sha1:
                raise _wrong_sha1(f"{place.file} came with other bytes than X-Checksum-Sha1 says")
        except BaseException:
            upload.drop()
            raise
        await self._pushed.take(ref, place, upload, bytes(kept), by)

    def _check_ours(self, call: Call) -> None:
        """
        Raises:
            Refusal: the package is not this node's to change.
        """
        package = package_of(call.target.ref)
        if call.owner:
            raise Refusal(
                "forbidden",
                what="what a node claims is written by builds alone",
                who="the client's request",
                do="push below /conan/ without a node's name",
            )
        if self._supply.owner(package) == NETWORK:
            raise Refusal(
                "conflict",
                what=f"the network owns the name {package}: nothing of it is pushed to, or deleted from, a node",
                who="the client's request",
                do="push under a user of your own: conan create . --user acme",
            )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """
    Raises:
        ClientGone: it left before its end.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone("the client left in the middle of its upload")
        if message.get("body"):
            yield message["body"]
        more = message.get("more_body", False)


def _checked(target: rest.Target) -> names.Place:
    try:
        return place_of(target)
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=str(error),
            who="the client's request",
            do="push files of a recipe or package as conan upload does, and others below metadata/",
        ) from None


def _not_one_file() -> Refusal:
    return Refusal(
        "bad-request",
        what="a revision is deleted as a whole",
        who="the client's request",
        do="delete the revision: conan remove",
    )


def _wrong_sha1(what: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client, or the network between", do="send it again")


def _too_long() -> Refusal:
    return Refusal(
        "too-large",
        what=f"a manifest has at most {MAX_CONAN_MANIFEST_BYTES.value} bytes",
        who="the client's request",
        do="package fewer files",
    )
