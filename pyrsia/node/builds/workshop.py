"""Where this node plans and builds packages: the sandbox, the environments and a plug-in for each ecosystem.

A node without a sandbox goes on without a workshop and says so: it follows, serves and verifies.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pyrsia.builds.conan.plugin import ConanPlugin
from pyrsia.builds.environments.making import kept
from pyrsia.builds.environments.model import Environment
from pyrsia.builds.maven.plugin import MavenPlugin
from pyrsia.builds.model import Plugin, SourceMapping
from pyrsia.builds.oci.plugin import OciPlugin
from pyrsia.builds.pip import config as pip_config
from pyrsia.builds.pip import host
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.pipeline import plugin as pipeline
from pyrsia.builds.sandbox import BuildLimits, choose
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitHosts
from pyrsia.builds.witness import plugin as witness
from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import views
from pyrsia.node.builds.builder import DrawnFirst, Reads
from pyrsia.node.house import INDEX, RESULTS, SCRATCH, House
from pyrsia.wire.text import b32

PluginFactory = Callable[[Shop, DrawnFirst], Sequence[Plugin]]


@dataclass(slots=True)
class Workshop:
    """What builds need. `plugins` is empty where this machine has no sandbox; `notices` say why."""

    plugins: dict[str, Plugin] = field(default_factory=dict)
    isolation: str = "none"
    notices: list[str] = field(default_factory=list)
    courier: "Courier" = field(default_factory=lambda: Courier())
    shop: Shop | None = None


class Courier:
    """Brings the source that came along with a request; the node lends it its links once it has some."""

    def __init__(self) -> None:
        self.fetch: Callable[[Mapping[str, Any]], Awaitable[Path]] | None = None
        self.fetch_published: Callable[[str], Awaitable[Path]] | None = None

    async def bring(self, request: Mapping[str, Any]) -> Path:
        """The source of a request's body.

        Raises:
            Unavailable: nobody gave it.
        """
        if self.fetch is None:
            raise Unavailable("this node has no links yet")
        return await self.fetch(request)

    async def bring_published(self, sha256: str) -> Path:
        """A file that the log publishes.

        Raises:
            Refusal: nobody gave it, or it is withdrawn or disputed.
            Unavailable: this node has no links yet.
        """
        if self.fetch_published is None:
            raise Unavailable("this node has no links yet")
        return await self.fetch_published(sha256)


def honest(shop: Shop, _: DrawnFirst) -> Sequence[Plugin]:
    """The plug-ins of every node but the demo's villain."""
    return (
        PipPlugin(shop),
        MavenPlugin(shop),
        OciPlugin(shop),
        *_fetching(shop),
        ConanPlugin(shop),
    )


def _fetching(shop: Shop) -> Sequence[Plugin]:
    """Those that bring what others built: a witness everywhere, a pipeline where one is configured."""
    target = host.target().as_dict()
    return (witness.made_from(shop, shop.registries, target), *pipeline.made_from(shop, target))


async def open_workshop(house: House, stack: AsyncExitStack, make: PluginFactory = honest) -> Workshop:
    """Try the sandboxes, read pip's configuration; `stack` closes the index client.

    Raises:
        Refusal: `config-invalid` for a pip configuration that pip would refuse too.
    """
    settings, genesis = house.settings.builds, house.genesis
    try:
        sandbox = await choose(settings.allow_confined or genesis.min_isolation == "confined")
    except Refusal as refusal:
        return Workshop(notices=[f"no builds here: {refusal.what}; do: {refusal.do}"])
    found = pip_config.load()
    index = await stack.enter_async_context(IndexClient(found, house.data / INDEX))
    reads, courier = house.archive.state, Courier()
    own = Environment(host.environment(), None, host.facts())
    admitted = partial(_admitted, reads)
    roots = kept(
        own,
        sandbox,
        house.data,
        settings.environments,
        house.data / SCRATCH,
        fetch=courier.bring_published,
        needed=admitted,
    )
    shop = Shop(
        sandbox=sandbox,
        limits=BuildLimits(wall_s=settings.wall_s, memory_bytes=settings.memory_mb << 20),
        scratch=house.data / SCRATCH,
        results=house.data / RESULTS,
        cache=house.data / INDEX,
        index=index,
        environments=roots,
        admitted=admitted,
        claimed=courier.bring,
        mapping=lambda purl: _mapping(reads, purl),
        published=lambda sha256: _published(reads, sha256),
        verified=lambda sha256: views.built(reads, sha256, b32(house.keys.node_id)),
        artifact=lambda sha256: _artifact(reads, sha256),
        bring=courier.bring_published,
        registries=settings.registries,
        pipeline_url=settings.pipeline_url,
        git_hosts=GitHosts.configured(settings.git_hosts, settings.git_mirrors),
    )
    plugins = make(shop, drawn_first(reads, house.keys.node_id))
    return Workshop({one.name: one for one in plugins}, sandbox.isolation, list(found.unused), courier, shop)


def _admitted(reads: Reads) -> tuple[str, ...]:
    return tuple(views.config(reads)["environments"])


def _mapping(reads: Reads, purl: str) -> SourceMapping | None:
    found = views.mapping(reads, purl)
    if found is None:
        return None
    # An environment that is not admitted any more is none: the rules choose, as the ledger says too.
    admitted = _admitted(reads)
    recipe = {
        name: value for name, value in found["recipe"].items() if name != "environment" or value in admitted
    }
    return SourceMapping(purl, found["repository"], found["tag"], recipe, found["version"])


def _artifact(reads: Reads, sha256: str) -> Mapping[str, Any] | None:
    found = views.artifact(reads, sha256)
    return None if found is None or not views.offered(reads, sha256) else found.body


def _published(reads: Reads, sha256: str) -> int | None:
    found = views.artifact(reads, sha256)
    return None if found is None or not views.offered(reads, sha256) else found.leaf


def drawn_first(reads: Reads, node: bytes) -> DrawnFirst:
    """Tells whether `node` is the first builder in the newest draw of an open request with this body."""
    me = b32(node)

    def asked(request: Mapping[str, Any]) -> bool:
        for name in views.requests_open(reads):
            view = views.request(reads, name)
            if view is not None and view.draw is not None and view.request.body == request:
                return bool(view.draw.body["builders"][0] == me)
        return False

    return asked
