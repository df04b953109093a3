"""PUT and DELETE: a repository of this node's own, filled by `mvn deploy` and Gradle's `publish`.

Before a byte is read: the token reaches the package, and no log owns its name. A release is immutable: the same bytes
again are fine, others are a conflict. So is each build of a snapshot, and only the newest builds are kept. Checksums
are compared with what arrived, and are not kept. A list is read and made anew (`lists`); what stays of it are the
prefixes of plug-ins, which nothing else tells.

Source: docs/adr/0052; what Maven 3.8, 3.9 and Gradle 8 send (docs/consumers-maven.md).
"""

import hashlib
import re
import time
from contextlib import suppress
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.facts import NETWORK
from pyrsia.serve.answers import header, not_found, send_nothing
from pyrsia.serve.bringing import PROOF_SUFFIX
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.serve.grants import ADMIN, READ, Grant, require_delete, require_push
from pyrsia.serve.http.connection import ClientGone, Receive, Scope, Send
from pyrsia.serve.maven import snapshots, theirs
from pyrsia.serve.maven.lists import Plugin
from pyrsia.serve.maven.names import PLUGIN_KEY, Names
from pyrsia.serve.maven.paths import BUNDLE_SUFFIX, SNAPSHOT, FilePath, ListPath, package_of
from pyrsia.serve.maven.snapshots import Build
from pyrsia.serve.maven.sums import SUMS
from pyrsia.units import Limit

LIST_BYTES: Final = Limit(1 << 20, "a list of 10,000 versions")
SUM_BYTES: Final = Limit(1_024, "a digest, and perhaps the name of its file")
TAKE_BACK_MS: Final = Limit(
    600_000, "a checksum follows its file at once; after ten minutes somebody else may have the file"
)


