"""The Conan 2 REST API for `conan install`, `list`, `upload`, `remove` and their like.

`/conan/` holds the packages that stand under their own names, `/conan/<NodeId>/` what that node claims. Which address
means what `builds.conan.rest` decides; here are whose files answer, their bytes, and the words that Conan prints: its
errors are text. Each name has one owner (serve/desks/supply.py): what was pushed here, else what the log publishes,
else upstream, where the mode is `proxy` and the log has no file of the version.

A refusal of the policy is a 403 already at the first question about a package: the client prints the body and stops,
where a 404 would send it on to its next remote. The same 403 at a file would make it ask for a password.

Beside every file of a recipe or package stand its proof (`.tlog-proof`) and its attestations (`.intoto.jsonl`); lists
name them below `metadata/sign/`, where Conan's plugins for signatures look for them (`signing`).

Source: docs/consumers-conan.md; Conan 2, `conan/internal/rest/rest_client_v2.py`, `auth_manager.py`.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from pyrsia.builds.conan import rest
from pyrsia.builds.conan.names import Ref
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.answers import header, send_body
from pyrsia.serve.conan.of_network import OfNetwork
from pyrsia.serve.conan.of_shelf import OfShelf
from pyrsia.serve.conan.of_upstream import OfUpstream
from pyrsia.serve.conan.published import Published, Shelves, package_of
from pyrsia.serve.conan.pushed import Pushed
from pyrsia.serve.conan.words import PROXIED_MARK, TEXT, Call, no_such, say, send_json, send_refusal
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.grants import Grant
from pyrsia.serve.guard import credentials
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.wire.text import NODE_ID

PREFIX: Final = "/conan/"
_ONE_NAME: Final = re.compile(r"(?P<name>[a-z0-9_+.-]+)/.*")
_PONG: Final[tuple[Header, ...]] = (
    (b"content-type", TEXT),
    (b"x-conan-server-capabilities", f"{rest.CAPABILITIES},checksum_deploy".encode("ascii")),
)
_ALLOW: Final[Header] = (b"allow", b"GET, HEAD, PUT, DELETE")


class ConanApp:
    """`/conan/` and `/conan/<NodeId>/`."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._published = Shelves(supply.network)
        self._pushed = Pushed(supply.local, supply.network.revision)
        self._network = OfNetwork(supply.network)
        self._shelf = OfShelf(supply, self._pushed)
        self._upstream = OfUpstream(supply.upstream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        owner, path = _split(scope["path"].removeprefix(PREFIX))
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=20))
        except ValueError:
            await say(send, 400, "the address has too many parameters")
            return
        try:
            if scope["method"] not in ("GET", "HEAD", "PUT", "DELETE"):
                await say(send, 405, f"{scope['method']} is not a method of a Conan remote", [_ALLOW])
                return
            target = rest.target(path)
            if target is None:
                await self._of_all(scope, send, owner, path, query)
            else:
                await self._of_one(Call(scope, receive, send, path, query, owner, target))
        except Refusal as refusal:
            await send_refusal(send, refusal)
        except Malformed as error:
            await say(send, 404, str(error))

    async def _of_one(self, call: Call) -> None:
        """A request about one reference."""
        match call.scope["method"]:
            case "PUT":
                await self._shelf.put(call)
                return
            case "DELETE":
                await self._shelf.delete(call)
                return
        if not call.owner and self._is_local(call.target.ref):
            # Before the catalogue: what that lacks it may ask the network for, and this name is nobody's business.
            await self._shelf.answer(call)
            return
        await self._supply.network.prepare(package_of(call.target.ref, call.owner))
        published = self._published.of(call.owner, call.target.ref)
        if not call.owner and self._is_proxied(call.target.ref, published):
            await self._upstream.answer(call)
        else:
            await self._network.answer(call, published)

    def _is_local(self, ref: Ref) -> bool:
        return self._supply.local.owns(package_of(ref))

    def _is_proxied(self, ref: Ref, published: Published) -> bool:
        """Upstream answers only where it may be asked for the name, and the log has no such version."""
        return not published.held and self._upstream.takes(ref)

    async def _of_all(
        self, scope: Scope, send: Send, owner: str, path: str, query: Mapping[str, str]
    ) -> None:
        """A request about no reference."""
        reads = scope["method"] in ("GET", "HEAD")
        match path.split("/"):
            case ["v1" | "v2", "ping"] if reads:
                await send_body(send, 200, b"", _PONG)
            case ["v1" | "v2", "users", "authenticate" | "check_credentials" as what] if reads:
                await _user(scope, send, what)
            case ["v2", "conans", "search"] if reads:
                await self._search(send, owner, query)
            case _:
                raise no_such("there is no such address; a remote is added by its base address")

    async def _search(self, send: Send, owner: str, query: Mapping[str, str]) -> None:
        """References of the log, of the shelf and of upstream's; each name its owner's alone."""
        # Ranges of versions are asked for so, one for each that a recipe requires.
        one = _ONE_NAME.fullmatch(query.get("q", ""))
        name = one["name"] if one is not None else ""
        await self._published.prepare(owner, name)
        refs = set(self._published.refs(owner, name))
        proxied: set[Ref] = set()
        if not owner:
            refs = {ref for ref in refs if not self._is_local(ref)}.union(self._pushed.refs())
            theirs = await self._upstream.search(query, self._supply.local.owns)
            proxied = {
                ref
                for ref in theirs
                if not self._is_local(ref) and self._is_proxied(ref, self._published.of("", ref))
            }
        match rest.answer("v2/conans/search", query, lambda: refs | proxied, lambda _: rest.Shelf(())):
            case rest.Json(value):
                await send_json(send, value, PROXIED_MARK if proxied else None)
            case rest.Missing(what):
                await say(send, 404, what)


async def _user(scope: Scope, send: Send, what: str) -> None:
    """Logging in: the token that is the password is the token of the session too."""
    grant: Grant | None = scope.get("pyrsia.grant")
    token = credentials(header(scope, b"authorization"))
    if grant is None or not token:
        raise Refusal(
            "unauthenticated",
            what="this needs a token of this node",
            who="the client's request",
            do="log in with a token as the password (`pyrsia keys token --scope push` makes one)",
        )
    body = token if what == "authenticate" else grant.name.encode()
    await send_body(send, 200, body, [(b"content-type", TEXT), (b"cache-control", b"no-store")])


def _split(path: str) -> tuple[str, str]:
    """The node whose own names are meant ("" for those of the network), and the rest of the path."""
    first, _, rest_of_path = path.partition("/")
    return (first, rest_of_path) if NODE_ID.fullmatch(first) else ("", path)
