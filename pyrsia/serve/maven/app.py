"""Who answers a request below `/maven2/`.

A package has one owner (serve/desks/supply.py): what was pushed here, then what the log names, then upstream in the
mode `proxy`, which may add versions to a package of the network and nothing to a version that the log holds. What
nobody has is a quick 404, since Maven remembers it; what somebody has and cannot give now is not.

`Cache-Control: no-cache`, which Maven sends with everything, asks nobody upstream: what is kept is as good.
"""

import hashlib
from typing import Final

from pyrsia.policy.facts import LOCAL
from pyrsia.serve.answers import REVALIDATE, not_found, send_cached, send_not_allowed
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.maven.deploy import Deploy
from pyrsia.serve.maven.giving import TEXT, Giving
from pyrsia.serve.maven.listing import Listing
from pyrsia.serve.maven.names import Names
from pyrsia.serve.maven.paths import PREFIXES, FilePath, ListPath, read, unknown
from pyrsia.serve.maven.refusals import Refusals

PREFIX: Final = "/maven2/"
_METHODS: Final = b"GET, HEAD, PUT, DELETE"


class MavenApp:
    """`/maven2/` and `/maven2/<NodeId>/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._names = Names(supply)
        refusals = Refusals(supply, self._names)
        self._giving = Giving(supply, self._names, refusals)
        self._listing = Listing(supply, self._names, refusals)
        self._deploy = Deploy(supply, self._names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"].removeprefix(PREFIX)
        if method in ("GET", "HEAD"):
            if path == PREFIXES:
                await self._prefixes(scope, send)
                return
            place = read(path)
            if isinstance(place, ListPath):
                await self._listing.send(scope, receive, send, place)
            else:
                await self._file(scope, receive, send, place)
        elif method == "PUT":
            await self._deploy.put(scope, receive, send, read(path))
        elif method == "DELETE":
            await self._deploy.delete(scope, send, read(path))
        else:
            await send_not_allowed(scope, send, _METHODS)

    async def _file(self, scope: Scope, receive: Receive, send: Send, place: FilePath) -> None:
        known = await self._names.look(place.package)
        if known.owner == LOCAL:
            await self._giving.local(scope, send, place)
        elif place.version in known.versions:
            await self._giving.published(scope, receive, send, known, place)
        elif place.root:
            raise unknown()
        else:
            await self._giving.proxied(scope, receive, send, place)

    async def _prefixes(self, scope: Scope, send: Send) -> None:
        """Every group that is here, for clients that then ask for no other; only where it is the whole truth."""
        groups = None if self._supply.upstream.proxies("maven") else self._names.groups()
        if groups is None:
            raise not_found("this repository does not list its groups")
        text = "## repository-prefixes/2.0\n" + "".join(f"/{group.replace('.', '/')}\n" for group in groups)
        body = text.encode()
        etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
        await send_cached(scope, send, body, kind=TEXT, etag=etag, caching=REVALIDATE)
