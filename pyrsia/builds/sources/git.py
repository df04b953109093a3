"""Sources from git: what the tag of a mapping leads to, fetched in the sandbox and packed in one form.

A mapping names a repository and a pattern of tags; a version gives one tag, the tag one commit (peeled, looked up by
each builder), the commit one archive, whose bytes depend on the tree, the name and the commit's time alone. git itself
runs in the sandbox with one way out, the recording proxy, to that repository; what it brought is checked against the
commit's digest in another run that has neither git nor network. Nothing that git said is believed otherwise.

Leaves out: whether a request's commit is the one that was seen first (the ledger), and what is built from it.

Source: docs/sources.md, "Sources from git"; DESIGN 8, "Whose source".
"""

import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import trio

from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.model import NamedFile, PhaseFailed, SourceMapping
from pyrsia.builds.outbound.addresses import origin_of, shown
from pyrsia.builds.outbound.keeping import keep
from pyrsia.builds.outbound.proxy import ProxyLimits, RecordingProxy, Remote
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.sandbox.model import EGRESS_PORT, Mount
from pyrsia.builds.sources import packing
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import MAX_SOURCE_BYTES, Limit

PROGRAM: Final = Program(
    worker="builds/sources/worker.py",
    modules=("builds/sources/git_tree.py", "builds/sources/packing.py"),
    hostile=frozenset({"resolve", "archive"}),
)
GIT_FETCH_BYTES: Final = Limit(1 << 30, "one commit's files, packed: four times the largest source archive")
GIT_FETCH_S: Final = Limit(570, "less than a build's own time, so that the proxy says what was slow")

_COMMIT: Final = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")
# What git takes for a tag's name (git-check-ref-format(1)), but for globs and what needs quoting.
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+/@!#%=,-]{0,199}")
_PHASE: Final = "prefetch"
_DO: Final = "look at the mapping's repository and tag pattern, or give the source along"
_BLAME: Final = Blame(
    who="the git host of that repository",
    do="check the network and the address; a host of your own network stands in builds.git_hosts or git_mirrors",
)


