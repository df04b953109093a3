"""`facts`: what people and machines say of packages. One module a few commands, imported when one is called."""

import importlib
from typing import Final

import click

# command -> (module below pyrsia.cli, attribute, one line)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "show": ("facts_show", "show", "What stands about a package, a version or a file, now or then."),
    "history": ("facts_history", "history", "When each weakness was first known, changed, fixed, withdrawn."),
    "list": ("facts_show", "list_facts", "The newest facts about anything."),
    "watch": ("facts_watch", "watch", "Facts as the log gets them."),
    "add": ("facts_add", "add", "Say something of a package, a version or a file."),
    "withdraw": ("facts_add", "withdraw", "Take back what this node said."),
    "import": ("facts_import", "imports", "Say what a database or a document says: OSV, VEX, SBOM."),
}


class FactsCommands(click.Group):
    """The group; listing it imports none of its members."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"pyrsia.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=FactsCommands)
def facts() -> None:
    """What the log says of packages beside who built them: advisories, VEX, licences, reviews, descriptions, SBOMs.

    Everything that was said stays in the log with its author and its time, so each question can be asked about the
    past. What of it counts is each machine's own policy. docs/knowledge.md explains all of it.
    """
