"""Files that peers hold: brought while the client waits, and no longer than it does."""

import hashlib
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Refusal
from pyrsia.serve.answers import REVALIDATE, send_cached
from pyrsia.serve.connection import ClientGone, Receive, Scope, Send
from pyrsia.serve.views import Catalog, ProjectFile
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S

PROOF_SUFFIX: Final = ".tlog-proof"


async def brought(catalog: Catalog, receive: Receive, file: ProjectFile) -> Path:
    """The file's path, from here or from peers; a client that leaves ends the wait.

    Raises:
        Refusal: nobody gave it in time.
        ClientGone: there is nobody left to give it to.
    """
    here = catalog.local(file.sha256)
    if here is not None:
        return here
    found: list[Path] = []
    refused: list[Refusal] = []

    async def fetch() -> None:
        try:
            found.append(await catalog.blob(file.sha256))
        except Refusal as refusal:
            refused.append(refusal)
        nursery.cancel_scope.cancel()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()

    with trio.move_on_after(MAX_HTTP_FETCH_WAIT_S.value) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            nursery.start_soon(watch)
    if found:
        return found[0]
    if refused:
        raise refused[0]
    if patience.cancelled_caught:
        raise Refusal(
            "unavailable",
            what=f"no peer gave {file.filename} in time",
            who="the peers that hold it",
            do="try again; `pyrsia peers` shows who is connected",
        )
    raise ClientGone("the client left while its file was on the way")


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
