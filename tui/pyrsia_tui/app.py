"""The first screen: log head, peers, builds and newest entries of one node.

The app owns no truth: every second it asks for a snapshot and shows it, painting only what changed.
"""

import sys
from typing import ClassVar, Protocol

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, Static

from pyrsia.status import Snapshot
from pyrsia.wire.text import safe
from pyrsia_tui import view
from pyrsia_tui.feed import Away, Feed

REFRESH_S = 1.0  # people read no faster, and a paint costs milliseconds


class Source(Protocol):
    """Where snapshots come from."""

    target: str

    async def snapshot(self) -> Snapshot: ...

    async def close(self) -> None: ...


class Panel(Static):
    """A few sentences in a frame."""


class Rows(DataTable[Text]):
    """A table that is only repainted when its rows changed.

    Cells are `Text`, never `str`: a table reads markup in a `str`, and strangers write the cells.
    """

    def __init__(self, header: tuple[str, ...], title: str, **names: str) -> None:
        super().__init__(cursor_type="row", zebra_stripes=True, **names)  # type: ignore[arg-type]
        self.header = header
        self.border_title = title
        self.shown: list[tuple[str, ...]] | None = None

    def on_mount(self) -> None:
        self.add_columns(*self.header)

    def show(self, rows: list[tuple[str, ...]]) -> None:
        if rows == self.shown:
            return
        self.shown = rows
        at = self.cursor_row
        self.clear()
        for row in rows:
            self.add_row(*map(Text, row))
        if rows:
            self.move_cursor(row=min(at, len(rows) - 1))


class Dashboard(App[None]):
    """Live peers, log and builds of one node."""

    CSS_PATH = "app.tcss"
    TITLE = "pyrsia"
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("r", "refresh_now", "Refresh")]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def compose(self) -> ComposeResult:
        yield Static("waiting for the node", id="headline", markup=False)
        with Horizontal(id="top"):
            yield Panel("", id="log", markup=False)
            yield Rows(view.PEER_HEADER, "peers", id="peers")
        with Vertical(id="bottom"):
            yield Rows(view.BUILD_HEADER, "builds", id="builds")
            yield Rows(view.ENTRY_HEADER, "newest entries", id="entries")
        yield Footer()

    async def on_mount(self) -> None:
        self.query_one("#log", Panel).border_title = "log"
        self.set_interval(REFRESH_S, self.refresh_now)
        await self.refresh_now()

    async def action_refresh_now(self) -> None:
        await self.refresh_now()

    async def refresh_now(self) -> None:
        """Ask once and show the answer, or that there is none."""
        try:
            snapshot = await self.source.snapshot()
        except Away as away:
            headline = self.query_one("#headline", Static)
            headline.set_class(True, "-away")
            headline.update(safe(f"{away}; asking again every second"))
            return
        self.show(snapshot)

    def show(self, snapshot: Snapshot) -> None:
        headline = self.query_one("#headline", Static)
        headline.set_class(False, "-away")
        headline.update(view.headline(snapshot))
        log = self.query_one("#log", Panel)
        log.update("\n".join([*view.log_lines(snapshot), *view.notice_lines(snapshot, "! ")]))
        trusted = snapshot.node.log.cosigned > 0
        log.set_class(not trusted, "-uncosigned")
        with self.batch_update():
            self.query_one("#peers", Rows).show(view.peer_rows(snapshot))
            self.query_one("#builds", Rows).show(view.build_rows(snapshot))
            self.query_one("#entries", Rows).show(view.entry_rows(snapshot))

    async def on_unmount(self) -> None:
        await self.source.close()


def run(target: str) -> None:
    """Show the node at `target` (URL or data directory) until q."""
    Dashboard(Feed(target)).run()


def main() -> None:
    """`pyrsia-top [URL|DIR]`."""
    from pyrsia.client import resolve

    run(resolve(sys.argv[1] if len(sys.argv) > 1 else None))
