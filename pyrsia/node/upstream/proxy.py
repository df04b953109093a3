"""Upstream for the registries (`serve.desks.supply.Upstream`): who may ask for what, then a page or a file.

Every door leads through here, so that none can forget to ask: the mode of the ecosystem, the globs of `proxy.allow`,
the policy, whose name it is, and whether the log holds the version or the bytes, refused or not. Where addresses,
copies and questions are is the other modules' business.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

import trio

from pyrsia.builds.outbound.web import Web
from pyrsia.builds.pip import simple
from pyrsia.config import ProxySection
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.node.upstream import settings
from pyrsia.node.upstream.asking import Asker
from pyrsia.node.upstream.circuits import Circuits
from pyrsia.node.upstream.digests import Expected
from pyrsia.node.upstream.files import Files
from pyrsia.node.upstream.fresh import Absent, Freshness
from pyrsia.node.upstream.gate import Gate
from pyrsia.node.upstream.links import Links
from pyrsia.node.upstream.pages import Pages
from pyrsia.node.upstream.paths import is_folder
from pyrsia.node.upstream.pip import is_link
from pyrsia.node.upstream.settings import Ecosystem
from pyrsia.node.upstream.wanted import Shop, Wanted
from pyrsia.policy.facts import PROXIED, Facts
from pyrsia.policy.modes import PROXY
from pyrsia.serve import via
from pyrsia.serve.desks.supply import Arriving, Document
from pyrsia.status import UpstreamStatus
from pyrsia.store.proxied import Copies
from pyrsia.units import MAX_INDEX_PAGE_BYTES, UPSTREAM_AT_ONCE
from pyrsia.wire.purl import Purl, pypi_version, spellings
from pyrsia.wire.text import safe

_log = logging.getLogger("pyrsia.upstream")
_OURS: Final = "use what the network gives of it; pyrsia policy explain says why some of it is refused"
_PROBES: Final = ("0.0.0.dev0", "99999.0")  # versions that no sensible rule names, good in every ecosystem
_OLD: Final = 1  # of a time that no rule about ages is asked for


class Ours(Protocol):
    """What is not upstream's to give."""

    def pushed(self, package: str) -> bool:
        """Whether the name is this node's own."""
        ...

    def versions(self, package: str) -> frozenset[str]:
        """The versions that the log holds of it, refused ones too."""
        ...

    def holds(self, sha256: str) -> bool:
        """Whether the log names these bytes, refused or not."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator and the policy say.

    Attributes:
        node: this node's id in base32, for `Pyrsia-Via`.
        mode: of an ecosystem.
        judge: why a file of upstream's is not given, None if it is.
        registries: `builds.registries`.
        made: the addresses of an ecosystem; tests give their own.
    """

    node: str
    mode: Callable[[str], str]
    ours: Ours
    judge: Callable[[Facts], Refusal | None]
    proxy: ProxySection
    registries: Sequence[str] = ()
    made: Callable[[str, Sequence[str]], Ecosystem] = settings.made


