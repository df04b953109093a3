"""What the plug-ins of one node share: its sandbox, its folders, its environments, its ways to sources.

Source: docs/builds-how.md, "Step by step".
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.environments import Environments
from pyrsia.builds.inside import Inside
from pyrsia.builds.model import SourceMapping
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.builds.sources import git
from pyrsia.errors import Unavailable

_NO_HOSTS: Final = git.GitHosts()


async def _nobody(sha256: str) -> Path:
    raise Unavailable("this node has no links yet")


@dataclass(frozen=True, slots=True)
class Shop:
    """What a plug-in is made from.

    Attributes:
        scratch: folders of jobs that run. results: outputs until the node has adopted them.
        cache: files of registries, each under its SHA-256.
        index: the client of the user's package indexes.
        admitted: environments of the network, in its order, now.
        claimed: brings the source of a request's body whose author gave it along, checked against its digest.
        mapping: the enacted mapping of a versionless purl, None without one.
        git_hosts: what the operator configured of repositories; see `git`.
        artifact: body of the `artifact.add` that published the file with this SHA-256, None without one.
        bring: the bytes of such a file, from here or from peers.
        registries: base URLs that images are witnessed at. pipeline_url: of an HTTP build pipeline, "" for none.
        published: leaf of the `artifact.add` that published the file with this SHA-256 (hex), None without one.
        verified: the same where the network built these bytes, under a name without owner or this node's own.
    """

    sandbox: Sandbox
    limits: BuildLimits
    scratch: Path
    results: Path
    cache: Path
    index: IndexClient
    environments: Environments
    admitted: Callable[[], Sequence[str]]
    claimed: Callable[[Mapping[str, Any]], Awaitable[Path]]
    mapping: Callable[[str], SourceMapping | None]
    published: Callable[[str], int | None] = lambda _: None
    verified: Callable[[str], int | None] = lambda _: None
    git_hosts: git.GitHosts = _NO_HOSTS
    artifact: Callable[[str], Mapping[str, Any] | None] = lambda _: None
    bring: Callable[[str], Awaitable[Path]] = _nobody

    registries: tuple[str, ...] = ()
    pipeline_url: str = ""

    @property
    def git(self) -> git.GitSources:
        """Sources out of repositories: `mapped` for a mapping's version, `fetch` for one commit."""
        inside = Inside(self.sandbox, self.scratch, git.PROGRAM, self.limits)
        return git.GitSources(inside, self.cache, self.git_hosts)
