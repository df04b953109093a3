"""Image registries of `builds.registries`: manifests, blobs, tags and referrers of one repository.

A name of one part is an official image of the first public registry, which has them below `library/`. A registry that
wants a token says where one is given (Docker's token authentication); it is asked for anew when it is no longer taken.

Source: the OCI distribution specification 1.1; docs/upstream.md, "Where upstream is".
"""

import re
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Final
from urllib.parse import urlencode

import httpx

from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.witness.registry import MAX_TOKEN_BYTES, document, limited
from pyrsia.errors import Malformed
from pyrsia.node.upstream.paths import joined, plain
from pyrsia.units import Limit
from pyrsia.wire.purl import Purl

MAX_TOKENS = Limit(1_000, "repositories whose token is remembered, a few KB each")

_PATH: Final = re.compile(
    r"v2/(?P<name>[a-z0-9._/-]+)/(?:manifests/(?P<reference>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})"
    r"|blobs/(?P<blob>sha256:[0-9a-f]{64})|tags/list(?:\?.*)?|referrers/sha256:[0-9a-f]{64}(?:\?.*)?)"
)
_CHALLENGE: Final = re.compile(r'(realm|service)="([^"]{0,500})"')
_OFFICIAL: Final = "library/"
_BLAME: Final = Blame(
    code="index-unreachable",
    who="the image registries of builds.registries",
    do="check the network and that setting, then try again",
)


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class ImageRegistries:
    """`settings.Ecosystem` of images."""

    def __init__(self, bases: Sequence[str]) -> None:
        self._bases = tuple(bases)
        self._tokens: OrderedDict[str, str] = OrderedDict()  # (base and repository) -> token
        self.outbound = Outbound(timeout_s=30.0, blame=_BLAME).configured(self._bases)

    def urls(self, package: Purl, path: str) -> Sequence[str]:
        found = _PATH.fullmatch(plain(path))
        name = f"{package.namespace}/{package.name}" if package.namespace else package.name
        if found is None or found["name"] != name:
            raise Malformed(f"no path of {package}")
        names = (name,) if "/" in name else (_OFFICIAL + name, name)
        return [
            joined(base, f"v2/{one}{path.removeprefix(f'v2/{name}')}")
            for base in self._bases
            for one in names
        ]

    def moves(self, path: str) -> bool:
        return not self.digest(path)

    def version(self, package: Purl, path: str) -> str | None:
        found = _PATH.fullmatch(path)
        reference = (found["reference"] or "") if found is not None else ""
        return "" if ":" in reference else reference

    def digest(self, path: str) -> str:
        found = _PATH.fullmatch(path)
        named = (found["blob"] or found["reference"] or "") if found is not None else ""
        return named.removeprefix("sha256:") if named.startswith("sha256:") else ""

    async def auth(self, web: Web, url: str) -> httpx.Auth | None:
        token = self._tokens.get(_place(url))
        return _Bearer(token) if token else None

    async def challenged(self, web: Web, url: str, response: httpx.Response) -> bool:
        header = response.headers.get("www-authenticate", "")
        told = dict(_CHALLENGE.findall(header))
        if not header.lower().startswith("bearer ") or "realm" not in told:
            return False
        place = _place(url)
        self._tokens.pop(place, None)
        query = {"scope": f"repository:{place.partition('/v2/')[2]}:pull"}
        query |= {"service": told["service"]} if "service" in told else {}
        mark = "&" if "?" in told["realm"] else "?"
        async with web.get(
            f"{told['realm']}{mark}{urlencode(query)}", accept="application/json", limit=MAX_TOKEN_BYTES.value
        ) as answer:
            try:
                said = document(await limited(answer, MAX_TOKEN_BYTES.value))
            except Malformed as error:
                raise _BLAME.unreachable(told["realm"], str(error)) from error
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            return False
        self._tokens[place] = token
        while len(self._tokens) > MAX_TOKENS.value:
            self._tokens.popitem(last=False)
        return True


def _place(url: str) -> str:
    """The repository that a URL is about."""
    for part in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        head, found, _ = url.rpartition(part)
        if found:
            return head
    return url
