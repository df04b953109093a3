"""Conan remotes: references below `v2/conans/`, and searches for the package's own name.

What a revision holds never changes; which revisions there are does.

Source: Conan 2, `conan/internal/rest/client_routes.py`; docs/upstream.md, "Where upstream is".
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote

import httpx

from pyrsia.builds.conan.names import NONE
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.errors import Malformed
from pyrsia.node.upstream.paths import joined, plain
from pyrsia.wire.purl import Purl

_START: Final = "v2/conans/"
_PATTERN: Final = re.compile("[*?/@]")  # where a pattern of a search goes on after a name
_BLAME: Final = Blame(
    code="index-unreachable",
    who="the Conan remotes of the node's machine",
    do="check the network and `conan remote list`, then try again",
)


class ConanRemotes:
    """`settings.Ecosystem` of Conan."""

    def __init__(self, remotes: Remotes) -> None:
        self._bases = tuple(remotes.conan.values())
        self.outbound = Outbound(timeout_s=30.0, blame=_BLAME).configured(self._bases)

    def urls(self, package: Purl, path: str) -> Sequence[str]:
        if not _of(package, plain(path)):
            raise Malformed(f"no path of {package}")
        return [joined(base, path) for base in self._bases]

    def moves(self, path: str) -> bool:
        return "/revisions/" not in path or "/files" not in path

    def version(self, package: Purl, path: str) -> str | None:
        parts = path.partition("?")[0].removeprefix(_START).split("/")
        return unquote(parts[1]) if len(parts) > 1 else ""  # `+` has two spellings in a path

    def digest(self, path: str) -> str:
        return ""

    async def auth(self, web: Web, url: str) -> httpx.Auth | None:
        return None

    async def challenged(self, web: Web, url: str, response: httpx.Response) -> bool:
        return False


def _of(package: Purl, path: str) -> bool:
    place, _, query = path.partition("?")
    if place == f"{_START}search":
        wanted = parse_qs(query).get("q", [""])[0]
        return _PATTERN.split(wanted.lower(), maxsplit=1)[0] == package.name
    name, _, rest = place.removeprefix(_START).partition("/")
    home = [part for part in rest.split("/")[1:3] if part != NONE]
    return place.startswith(_START) and name == package.name and "/".join(home) == package.namespace