class Deploy:
    """Answers PUT and DELETE."""

    def __init__(self, supply: Supply, names: Names) -> None:
        self._supply = supply
        self._local = supply.local
        self._names = names
        self._coming: set[tuple[str, str]] = set()  # (package, key) that a request brings right now

    async def put(self, scope: Scope, receive: Receive, send: Send, place: FilePath | ListPath) -> None:
        """Take a file, a checksum or a list.

        Raises:
            Refusal: `unauthenticated`, `forbidden`, `conflict`, `bad-request`, and what the shelf refuses.
        """
        if place.root or (isinstance(place, FilePath) and place.beside in (PROOF_SUFFIX, BUNDLE_SUFFIX)):
            raise _bad("what a node claims stands in the log, and no client can put it here")
        if isinstance(place, ListPath):
            await self._list(scope, receive, place)
        elif place.beside:
            await self._checksum(scope, receive, place)
        else:
            await self._file(scope, receive, place)
        await send_nothing(send, 201, [(b"x-pyrsia-verified", b"local")])

    async def delete(self, scope: Scope, send: Send, place: FilePath | ListPath) -> None:
        """Take a file back.

        Raises:
            Refusal: `unauthenticated`, `forbidden`, `denied`, `not-found`.
        """
        if isinstance(place, ListPath) or place.beside or place.root:
            raise _bad("lists and checksums are made of the files, and go with them")
        require_delete(scope, place.package, pushers=self._local.pushers_delete())
        if not self._local.owns(place.package) or not await self._local.delete(place.package, place.key):
            raise not_found(f"nobody pushed {place.name} of {place.artifact} {place.version} to this node")
        await send_nothing(send, 204, [])

    # -- files --

    async def _file(self, scope: Scope, receive: Receive, place: FilePath) -> None:
        grant = self._may(scope, place.package)
        _check_name(place)
        self._check_build(place)
        at = (place.package, place.key)
        if at in self._coming:
            raise _conflict(f"another request brings {place.name} right now", "try again when it has ended")
        self._coming.add(at)
        try:
            row = self._local.row(*at)
            if row is not None and not _replaceable(place):
                await _same(receive, place, row)
            else:
                await self._keep(scope, receive, place, grant)
        finally:
            self._coming.discard(at)

    async def _keep(self, scope: Scope, receive: Receive, place: FilePath, grant: Grant) -> None:
        upload = await self._local.open(place.package, place.key, by=grant.name)
        try:
            more = True
            while more:
                piece, more = await _piece(receive)
                await upload.write(piece)
            sums = {kind: upload.digest(kind) for kind in SUMS.values()}
            for kind, made in sums.items():
                sent = header(scope, f"x-checksum-{kind}".encode()).decode("latin-1").strip().lower()
                if sent and sent != made:
                    raise _wrong_sum(place.name, kind, sent, made, "nothing was kept")
            del sums["sha256"]  # a row has it
            await upload.keep(place.key, by=grant.name, more=sums)
        finally:
            upload.drop()
        if place.version.endswith(SNAPSHOT):
            await self._tidy(place)

    def _check_build(self, place: FilePath) -> None:
        """
        Raises:
            Refusal: `bad-request` for a build of a snapshot that would stand in the way of all that follow.
        """
        build = self._build(place, place.name)
        if build is None:
            return
        rows = self._names.rows(place.package, place.version)
        here = (self._build(place, row.key.rpartition("/")[2]) for row in rows)
        before = max((one for one in here if one is not None), default=None)
        if not snapshots.believable(build, before, time.time()):
            last = before.number if before is not None else 0
            raise _bad(
                f"{place.name} is no build of today's: builds have a time that was, "
                f"and the last one that is here has the number {last}"
            )

    def _build(self, place: FilePath, name: str) -> Build | None:
        if not place.version.endswith(SNAPSHOT):
            return None
        part = snapshots.part(place.artifact, place.version, name)
        return part.build if part is not None else None

    async def _tidy(self, place: FilePath) -> None:
        """Old builds of a snapshot go."""
        rows = self._names.rows(place.package, place.version)
        named = (snapshots.part(place.artifact, place.version, row.key.rpartition("/")[2]) for row in rows)
        for part in snapshots.outdated(one for one in named if one is not None):
            await self._local.delete(place.package, f"{place.version}/{part.name}")

    # -- checksums --

    async def _checksum(self, scope: Scope, receive: Receive, place: FilePath) -> None:
        """Compare a sidecar with the file that came before it.

        A wrong one means that what arrived is not what the client has: the file is taken back, or it would stand in the
        way of the right one for ever. Where push tokens take nothing back, it stays: else other bytes could follow.
        """
        grant = self._may(scope, place.package)
        body = await _whole(receive, SUM_BYTES.value)
        row = self._local.row(place.package, place.key)
        if row is None:
            raise _conflict(
                f"there is no {place.name} to compare it with", "push the file, then its checksums"
            )
        kind = SUMS[place.beside]
        made = row.sha256 if kind == "sha256" else row.more[kind]
        sent = _digest(body, len(made))
        if sent == made:
            return
        kept = "the file was here already and stays"
        fresh = row.by == grant.name and row.time_ms > time.time_ns() // 1_000_000 - TAKE_BACK_MS.value
        if fresh and (self._local.pushers_delete() or grant.scope == ADMIN):
            with suppress(Refusal):
                await self._local.delete(place.package, place.key)
                kept = "the file was taken back"
        raise _wrong_sum(place.name, kind, sent or "no digest", made, kept)

    # -- lists --

    async def _list(self, scope: Scope, receive: Receive, place: ListPath) -> None:
        """Read a list for what it says of plug-ins; a checksum of it speaks of bytes that nobody keeps."""
        named = place.snapshot or place.artifact
        package = package_of(named[0], named[1]) if named else ""
        grant = self._pusher(scope, package)
        if package and grant.pushes(package):
            self._may(scope, package)
        body = await _whole(receive, SUM_BYTES.value if place.beside else LIST_BYTES.value)
        if place.beside:
            return
        try:
            listed = await theirs.read(body)
        except Malformed as error:
            raise _bad(str(error)) from None
        if listed.plugins:
            await self._plugins(grant, place.group, listed.plugins)
        else:
            require_push(scope, package)

    async def _plugins(self, grant: Grant, group: str, plugins: tuple[Plugin, ...]) -> None:
        """Remember the prefixes of local plug-ins. The others are in the list because clients add theirs to ours."""
        for one in plugins:
            package = package_of(group, one.artifact)
            if not self._local.owns(package) or not grant.pushes(package):
                continue
            row = self._local.row(package, PLUGIN_KEY)
            wanted = {"prefix": one.prefix, "name": one.name}
            if row is not None and dict(row.more) == wanted:
                continue
            upload = await self._local.open(package, PLUGIN_KEY, by=grant.name)
            try:
                await upload.write(one.prefix.encode())
                await upload.keep(PLUGIN_KEY, by=grant.name, more=wanted)
            finally:
                upload.drop()

    # -- who may --

    def _may(self, scope: Scope, package: str) -> Grant:
        grant = require_push(scope, package)
        if self._supply.owner(package) == NETWORK:
            raise _conflict(
                f"{package} is a package of the network, and nobody pushes to it",
                "choose a group of your own, or ask the network to build a new version: pyrsia build request",
            )
        return grant

    def _pusher(self, scope: Scope, package: str) -> Grant:
        """A grant that pushes anything: a list is of many packages, and names them in its body."""
        grant: Grant | None = scope.get("pyrsia.grant")
        return require_push(scope, package) if grant is None or grant.scope == READ else grant


