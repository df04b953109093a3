"""One picture of the dashboard as text: for scripts, logs and terminals without a screen."""

import asyncio
import shutil
import sys

from pyrsia.errors import Refusal
from pyrsia_tui.feed import Away, Feed
from pyrsia_tui.view import as_text


def print_once(target: str) -> None:
    """Print the node's dashboard and return; a node that is away is a refusal."""
    sys.stdout.write(asyncio.run(_picture(target)))


async def _picture(target: str) -> str:
    feed = Feed(target)
    try:
        return as_text(await feed.snapshot(), width=shutil.get_terminal_size((120, 40)).columns)
    except Away as away:
        raise Refusal(
            "not-running",
            what=str(away),
            who="the node, or the address",
            do="start it with `pyrsia node run`",
        ) from None
    finally:
        await feed.close()