class Proxy:
    """One node's upstream. Asks only while `running`.

    Attributes:
        against: why the log's word keeps bytes with this SHA-256 back, under whatever name upstream has them.
    """

    def __init__(self, rules: Rules, copies: Copies, now_ms: Callable[[], int]) -> None:
        """
        Raises:
            Refusal: `config-invalid`, a glob that is none.
        """
        self._rules = rules
        self._globs = tuple(map(_glob, rules.proxy.allow))
        freshness = Freshness(rules.proxy.fresh_s * 1_000, rules.proxy.absent_s * 1_000)
        self.against: Callable[[str], Refusal | None] = lambda _: None  # set where the catalogue is made
        absent = Absent(freshness)
        self.shop = Shop(copies, freshness, now_ms, absent, self._against, self._gives)
        self._links = Links(copies)
        circuits = Circuits()
        self._gates = tuple(Gate(circuits, lambda: now_ms() / 1_000) for _ in range(2))  # of pages, of files
        self._known: dict[str, Ecosystem] = {}
        self._webs: dict[str, Web] = {}
        self._stack = AsyncExitStack()
        self._pages: Pages | None = None
        self._files: Files | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Upstream is asked as long as the context lasts; what is under way at its end is dropped."""
        async with AsyncExitStack() as stack:
            self._stack = stack
            nursery = await stack.enter_async_context(trio.open_nursery())
            self._pages, self._files = Pages(self.shop, nursery), Files(self.shop, nursery)
            try:
                yield
            finally:
                self._pages = self._files = None
                nursery.cancel_scope.cancel()
                self._known.clear()
                webs, self._webs = self._webs, {}
                for web in webs.values():
                    await web.aclose()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """`running` until it is cancelled; the copies are closed then."""
        try:
            async with self.running():
                task_status.started()
                await trio.sleep_forever()
        finally:
            self.shop.copies.close()

    @property
    def said(self) -> str:
        """What the start did to the copies that the operator should know; "" for nothing."""
        return self.shop.copies.said

    def status(self) -> UpstreamStatus:
        copies, counters = self.shop.copies, self.shop.counters
        return UpstreamStatus(
            modes={name: self._rules.mode(name) for name in settings.ECOSYSTEMS.values()},
            asked=counters.asked,
            copied=counters.copied,
            stale=counters.stale,
            absent=counters.absent,
            failed=counters.failed,
            refused=counters.refused,
            bytes_received=counters.bytes,
            kept_bytes=copies.used,
            quota_bytes=copies.quota,
            evicted=copies.evicted,
        )

    # -- what registries ask --

    def takes(self, package: str) -> bool:
        found = settings.read(package)
        if found is None or self._rules.mode(found[0]) != PROXY:
            return False
        if any(map(self._rules.ours.pushed, _spellings(found[1]))):
            return False
        return any(glob.matches(package) for glob in self._globs)

    def proxies(self, ecosystem: str) -> bool:
        return self._rules.mode(ecosystem) == PROXY

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        wanted = self._wanted(package, path, self._gates[0])
        if wanted is None or is_link(path):
            return None
        self._refuse(wanted, wanted.ecosystem.digest(path))
        found = await _running(self._pages).get(wanted, accept=accept, most=most)
        if found is not None and not _is_list(wanted.ecosystem, wanted.purl, path):
            refusal = self._against(package, path, hashlib.sha256(found.data).hexdigest())
            if refusal is not None:
                raise refusal
        return found

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Arriving | None:
        wanted = self._wanted(package, path, self._gates[1])
        if wanted is None:
            return None
        expected = _expected(sha256, sha512, wanted.ecosystem.digest(path))
        uploaded_ms = await self._uploaded_ms(package, path) if is_link(path) else 0
        self._refuse(wanted, expected.sha256, uploaded_ms)
        return await _running(self._files).get(wanted, expected)

    def kept(self, package: str, path: str) -> Path | None:
        wanted = self._wanted(package, path, self._gates[1]) if self.takes(package) else None
        if wanted is None or self._files is None:
            return None
        try:
            self._refuse(wanted, wanted.ecosystem.digest(path))
        except Refusal:
            return None
        return self._files.kept(package, path)

    async def forget(self, package: str, path: str) -> None:
        """What was given for a path turned out to be no good: it is asked for anew."""
        await self.shop.copies.forget(package, path)

    # -- whether it may be --

    def _wanted(self, package: str, path: str, gate: Gate) -> Wanted | None:
        """None for what is no path of this package: nobody is asked for it.

        Raises:
            Refusal: `denied`, `config-invalid`.
        """
        found = settings.read(package)
        if found is None or not self.takes(package):
            raise _not_taken(package, self._rules.mode(found[0]) if found is not None else "")
        name, purl = found
        ecosystem = self._ecosystem(name)
        try:
            urls = ecosystem.urls(purl, path)
        except (Malformed, ValueError):
            return None
        asker = Asker(self._web(name, ecosystem), ecosystem, gate)
        return Wanted(package, purl, path, urls, ecosystem, asker, via.onward(self._rules.node) or ())

    def _ecosystem(self, name: str) -> Ecosystem:
        if name not in self._known:
            self._known[name] = self._rules.made(name, self._rules.registries)
        return self._known[name]

    def _web(self, name: str, ecosystem: Ecosystem) -> Web:
        if name not in self._webs:
            # The gates say how many are asked at once; no question waits a second time behind them.
            self._webs[name] = Web(replace(ecosystem.outbound, connections=2 * UPSTREAM_AT_ONCE.value))
        return self._webs[name]

    async def _uploaded_ms(self, package: str, url: str) -> int:
        """When a page of the project says that the file came, 0 if it does not.

        Raises:
            Refusal: `denied`: no page of the project names the file.
        """
        name = package.rpartition("/")[2]
        if is_folder(url):
            return 0
        found = await self._links.named(package, name, url)
        if found is None:  # its page went to make room, or was never asked for
            await self.document(package, f"{name}/", accept=simple.ACCEPT, most=MAX_INDEX_PAGE_BYTES.value)
            found = await self._links.named(package, name, url)
        if found is None:
            raise _denied(
                f"no page of {package} names the file that is asked for",
                "ask for the project's page, and for the files on it",
            )
        return found

    def _refuse(self, wanted: Wanted, sha256: str, uploaded_ms: int = 0) -> None:
        """
        Raises:
            Refusal: `denied`: the log holds this version or these bytes, or the policy is against it.
        """
        package, ours = wanted.package, self._rules.ours
        version = wanted.ecosystem.version(wanted.purl, wanted.path)
        if sha256 and ours.holds(sha256):
            raise _denied(f"the log names sha256:{sha256[:16]}, so upstream's copy is not given", _OURS)
        held = frozenset[str]()
        if version != "":
            held = held.union(*map(ours.versions, _spellings(wanted.purl)))
        if held and (version is None or _is_of(wanted.purl.type, version, held)):
            what = f"the log holds {package}@{version}" if version else f"the log holds versions of {package}"
            raise _denied(f"{what}, so upstream's files of it are not given", _OURS)
        published_ms = _OLD if _is_list(wanted.ecosystem, wanted.purl, wanted.path) else uploaded_ms
        name = wanted.path.partition("?")[0].rpartition("/")[2]
        facts = Facts("", PROXIED, name, sha256, published_ms=published_ms)
        refusal = self._judged(wanted.purl, version, facts)
        if refusal is not None:
            raise refusal

    def _against(self, package: str, path: str, sha256: str) -> Refusal | None:
        """Why bytes are kept back that were asked for by a name, now that their digest is known."""
        refusal = self.against(sha256)
        found = settings.read(package)
        if refusal is not None or found is None:
            return refusal
        name, purl = found
        ecosystem = self._ecosystem(name)
        if _is_list(ecosystem, purl, path):
            return None
        version = ecosystem.version(purl, path)
        file = path.partition("?")[0].rpartition("/")[2]
        return self._judged(purl, version, Facts("", PROXIED, file, sha256, published_ms=_OLD))

    def _judged(self, package: Purl, version: str | None, facts: Facts) -> Refusal | None:
        """The policy's word; of rules about versions, where none is named, only what no version could pass counts."""
        refusal, purl = None, ""
        for probe in (version,) if version else _PROBES:
            purl = str(replace(package, version=probe))
            refusal = self._rules.judge(replace(facts, purl=purl, any_version=not version))
            if refusal is None:
                return None
        return refusal if version or refusal is None else _of_all(refusal, purl, str(package))

    def _gives(self, package: str) -> bool:
        """Whether anything of upstream's is given now of a versionless purl."""
        found = settings.read(package)
        if found is None or not self.takes(package):
            return False
        return self._judged(found[1], "", Facts("", PROXIED, published_ms=_OLD)) is None


