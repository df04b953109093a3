"""`facts`: what people and machines say of packages. One module a few commands, imported when one is called."""

from typing import Final

import click

from pyrsia.cli.groups import LazyGroup

# command -> (module below pyrsia.cli, attribute, one line)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "show": ("show", "show", "What stands about a package, a version or a file, now or then."),
    "history": ("history", "history", "When each weakness was first known, changed, fixed, withdrawn."),
    "list": ("show", "list_facts", "The newest facts about anything."),
    "watch": ("watch", "watch", "Facts as the log gets them."),
    "webhooks": ("webhooks", "webhooks", "Servers that the node tells of facts, and how that goes."),
    "add": ("add", "add", "Say something of a package, a version or a file."),
    "withdraw": ("add", "withdraw", "Take back what this node said."),
    "import": ("importing", "imports", "Say what a database or a document says: OSV, VEX, SBOM."),
}


@click.group(cls=LazyGroup, package="pyrsia.cli.facts", table=COMMANDS)
def facts() -> None:
    """What the log says of packages beside who built them: advisories, VEX, licences, reviews, descriptions, SBOMs.

    Everything that was said stays in the log with its author and its time, so each question can be asked about the
    past. What of it counts is each machine's own policy. docs/knowledge.md explains all of it.
    """
