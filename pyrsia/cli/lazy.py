"""A group of commands of which each is imported when it is called, so that listing them costs nothing."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

# command -> (module, attribute, one line)
Table = Mapping[str, tuple[str, str, str]]


class LazyGroup(click.Group):
    """`table` has its commands; their modules stand below `package`."""

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._table.items()])
