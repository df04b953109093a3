"""Image registries of `builds.registries`: manifests, blobs, tags and referrers of one repository.

A name of one part is an official image of the first public registry, which has them below `library/`; one that begins
with a host is asked for at the configured registry of that host and nowhere else. A registry that
wants a token says where one is given (Docker's token authentication); it is asked for anew when it is no longer taken.

Source: the OCI distribution specification 1.1; docs/upstream.md, "Where upstream is".
"""

import re
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

import httpx

from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.witness.registry import document, limited
from pyrsia.errors import Malformed
from pyrsia.node.upstream.paths import joined, plain
from pyrsia.units import Limit
from pyrsia.wire.purl import Purl

TOKEN_BYTES = Limit(65_536, "a registry's answer with a token has a few KB")
MAX_TOKENS = Limit(1_000, "repositories whose token is remembered, a few KB each")

_DIGEST: Final = r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"
_PATH: Final = re.compile(
    rf"v2/(?P<name>[a-z0-9._/-]+)/(?:manifests/(?:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})|(?P<manifest>{_DIGEST}))"
    rf"|blobs/(?P<blob>{_DIGEST})|tags/list(?:\?.*)?|referrers/{_DIGEST}(?:\?.*)?)"
)
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
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
        host, name = _placed(package)
        if found is None or found["name"] != name:
            raise Malformed(f"no path of {package}")
        names = (name,) if "/" in name or host else (_OFFICIAL + name, name)
        bases = [base for base in self._bases if not host or urlsplit(base).hostname == host]
        return [joined(base, f"v2/{one}{path.removeprefix(f'v2/{name}')}") for base in bases for one in names]

    def moves(self, path: str) -> bool:
        return not _named(path)

    def version(self, package: Purl, path: str) -> str | None:
        found = _PATH.fullmatch(path)
        return (found["tag"] or "") if found is not None else ""

    def digest(self, path: str) -> str:
        algorithm, _, digest = _named(path).partition(":")
        return digest if algorithm == "sha256" else ""

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
            f"{told['realm']}{mark}{urlencode(query)}", accept="application/json", limit=TOKEN_BYTES.value
        ) as answer:
            try:
                said = document(await limited(answer, TOKEN_BYTES.value))
            except Malformed as error:
                raise _BLAME.unreachable(told["realm"], str(error)) from error
        token = said.get("token") or said.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            return False
        self._tokens[place] = token
        while len(self._tokens) > MAX_TOKENS.value:
            self._tokens.popitem(last=False)
        return True


def _placed(package: Purl) -> tuple[str, str]:
    """(host, name there); no host for an image that any configured registry may have."""
    name = f"{package.namespace}/{package.name}" if package.namespace else package.name
    host, _, rest = name.partition("/")
    return (host, rest) if rest and _HOST.fullmatch(host) else ("", name)


def _named(path: str) -> str:
    """The digest by which a path names bytes, "" where it names none."""
    found = _PATH.fullmatch(path)
    return (found["blob"] or found["manifest"] or "") if found is not None else ""


def _place(url: str) -> str:
    """The repository that a URL is about."""
    for part in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        head, found, _ = url.rpartition(part)
        if found:
            return head
    return url