def _is_list(ecosystem: Ecosystem, package: Purl, path: str) -> bool:
    """Whether a path is of all versions, and no file of any."""
    return ecosystem.version(package, path) == "" and ecosystem.moves(path)


_Part = TypeVar("_Part")


def _running(part: _Part | None) -> _Part:
    """
    Raises:
        Refusal: `unavailable`: the node is starting or stopping.
    """
    if part is None:
        raise Refusal(
            "unavailable",
            what="this node does not ask upstream now",
            who="the node, which is starting or stopping",
            do="try again in a moment",
        )
    return part


def _of_all(refusal: Refusal, probe: str, package: str) -> Refusal:
    """The refusal of a version that was made up for the question, as one of the package."""
    what, who, do = (text.replace(probe, package) for text in (refusal.what, refusal.who, refusal.do))
    return Refusal(refusal.code, what=what, who=who, do=do, retry_s=refusal.retry_s)


def _spellings(package: Purl) -> tuple[str, ...]:
    """Every name that may mean the same package."""
    return tuple(map(str, spellings(package)))


def _is_of(kind: str, version: str, held: frozenset[str]) -> bool:
    """Whether a client takes the version for one of these, however it is spelt."""
    if version in held:
        return True
    return kind == "pypi" and pypi_version(version) in map(pypi_version, held)


def _glob(pattern: str) -> PurlGlob:
    try:
        return PurlGlob.parse(pattern)
    except Malformed as error:
        raise Refusal(
            "config-invalid",
            what=f"proxy.allow has {pattern[:80]!a}: {error}",
            who="the configuration",
            do="write it as pkg:pypi/team-* or *",
        ) from error


def _expected(sha256: str, sha512: str, named: str) -> Expected:
    """
    Raises:
        Refusal: `digest-mismatch`: the path names other bytes than the caller.
    """
    if sha256 and named and sha256 != named:
        raise Expected(sha256=named).mismatch(sha256)
    return Expected(sha256 or named, sha512)


def _not_taken(package: str, mode: str) -> Refusal:
    name = safe(package[:120])
    if mode == PROXY:
        return _denied(f"{name} is not within proxy.allow, or is this node's own", "ask the node's operator")
    what = f"upstream is not asked for {name}: the mode is {mode or 'unknown'}"
    return _denied(what, "ask for a build: pyrsia build request")


def _denied(what: str, do: str) -> Refusal:
    return Refusal("denied", what=what, who="this node's rules for upstream", do=do)
