"""Repositories of Maven's settings, mirrors in the place of what they mirror: the first that has a path gives it.

Source: the Maven 2 repository layout; docs/upstream.md, "Where upstream is".
"""

from collections.abc import Sequence
from urllib.parse import unquote

import httpx

from pyrsia.builds.maven.remotes import moving_path, outbound
from pyrsia.builds.maven.settings import MavenSettings
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.errors import Malformed
from pyrsia.node.upstream.paths import joined, plain
from pyrsia.wire.purl import Purl


class MavenRepositories:
    """`settings.Ecosystem` of Maven."""

    def __init__(self, settings: MavenSettings) -> None:
        self._bases = tuple(one.url for one in settings.repositories)
        self.outbound: Outbound = outbound(settings)

    def urls(self, package: Purl, path: str) -> Sequence[str]:
        inside = plain(path).startswith(_folder(package)) or path == _plugins(package)
        if not inside or "?" in path or path.endswith("/"):
            raise Malformed(f"no path of {package}")
        return [joined(base, path) for base in self._bases]

    def moves(self, path: str) -> bool:
        return moving_path(path)

    def version(self, package: Purl, path: str) -> str | None:
        version, slash, _ = path.removeprefix(_folder(package)).partition("/")
        return (
            unquote(version) if slash and path != _plugins(package) else ""
        )  # `+` has two spellings in a path

    def digest(self, path: str) -> str:
        return ""

    async def auth(self, web: Web, url: str) -> httpx.Auth | None:
        return None

    async def challenged(self, web: Web, url: str, response: httpx.Response) -> bool:
        return False


def _folder(package: Purl) -> str:
    return f"{package.namespace.replace('.', '/')}/{package.name}/"


def _plugins(package: Purl) -> str:
    """Where the plug-ins of its group are listed: a page of each artifact of the group."""
    return f"{package.namespace.replace('.', '/')}/maven-metadata.xml"
