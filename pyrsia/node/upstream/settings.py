"""What the operator configured, per ecosystem: read once it is first needed, by the readers that builds use.

pip's configuration, Maven's settings, Conan's remotes and `builds.registries` say where upstream is; nothing that a
client sends does. What is wrong in one of them refuses the packages of that ecosystem and no others.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

import httpx

from pyrsia.builds.conan import remotes as conan_remotes
from pyrsia.builds.maven import settings as maven_settings
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.pip import config as pip_config
from pyrsia.errors import Malformed, Refusal
from pyrsia.node.upstream.conan import ConanRemotes
from pyrsia.node.upstream.maven import MavenRepositories
from pyrsia.node.upstream.oci import ImageRegistries
from pyrsia.node.upstream.pip import PackageIndexes
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

PURLS_READ = Limit(
    4_096, "purls whose reading is remembered: the packages that clients ask for again and again"
)

ECOSYSTEMS: Final[Mapping[str, str]] = {"pypi": "pip", "maven": "maven", "conan": "conan", "docker": "oci"}


class Ecosystem(Protocol):
    """The addresses of one ecosystem. Pure but for `auth` and `challenged`, which may fetch a token."""

    outbound: Outbound

    def urls(self, package: Purl, path: str) -> Sequence[str]:
        """What to ask, in this order, for a path of `package`; `file:` for folders of this machine.

        Raises:
            Malformed: it is no path of this package.
        """
        ...

    def moves(self, path: str) -> bool:
        """Whether upstream may say something else at this path tomorrow."""
        ...

    def version(self, package: Purl, path: str) -> str | None:
        """Of which version the file at this path is: "" for what is of all or is named by digest; None: unknown."""
        ...

    def digest(self, path: str) -> str:
        """The SHA-256 by which the path itself names what is there, "" if it does not."""
        ...

    async def auth(self, web: Web, url: str) -> httpx.Auth | None:
        """Credentials for this question, beside those of `outbound`."""
        ...

    async def challenged(self, web: Web, url: str, response: httpx.Response) -> bool:
        """A 401 came: whether it is worth asking once more with what `auth` gives now."""
        ...


def made(ecosystem: str, registries: Sequence[str]) -> Ecosystem:
    """The addresses of `pip`, `maven`, `conan` or `oci`, as they are configured now.

    Raises:
        Refusal: `config-invalid`.
    """
    makers: Mapping[str, Callable[[], Ecosystem]] = {
        "pip": lambda: PackageIndexes(pip_config.load()),
        "maven": lambda: MavenRepositories(maven_settings.load()),
        "conan": lambda: ConanRemotes(conan_remotes.load()),
        "oci": lambda: ImageRegistries(registries),
    }
    try:
        return makers[ecosystem]()
    except Malformed as error:
        raise Refusal(
            "config-invalid",
            what=f"an address of upstream cannot be read: {error}",
            who=f"the configuration of {ecosystem} on the node's machine",
            do="correct it",
        ) from error


@lru_cache(PURLS_READ.value)
def read(package: str) -> tuple[str, Purl] | None:
    """The ecosystem of a versionless purl and the purl; None where there is no upstream for it."""
    try:
        found = purls.parse(package)
    except Malformed:
        return None
    ecosystem = ECOSYSTEMS.get(found.type)
    return (ecosystem, found) if ecosystem is not None and not found.version else None
