"""Files that peers hold: brought while the client waits, and no longer than it does."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.serve.answers import REVALIDATE, needs_bytes, send_arriving, send_cached, send_file
from pyrsia.serve.desks.views import Catalog, ProjectFile
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.http.waiting import while_there
from pyrsia.wire.text import safe

PROOF_SUFFIX: Final = ".tlog-proof"
_WITHDRAWN: Final = b"x-pyrsia-withdrawn"


async def send_published(
    catalog: Catalog,
    scope: Scope,
    receive: Receive,
    send: Send,
    file: ProjectFile,
    *,
    kind: bytes,
    etag: bytes,
    more: Sequence[Header] = (),
) -> None:
    """A published file, from here, or from peers while they bring it. HEAD, 304 and 416 bring nothing.

    Raises:
        Refusal: nobody gives it; nothing was sent.
        Unavailable: the rest did not come; the server cuts the connection.
        ClientGone: there is nobody left to give it to.
    """
    more = [*more, *withdrawn(file)]
    here = catalog.local(file.sha256)
    if here is not None or not needs_bytes(scope, file.size, etag):
        await send_file(scope, send, here, file.size, kind=kind, etag=etag, more=more)
        return
    arriving = catalog.arriving(file.sha256)
    await send_arriving(scope, receive, send, arriving, kind=kind, etag=etag, more=more)


def withdrawn(file: ProjectFile) -> Sequence[Header]:
    """What is said beside bytes that are given by their digest alone: why nobody should begin to use them."""
    return ((_WITHDRAWN, safe(file.yanked).encode("ascii", "replace")),) if file.yanked else ()


async def brought(catalog: Catalog, receive: Receive, file: ProjectFile) -> Path:
    """The whole file's path, from here or from peers; a client that leaves ends the wait.

    For what must be read to answer at all (checksums, a manifest): files that are sent go through `send_published`.

    Raises:
        Refusal: nobody gives it.
        ClientGone: there is nobody left to give it to.
    """
    here = catalog.local(file.sha256)
    if here is not None:
        return here
    return await while_there(receive, lambda: catalog.blob(file.sha256))


async def send_proof(catalog: Catalog, scope: Scope, send: Send, file: ProjectFile) -> None:
    """The proof file of an artifact.

    Raises:
        Refusal: `no-proof`.
    """
    body = await catalog.proof(file.sha256)
    if body is None:
        raise Refusal(
            "no-proof",
            what="no cosigned checkpoint covers this file yet",
            who="the network's validators",
            do="try again in a second",
        )
    # A later proof has a newer checkpoint: not immutable.
    etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
    kind = b"text/plain; charset=utf-8"
    await send_cached(scope, send, body, kind=kind, etag=etag, caching=REVALIDATE)
