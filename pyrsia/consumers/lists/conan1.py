"""conan.lock of Conan 1: a graph of packages. Only audited: nothing is built any more by what it locks.

Source: Conan 1, "Lockfiles" (version 0.4, and 0.1 to 0.3 of the experimental ones, which have the same nodes).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers.lists import conan
from pyrsia.consumers.lists.rows import Row, no

GRAPH: Final = "graph_lock"
_AGAIN: Final = "make it again: `conan lock create`"


def rows(path: Path, text: str) -> tuple[Row, ...]:
    """Each node, those of builds too, and the code that recipes run; one that is built from a folder is no package."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise no(path, f"it is no JSON: {error}", _AGAIN) from None
    graph = found.get(GRAPH) if isinstance(found, dict) else None
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(nodes, dict) or not all(isinstance(one, dict) for one in nodes.values()):
        raise no(path, f"its {GRAPH} has no nodes", _AGAIN)
    lines = conan.lines_of(text)
    return tuple(dict.fromkeys(one for node in nodes.values() for one in _of(path, node, lines)))


def _of(path: Path, node: dict[str, Any], lines: dict[str, int]) -> Iterator[Row]:
    """An older node has `pref`, which names the package's binary as well: `name/version#revision:id`."""
    told = node.get("ref") or node.get("pref") or ""
    reference = told.partition(":")[0] if isinstance(told, str) else told
    if reference:
        row = conan.row(path, reference, {reference: lines.get(told, 0)} if isinstance(told, str) else {}, "")
        if node.get("path"):
            row = replace(row, version="", left=f"{row.name}: its source is a folder, and no index")
        yield row
    python = node.get("python_requires") or ()
    if not isinstance(python, list | tuple) or not all(isinstance(one, str) for one in python):
        raise no(path, "its python_requires are no list of references", _AGAIN)
    yield from (conan.row(path, one, lines, "") for one in python)
