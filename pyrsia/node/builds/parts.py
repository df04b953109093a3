"""The parts of a node that have to do with builds, made and run together. Nothing is decided here.

Where this machine has no sandbox there is nothing that plans or builds; the desk says so, and what earlier lives left
behind is cleaned up all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from pyrsia.builds.pip.toolbox import TOOLS
from pyrsia.config import CONFIG_NAME
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import views
from pyrsia.node.builds.auto import Auto
from pyrsia.node.builds.builder import Builder
from pyrsia.node.builds.checks import Checker
from pyrsia.node.builds.desk import Desk
from pyrsia.node.builds.keep import Elsewhere, Keeper
from pyrsia.node.builds.receipts import Receipts
from pyrsia.node.builds.requests import Requests
from pyrsia.node.builds.sources import Sources
from pyrsia.node.builds.workshop import Workshop
from pyrsia.node.clock import wall_ms
from pyrsia.node.house import INDEX, RESULTS, SCRATCH, House
from pyrsia.node.log.submission import Submitter
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.serve.desks.orders import BuildOrder
from pyrsia.units import NodeId


@dataclass(frozen=True, slots=True)
class BuildParts:
    """What asks for builds, what builds, what looks again, what cleans up, and the desk in front of them."""

    requests: Requests | None
    builder: Builder | None
    checker: Checker | None
    desk: Desk
    auto: Auto
    keeper: Keeper

    async def run(self) -> None:
        """Run all of them until cancelled, or until one fails."""
        async with trio.open_nursery() as nursery:
            for part in (self.builder, self.checker, self.auto, self.keeper):
                if part is not None:
                    nursery.start_soon(part.run)


@dataclass(frozen=True, slots=True)
class _Maker:
    """What the parts are made from."""

    house: House
    workshop: Workshop
    shelf: Shelf
    submitter: Submitter
    pulse: Pulse
    receipts: Receipts
    elsewhere: Elsewhere

    def builder(self, revealed: Callable[[str, Mapping[str, Any]], None]) -> Builder:
        house = self.house
        return Builder(
            house.keys,
            house.genesis,
            plugins=self.workshop.plugins,
            shelf=self.shelf,
            submitter=self.submitter,
            reads=house.archive.state,
            database=house.database,
            pulse=self.pulse,
            parallel=house.settings.builds.parallel,
            attests=house.build_key,
            revealed=revealed,
            receipts=self.receipts,
        )

    def requests(self) -> Requests:
        return Requests(
            self.house.keys.node_id,
            plugins=self.workshop.plugins,
            shelf=self.shelf,
            submitter=self.submitter,
            reads=self.house.archive.state,
        )

    def checker(self, builder: Builder) -> Checker:
        async def add_fact(body: Mapping[str, Any]) -> None:
            await self.submitter.submit("fact.add", {**body, "valid_from": wall_ms()})

        house = self.house
        return Checker(
            house.keys.node_id,
            plugins=self.workshop.plugins,
            turns=builder.turns,
            reads=house.archive.state,
            add_fact=add_fact,
            self_check=house.settings.builds.self_check,
            per_day=house.settings.builds.rechecks_per_day,
            may=lambda: house.builds,
        )

    def desk(self, requests: Requests | None, builder: Builder | None, sources: Sources) -> Desk:
        return Desk(
            self.house.keys.node_id,
            requests=requests,
            builder=builder,
            sources=sources,
            shelf=self.shelf,
            submitter=self.submitter,
            reads=self.house.archive.state,
        )

    def auto(self, desk: Desk) -> Auto:
        """
        Raises:
            Refusal: `config-invalid`.
        """
        builds = self.house.settings.builds

        async def ask(purl: str) -> None:
            await desk.order(BuildOrder(purl=purl, witness=True))

        try:
            return Auto(builds.auto, builds.auto_per_hour, ask)
        except Malformed as error:
            raise Refusal(
                "config-invalid",
                what=f"builds.auto: {error}",
                who=f"this node's {CONFIG_NAME}",
                do="correct it",
            ) from None

    def keeper(self, builder: Builder | None) -> Keeper:
        async def forget() -> None:
            if builder is not None:
                await builder.forget_settled()

        house = self.house
        return Keeper(
            house.database,
            house.blobs,
            named=house.archive.names,
            folders=(house.data / SCRATCH, house.data / RESULTS),
            longest_s=float(house.settings.builds.wall_s),
            cache=house.data / INDEX,
            cache_bytes=house.settings.builds.cache_gb << 30,
            forget=forget,
            spared=(TOOLS,),
            waits=lambda: views.requests_open(house.archive.state),
            elsewhere=self.elsewhere,
        )


def make_parts(
    house: House,
    workshop: Workshop,
    *,
    shelf: Shelf,
    submitter: Submitter,
    pulse: Pulse,
    linked: Callable[[], list[NodeId]],
    receipts: Receipts,
    elsewhere: Elsewhere,
) -> BuildParts:
    """The parts of one node; the workshop's courier is lent its way to sources.

    Raises:
        Refusal: `config-invalid` for globs that are none.
    """
    maker = _Maker(house, workshop, shelf, submitter, pulse, receipts, elsewhere)
    sources = Sources(shelf, house.data / SCRATCH, linked)
    workshop.courier.fetch = sources.bring
    if workshop.plugins:
        checkers: list[Checker] = []  # made after the builder whose turns it takes

        def revealed(request: str, body: Mapping[str, Any]) -> None:
            for checker in checkers:
                checker.revealed(request, body)

        requests, builder = maker.requests(), maker.builder(revealed)
        checkers.append(maker.checker(builder))
        desk = maker.desk(requests, builder, sources)
        return BuildParts(requests, builder, checkers[0], desk, maker.auto(desk), maker.keeper(builder))
    desk = maker.desk(None, None, sources)
    return BuildParts(None, None, None, desk, maker.auto(desk), maker.keeper(None))
