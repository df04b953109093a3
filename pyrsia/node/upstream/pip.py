"""Package indexes of pip's configuration: a project's page below a root, and the files that such a page names.

Files lie where pages say, often on another host; whether a page says so is `links`'s question.

Source: PEPs 503 and 691; docs/upstream.md, "Where upstream is".
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from pyrsia.builds.outbound.addresses import origin_of
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.pip import folder
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.index import outbound
from pyrsia.errors import Malformed
from pyrsia.node.upstream.paths import is_folder, joined
from pyrsia.wire.purl import Purl

METADATA = ".metadata"  # PEP 658: what stands beside a wheel


class PackageIndexes:
    """`settings.Ecosystem` of pip."""

    def __init__(self, config: PipConfig) -> None:
        self._roots = config.indexes
        self.outbound: Outbound = outbound(config, {}, frozenset()).configured(
            one for one in config.indexes if not is_folder(one)
        )

    def urls(self, package: Purl, path: str) -> Sequence[str]:
        if is_link(path):
            self._check_link(package, path)
            return (path,)
        if path != f"{package.name}/":
            raise Malformed(f"an index has the page {package.name}/ and links on it")
        return [joined(root, path) for root in self._roots]

    def _check_link(self, package: Purl, url: str) -> None:
        if not is_folder(url):
            origin_of(url)
            return
        folders = (_path_of(root) / package.name for root in self._roots if is_folder(root))
        if not any(_path_of(url).is_relative_to(one) for one in folders):
            raise Malformed("a page must not lead to other files of this machine")

    def moves(self, path: str) -> bool:
        return not is_link(path)

    def version(self, package: Purl, path: str) -> str | None:
        if not is_link(path):
            return ""
        name = unquote(urlsplit(path).path.rpartition("/")[2]).removesuffix(METADATA)
        try:
            if name.endswith(".whl"):
                return str(parse_wheel_filename(name)[1])
            return str(parse_sdist_filename(name)[1])
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            return None

    def digest(self, path: str) -> str:
        return ""

    async def auth(self, web: Web, url: str) -> httpx.Auth | None:
        return None

    async def challenged(self, web: Web, url: str, response: httpx.Response) -> bool:
        return False


def _path_of(url: str) -> Path:
    return folder.path_of(url).resolve()


def is_link(path: str) -> bool:
    """Whether it is a whole URL, as a page gives it, and not the page."""
    return "://" in path or path.startswith("file:")
