"""Facts as a node's pages give them, one after the other."""

from collections.abc import Iterator
from typing import Any

from pyrsia.cli.answers import shaped
from pyrsia.client import Client
from pyrsia.serve.desks.knowing import FactsTold
from pyrsia.units import MAX_API_ROWS, Limit

MAX_PAGES = Limit(
    10_000, "of one question: ten million facts of a page each; a node that gives more goes in circles"
)


class Pages:
    """Rows of a question, page after page. `whole`, `size`, `time_ms`: of what was read so far."""

    def __init__(self, node: Client, query: dict[str, str | int]) -> None:
        self._node, self._query = node, query
        self.whole, self.size, self.time_ms = True, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first: dict[str, str | int] = {}
        for _ in range(MAX_PAGES.value):
            asked = {"count": MAX_API_ROWS.value, **self._query, **first}
            page = shaped(self._node.get("/api/v1/facts", **asked), FactsTold)
            self.whole = self.whole and page["whole"]
            self.size, self.time_ms = page["size"], page["time_ms"]
            yield from page["facts"]
            if page["next"] < 0:
                return
            first = {"first": page["next"]}


def pages(node: Client, query: dict[str, str | int]) -> Iterator[dict[str, Any]]:
    """The rows alone."""
    return iter(Pages(node, query))
