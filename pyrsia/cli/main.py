"""The `pyrsia` command: names, help groups and short flags; no command's work is done here.

Commands are imported when called, so that `pyrsia --help` costs one small import (click). The short
flags of the original (`-b -c -e -l -s`) are rewritten to commands before parsing.
"""

import sys
from typing import Final

import click

from pyrsia import __version__
from pyrsia.cli.groups import LazyGroup

# command -> (module below pyrsia.cli, attribute, help group, one line)
COMMANDS: Final[dict[str, tuple[str, str, str, str]]] = {
    "verify": (
        "verify.command",
        "verify",
        "Use",
        "Check a file, what is installed, an image or a lock by the log.",
    ),
    "fetch": ("packages", "fetch", "Use", "Download files of the network, each with its proof."),
    "setup": ("setup", "setup", "Use", "Point pip, Docker, Maven, Conan or another client at a node."),
    "audit": (
        "audit.command",
        "audit",
        "Use",
        "What is known about all that a project uses: advisories, repairs, policy.",
    ),
    "policy": ("policy.command", "policy", "Use", "What this node or this user accepts, and why."),
    "package": (
        "package.command",
        "package",
        "Use",
        "Find, show, describe, withdraw packages; their sources.",
    ),
    "trust": ("trust", "trust", "Use", "Pin the networks that verify believes."),
    "build": ("builds.command", "build", "Provide", "Ask the network for a verified build; follow it."),
    "facts": ("facts.command", "facts", "Provide", "Advisories, VEX, licences, reviews: read, say, import."),
    "member": (
        "member",
        "member",
        "Provide",
        "Who belongs to the network; propose and approve what changes.",
    ),
    "authorize": (
        "authorize",
        "authorize",
        "Provide",
        "Propose that a node builds (the original's command).",
    ),
    "init": ("init", "init", "Run", "Make a node's data directory, keys and configuration."),
    "node": ("node", "node", "Run", "Run this machine's node."),
    "demo": ("demo", "demo", "Run", "Four builders and a follower on this machine, end to end."),
    "status": ("status", "status", "Run", "The node at a glance."),
    "peers": ("peers", "peers", "Run", "The peers of the node."),
    "list": ("peers", "list_peers", "Run", "Connected peers (the original's command)."),
    "ping": ("status", "ping", "Run", "Whether the node answers."),
    "broadcast": ("messages", "broadcast", "Run", "Say something to all nodes."),
    "listen": ("messages", "listen", "Run", "What was said to all nodes; follow it."),
    "send": ("messages", "send", "Run", "Write to the people of one node."),
    "inbox": ("messages", "inbox", "Run", "Messages to this node, and what became of its own."),
    "keys": ("keys", "keys", "Run", "The node's keys; rotate them."),
    "storage": ("storage", "storage", "Run", "What takes the node's disk, what stays, putting it in order."),
    "config": ("config", "config", "Run", "Show or edit the node's configuration."),
    "doctor": ("doctor", "doctor", "Run", "What this machine can do, and the one command for more."),
    "dashboard": ("dashboard", "dashboard", "Run", "Live peers, log and builds in the terminal."),
    "log": ("log", "log", "Audit", "Read, prove and check the transparency log."),
    "inspect-log": (
        "inspect.command",
        "inspect_log",
        "Audit",
        "The log record by record, by any field, now or as it was.",
    ),
    "export": (
        "export.command",
        "export",
        "Audit",
        "Files by which stock clients enforce what the log says.",
    ),
    "witness": ("witness", "witness", "Audit", "Cosign the logs of others, and have ours cosigned."),
}

# The original's short flags stand where a command stands.
SHORT: Final[dict[str, str]] = {"-b": "build", "-c": "config", "-l": "list", "-s": "status"}
EDIT: Final = {"-e": "edit"}  # only behind -c / config


class Commands(LazyGroup):
    """Everything that `pyrsia` does, by what people come for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in ("Use", "Provide", "Run", "Audit"):
            rows = [(name, text) for name, (_, _, where, text) in COMMANDS.items() if where == group]
            with formatter.section(group):
                formatter.write_dl(rows)


@click.group(
    cls=Commands,
    package="pyrsia.cli",
    table={name: (module, attribute, text) for name, (module, attribute, _, text) in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="pyrsia")
def cli() -> None:
    """Packages built from source several times over, agreed in one public log.

    Commands that ask a node take --node URL|DIR (its address or its data directory), then PYRSIA_NODE, then your
    own node, then the system's. Every command that answers takes --json. Exit codes: 0 yes, 1 refused, 2 usage,
    3 no proof, not pinned or too old.
    """


def rewrite(arguments: list[str]) -> list[str]:
    """The original's spelling in ours: `-c -e` is `config edit`, `-s` is `status`."""
    if not arguments:
        return arguments
    command, rest = SHORT.get(arguments[0], arguments[0]), arguments[1:]
    if command == "config" and rest and rest[0] in EDIT:
        rest = [EDIT[rest[0]], *rest[1:]]
    return [command, *rest]


def main() -> None:
    """Entry point: run the command, tell a refusal on standard error, exit with its code."""
    from pyrsia.cli.tell import run

    sys.exit(run(cli, rewrite(sys.argv[1:])))