@dataclass(frozen=True, slots=True)
class GitHosts:
    """What the operator configured.

    Attributes:
        hosts: base URLs whose hosts are reached whatever their address, also over http.
        mirrors: (start of a repository's URL, what is asked instead: an http, https or `file:` URL), first match wins.
    """

    hosts: tuple[str, ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()

    @classmethod
    def configured(cls, hosts: tuple[str, ...], mirrors: tuple[str, ...]) -> "GitHosts":
        """From the configuration's words, `git_hosts` and `git_mirrors` (`START = INSTEAD`).

        Raises:
            Refusal: `config-invalid`.
        """
        pairs = []
        for text in mirrors:
            start, mark, instead = (part.strip() for part in text.partition("="))
            if not mark or not start.startswith("https://") or not instead.startswith(_KINDS):
                raise _invalid(text, "builds.git_mirrors", "https://host/path = http(s) or file: URL")
            pairs.append((start, instead))
        for text in hosts:
            try:
                origin_of(text)
            except Malformed:
                raise _invalid(text, "builds.git_hosts", "http(s)://host:port") from None
        return cls(hosts, tuple(pairs))

    def place(self, repository: str) -> str:
        """The URL that is really asked for `repository`.

        Raises:
            Refusal: `source-unreachable` for a folder that is not configured.
        """
        for start, instead in self.mirrors:
            if repository.startswith(start):
                return instead + repository.removeprefix(start)
        if repository.startswith("file:"):
            raise _BLAME.unreachable(
                repository, "folders of this machine are no repositories unless configured"
            )
        return repository

    def with_own(self, folder: str) -> "GitHosts":
        """The same for whoever names a folder of their own machine, a `file:` URL, themselves."""
        return replace(self, mirrors=((folder, folder), *self.mirrors))


@dataclass(frozen=True, slots=True)
class GitArchive:
    """The source of one commit.

    Attributes:
        file: `<name>-<version>.tar`, kept under its SHA-256.
        commit: hex. tag: "" where none was named. tree: our own digest, see `packing.tree_digest`.
        time_s: the commit's, as it stands on every member.
    """

    file: NamedFile
    sha256: str
    size: int
    commit: str
    tag: str
    tree: str
    time_s: int

    def as_source(self) -> dict[str, Any]:
        """The `source` of a `build.request`."""
        return {
            "file": self.file.name,
            "git": {"commit": self.commit, "tag": self.tag, "tree": self.tree},
            "sha256": self.sha256,
            "size": self.size,
        }


class GitSources:
    """Brings sources out of repositories.

    Args:
        inside: any runner of the node's sandbox; ours is made from it.
        cache: folder of files by their SHA-256.
        hosts: what the operator configured.
        settings: certificates and patience of fetches; None for the system's.
    """

    def __init__(
        self, inside: Inside, cache: Path, hosts: GitHosts | None = None, settings: Outbound | None = None
    ) -> None:
        self._inside = inside.running(PROGRAM)
        self._cache = cache
        self._hosts = hosts or GitHosts()
        self._settings = settings or Outbound(blame=_BLAME)

    async def mapped(self, mapping: SourceMapping, *, name: str, version: str) -> GitArchive:
        """The source that a mapping gives for a version.

        Args:
            name: of the archive and its top folder.

        Raises:
            Refusal: `version-unknown` for no such tag, `source-unreachable`, `no-environment` without git here.
            PhaseFailed: the source is one that is not taken; its text says why.
        """
        tag = tag_of(mapping.tag, version)
        commit = await self.resolve(mapping.repository, tag)
        return await self.fetch(mapping.repository, commit, name=name, version=version, tag=tag)

    async def resolve(self, repository: str, tag: str) -> str:
        """The commit that `tag` leads to now, peeled; hex.

        Raises:
            Refusal: as `mapped`.
        """
        job = {"operation": "resolve", "tag": tag}
        async with AsyncExitStack() as stack:
            answer = await self._asked(stack, repository, job)
            commit = str(answer.value["commit"])
        if _COMMIT.fullmatch(commit) is None:
            raise Refusal(
                "version-unknown",
                what=f"{shown(repository)} has no tag {tag}",
                who="the package's mapping, or the version that was asked for",
                do="look which tags the repository has; the mapping's pattern makes the tag from the version",
            )
        return commit

    async def fetch(
        self, repository: str, commit: str, *, name: str, version: str, tag: str = ""
    ) -> GitArchive:
        """The source of one commit.

        Raises:
            Refusal, PhaseFailed: as `mapped`.
            Unavailable: this machine could not keep it.
        """
        if _COMMIT.fullmatch(commit) is None:
            raise _bad_request(
                f"{commit[:80]!r} is no commit", "name the whole commit, 40 or 64 digits of 0-9 and a-f"
            )
        top = packing.file_name(name, version)
        job = {"operation": "archive", "commit": commit, "tag": tag, "top": top}
        async with AsyncExitStack() as stack:
            answer = await self._asked(stack, repository, job)
            packed, told = answer.work / "source.tar", answer.work / "commit"
            if read_plain(told, _COMMIT_BYTES.value) is None or not _is_plain(packed):
                raise PhaseFailed(_PHASE, "it left no archive", who=shown(repository), do=_DO, log=answer.log)
            checking = {
                "operation": "check",
                "commit": commit,
                "file": "source.tar",
                "links": answer.value["links"],
                "top": top,
            }
            files = {"source.tar": packed, "commit": told}
            checked = await stack.enter_async_context(
                self._inside.run(checking, files, phase=_PHASE, who=shown(repository))
            )
            tree, time_s = str(checked.value["tree"]), int(checked.value["time"])
            try:
                sha256, size = await keep(self._cache, _read(packed), MAX_SOURCE_BYTES.value, _too_large)
            except OSError as error:
                raise Unavailable(f"a source cannot be kept: {error}") from error
        file = NamedFile(f"{top}.tar", self._cache / sha256)
        return GitArchive(file, sha256, size, commit, tag, tree, packing.clamped(time_s))

    async def _asked(self, stack: AsyncExitStack, repository: str, job: dict[str, Any]) -> Answer:
        """One run of git; its folder lives as long as `stack`."""
        if self._inside.isolation != "namespace":
            raise Refusal(
                "no-sandbox",
                what="git runs only in the sandbox `namespace`, which this machine does not give",
                who="this machine",
                do="see `pyrsia doctor` for the one command that changes it, or give the source along",
            )
        if shutil.which("git") is None:
            raise Refusal(
                "no-environment",
                what="this machine has no git",
                who="this machine",
                do="install it (apt-get install git), or give the source along",
            )
        tag = job.get("tag", "")
        if tag and not plain_tag(tag):
            raise _bad_request(f"{tag[:80]!r} is no plain name of a tag", _DO)
        place = self._hosts.place(repository)
        if urlsplit(place).scheme == "file":
            folder = Path(unquote(urlsplit(place).path))
            if not await trio.Path(folder).is_dir():
                raise _BLAME.unreachable(place, "there is no such folder")
            url, proxy = "file:///source", None
            mounts: tuple[Mount, ...] = (Mount(folder, "/source"),)
        else:
            proxy = await stack.enter_async_context(self._way_out(place, await self._web(stack, place)))
            url, mounts = f"http://127.0.0.1:{EGRESS_PORT}/source", ()
        run = self._inside.run(
            {**job, "url": url},
            {},
            phase=_PHASE,
            who=shown(repository),
            egress=proxy.socket if proxy else None,
            mounts=mounts,
        )
        answer = await stack.enter_async_context(run)
        if answer.value.get("kind") == "unreachable":
            why = proxy.refused[0] if proxy and proxy.refused else _last(answer.log)
            raise self._settings.blame.unreachable(repository, why)
        return answer

    async def _web(self, stack: AsyncExitStack, place: str) -> Web:
        """A client that may reach what is configured; a repository that is only mapped is reached as a stranger's."""
        own = [*self._hosts.hosts, *(instead for _, instead in self._hosts.mirrors)]
        settings = self._settings.configured(url for url in own if not url.startswith("file:"))
        try:
            scheme, *where = origin_of(place)
        except Malformed as error:  # a motion's bytes name it, and no name server could know it
            raise _BLAME.unreachable(place, str(error)) from None
        if scheme != "https" and tuple(where) not in settings.open_hosts:
            raise _BLAME.unreachable(place, "it is not https, and its host is not configured here")
        return await stack.enter_async_context(Web(settings))

    def _way_out(self, place: str, web: Web) -> RecordingProxy:
        limits = ProxyLimits(
            requests=100,
            total_bytes=GIT_FETCH_BYTES.value,
            file_bytes=GIT_FETCH_BYTES.value,
            seconds=GIT_FETCH_S.value,
        )
        return RecordingProxy(web, {"source": Remote(place, git=True)}, self._cache, limits)


_KINDS: Final = ("https://", "http://", "file:///")
_COMMIT_BYTES: Final = Limit(1 << 20, "a commit with its message; larger ones are no messages")


def tag_of(pattern: str, version: str) -> str:
    """The tag that a mapping's pattern makes from a version, as the ledger makes it."""
    return pattern.replace("{version}", version)


def plain_tag(tag: str) -> bool:
    """Whether git takes `tag` for one tag's name, and nobody takes it for anything else."""
    return (
        _TAG.fullmatch(tag) is not None
        and ".." not in tag
        and "@{" not in tag
        and not any(
            part == "" or part.startswith(".") or part.endswith((".", ".lock")) for part in tag.split("/")
        )
    )


def same(asked: Mapping[str, Any], found: GitArchive) -> None:
    """Whether `found` is the source of a request.

    Raises:
        Refusal: `digest-mismatch`; the text names what differs.
    """
    mine = found.as_source()
    for name in ("commit", "tag", "tree"):
        if asked["git"][name] != mine["git"][name]:
            raise _mismatch(name, asked["git"][name], mine["git"][name])
    for name in ("file", "sha256", "size"):
        if asked[name] != mine[name]:
            raise _mismatch(name, asked[name], mine[name])


def _mismatch(name: str, theirs: object, mine: object) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"the source's {name} is {theirs!r} in the request and {mine!r} here",
        who="the request, or the repository: a tag may have been moved",
        do="ask the package's maintainers which commit is the release",
    )


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


async def _read(path: Path) -> AsyncGenerator[bytes, None]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    async with trio.wrap_file(os.fdopen(handle, "rb")) as file:
        while piece := await file.read(1 << 20):
            yield piece


def _last(log: bytes) -> str:
    """The last thing that git said, as it may be shown."""
    lines = [line for line in log.decode("utf-8", "replace").splitlines() if line.strip()]
    return ascii(lines[-1][:200]) if lines else "git gave no reason"


def _too_large() -> Refusal:
    return Refusal(
        "too-large",
        what=f"the source is larger than {MAX_SOURCE_BYTES.value} bytes",
        who="the repository",
        do="give along an archive of what is needed",
    )


def _bad_request(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the mapping or the command", do=do)


def _invalid(text: str, where: str, form: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"{text!r} is not of the form {form}",
        who=where,
        do="correct that key of the configuration",
    )
