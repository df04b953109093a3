"""`log`: read, prove and check the transparency log. One module a command, imported when it is called."""

from typing import Final

import click

from pyrsia.cli.groups import LazyGroup

# command -> (module below pyrsia.cli.log, attribute, one line)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "show": ("show", "show", "Size, root and entries: the newest, or those from --from on."),
    "search": ("search", "search", "Entries by type, author, package, time, verdict and text."),
    "tail": ("tail", "tail", "The newest entries, proved; with --follow those to come."),
    "monitor": ("monitor", "monitor", "Tell a command or an address of every entry about some packages."),
    "hammer": ("hammer", "hammer", "Write and verify at once, as fast as it goes; for one's own network."),
    "submit": ("submit", "submit", "Put a signed entry into the log, and prove that it is there."),
    "prove": ("prove", "prove", "An entry with a proof that it is in the log."),
    "policy": ("policy", "policy", "The network's trust policy for other tools; does a note satisfy it?"),
    "export": ("export", "export", "Write a node's log as files for any static host."),
    "mirror": ("mirror", "mirror", "Keep a verified copy of any C2SP log."),
    "fsck": ("fsck", "fsck", "Check that a whole log is true, and name the first wrong byte."),
    "history": (
        "history",
        "history",
        "All leaves about a package or a digest; --prove that none is missing.",
    ),
    "verify-history": ("history", "verify_history", "Check a history file, offline."),
    "verify": ("prove", "verify", "Check a file written by `log prove` or `log submit` with --out, offline."),
}


@click.group(cls=LazyGroup, package="pyrsia.cli.log", table=COMMANDS)
def log() -> None:
    """The one public log of who built what."""
