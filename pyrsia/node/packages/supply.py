"""Where this node's registries take packages from, made of its configuration."""

import time
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.node.house import House
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.packages.local import LocalPackages
from pyrsia.node.policy.policing import Policing
from pyrsia.node.upstream.proxy import Proxy, Rules
from pyrsia.policy.facts import LOCAL as PUSHED
from pyrsia.policy.facts import Facts
from pyrsia.policy.modes import mode_of
from pyrsia.serve.desks.supply import Supply
from pyrsia.store.local import LocalStore
from pyrsia.store.proxied import Copies
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32

LOCAL: Final = "local"  # folder of what was pushed to this node; never among the blobs
UPSTREAM: Final = "proxied"  # folder of unverified copies; never among the blobs either


def make_local(house: House) -> LocalPackages:
    """The shelf of packages that are pushed to this node. Blocks: for a start only.

    Raises:
        Unavailable: the disk said no.
    """
    return LocalPackages(LocalStore(house.data / LOCAL, house.database), house.settings.local)


def make_upstream(house: House, local: LocalPackages, policing: Policing) -> Proxy:
    """Upstream, for ecosystems in the mode `proxy`. Blocks: for a start only.

    Raises:
        Refusal: `config-invalid`.
        Unavailable: the disk said no.
    """
    settings = house.settings
    rules = Rules(
        node=b32(house.keys.node_id),
        mode=lambda ecosystem: mode_of(policing.policy, ecosystem),
        ours=_Ours(house.archive.state, local),
        judge=policing.refusal,
        proxy=settings.proxy,
        registries=settings.builds.registries,
    )
    copies = Copies(house.data / UPSTREAM, quota=settings.proxy.quota_gb << 30)
    try:
        return Proxy(rules, copies, lambda: time.time_ns() // 1_000_000)
    except Refusal:
        copies.close()
        raise


def make_supply(catalog: Catalog, local: LocalPackages, upstream: Proxy) -> Supply:
    """The log's packages, those that were pushed here, and upstream's."""
    local.judge = lambda purl: catalog.policing.refusal(Facts(purl, PUSHED))
    upstream.against = lambda sha256: _against(catalog, sha256)
    return Supply(catalog, local, upstream)


class _Ours:
    """What is not upstream's to give (`node.upstream.proxy.Ours`): refused, withdrawn and disputed files too."""

    def __init__(self, reads: Reads, local: LocalPackages) -> None:
        self._reads, self._local = reads, local

    def pushed(self, package: str) -> bool:
        return self._local.owns(package)

    def versions(self, package: str) -> frozenset[str]:
        placed = views.project_files(self._reads, package, every=True)
        return frozenset(purls.parse(one.body["purl"]).version for one in placed)

    def holds(self, sha256: str) -> bool:
        names = views.names_of(self._reads, sha256)
        # What a node says under its own name must not keep others from what upstream has.
        return any(not purls.parse(name).owner for name in names)


def _against(catalog: Catalog, sha256: str) -> Refusal | None:
    try:
        catalog.file(sha256)
    except Refusal as refusal:
        return refusal
    return None
