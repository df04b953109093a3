"""Groups of commands: lists of whole sentences, and groups whose commands are imported when they are called."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

import click

# command -> (module, attribute, one line)
Table = Mapping[str, tuple[str, str, str]]

_WHOLE: Final = 1_000  # letters of a sentence; click cuts a longer one


class Group(click.Group):
    """Its list says of each command its first sentence, on as many lines as that takes."""

    def rows(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Each command that is to be seen, and its sentence."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, one.get_short_help_str(_WHOLE)) for name, one in found if one and not one.hidden]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = self.rows(ctx)
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class LazyGroup(Group):
    """`table` has its commands; their modules stand below `package`. Listing them imports nothing."""

    def __init__(self, *args: Any, package: str, table: Table, **more: Any) -> None:
        super().__init__(*args, **more)
        self._package, self._table = package, table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module, attribute, _ = self._table[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"{self._package}.{module}"), attribute)
        return command

    def rows(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, text) for name, (_, _, text) in self._table.items()]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, which guesses what was meant from commands that are imported already."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as no:
            raise click.exceptions.NoSuchCommand(
                no.command_name, possibilities=self.list_commands(ctx), ctx=ctx
            ) from None
