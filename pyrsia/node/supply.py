"""Where this node's registries take packages from, made of its configuration."""

from typing import Final

from pyrsia.node.catalog import Catalog
from pyrsia.node.house import House
from pyrsia.node.local import LocalPackages
from pyrsia.serve.supply import NoUpstream, Supply
from pyrsia.store.local import LocalStore

LOCAL: Final = "local"  # folder of what was pushed to this node; never among the blobs


def make_local(house: House) -> LocalPackages:
    """The shelf of packages that are pushed to this node. Blocks: for a start only.

    Raises:
        Unavailable: the disk said no.
    """
    return LocalPackages(LocalStore(house.data / LOCAL, house.database), house.settings.local)


def make_supply(house: House, catalog: Catalog, local: LocalPackages) -> Supply:
    """The log's packages, those that were pushed here, and upstream's."""
    return Supply(catalog, local, NoUpstream())