def _check_name(place: FilePath) -> None:
    """Whether the file belongs where the client puts it.

    Raises:
        Refusal: `bad-request`.
    """
    if place.version.endswith(SNAPSHOT):
        good = snapshots.part(place.artifact, place.version, place.name) is not None
    else:
        good = re.match(re.escape(f"{place.artifact}-{place.version}") + r"[.-].", place.name) is not None
    if not good:
        raise _bad(f"{place.name} is no name of a file of {place.artifact} {place.version}")


def _replaceable(place: FilePath) -> bool:
    """The moving name of a snapshot, as clients push it that make no builds of it."""
    return place.version.endswith(SNAPSHOT) and f"-{place.version}" in place.name


async def _same(receive: Receive, place: FilePath, row: LocalRow) -> None:
    """Read the body; it must be what the row has."""
    digest, size, more = hashlib.sha256(), 0, True
    while more and size <= row.size:
        piece, more = await _piece(receive)
        digest.update(piece)
        size += len(piece)
    if digest.hexdigest() != row.sha256:
        raise _conflict(
            f"{place.name} stands here with other bytes, and what was published does not change",
            "publish a new version; a version of a snapshot ends in -SNAPSHOT",
        )


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    """Some bytes of the request's body, and whether there are more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("the client left in the middle of its file")
    return message.get("body", b""), message.get("more_body", False)


async def _whole(receive: Receive, most: int) -> bytes:
    body, more = b"", True
    while more:
        piece, more = await _piece(receive)
        body += piece
        if len(body) > most:
            raise Refusal(
                "too-large",
                what=f"a checksum or a list has at most {most} bytes",
                who="the client's request",
                do="push files under their own names",
            )
    return body


def _digest(body: bytes, length: int) -> str:
    """The digest in a sidecar, which may tell the file's name as well; "" where there is none."""
    for word in body.decode("latin-1").lower().replace("=", " ").split():
        if re.fullmatch(r"[0-9a-f]+", word) and len(word) == length:
            return word
    return ""


def _wrong_sum(name: str, kind: str, sent: str, made: str, kept: str) -> Refusal:
    return _bad(f"the {kind} that was sent for {name} is {sent[:128]}, and its bytes have {made}: {kept}")


def _bad(what: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client's request", do="push again what Maven made")


def _conflict(what: str, do: str) -> Refusal:
    return Refusal("conflict", what=what, who="the client's request", do=do)
