"""Where this node plans and builds packages: the sandbox, the index client and the pip plug-in.

A node without a sandbox goes on without a workshop and says so: it follows, serves and verifies.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyrsia.builds.pip import config as pip_config
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.inside import Inside
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import BuildLimits, choose
from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.builder import DrawnFirst, Reads
from pyrsia.node.house import INDEX, RESULTS, SCRATCH, House
from pyrsia.wire.text import b32

PluginFactory = Callable[[Inside, IndexClient, Path, DrawnFirst], PipPlugin]


@dataclass(slots=True)
class Workshop:
    """What builds need. `plugin` is None where this machine has no sandbox; `notices` say why."""

    plugin: PipPlugin | None = None
    isolation: str = "none"
    notices: list[str] = field(default_factory=list)


def honest(inside: Inside, index: IndexClient, results: Path, _: DrawnFirst) -> PipPlugin:
    """The plug-in of every node but the demo's villain."""
    return PipPlugin(inside, index, results)


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
    limits = BuildLimits(wall_s=settings.wall_s, memory_bytes=settings.memory_mb << 20)
    inside = Inside(sandbox, house.data / SCRATCH, limits)
    first = drawn_first(house.archive.state, house.keys.node_id)
    plugin = make(inside, index, house.data / RESULTS, first)
    return Workshop(plugin, sandbox.isolation, list(found.unused))


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
