"""`log`: read, prove and check the transparency log. One module a command, imported when it is called."""

import importlib
from typing import Final

import click

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


class LogCommands(click.Group):
    """The group; listing it imports none of its members."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"pyrsia.cli.log.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LogCommands)
def log() -> None:
    """The one public log of who built what."""
