"""`doctor`: what this machine can do, and the one command for more."""

import shutil
import sys
from typing import Any

import click

from pyrsia.cli.tell import json_option, tell


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Interpreter, extension, sandbox, compiler: what works here."""
    import trio

    findings = trio.run(_examine)
    tell({"checks": findings}, as_json=as_json, text=lambda: [_line(one) for one in findings])


def _line(one: dict[str, Any]) -> str:
    mark = "ok  " if one["ok"] else "lack"
    return f"{mark}  {one['what']}: {one['found']}" + (f"; do: {one['do']}" if one["do"] else "")


async def _examine() -> list[dict[str, Any]]:
    from pyrsia.builds.sandbox import survey

    host = await survey()
    rows = [
        _row("python", f"{sys.version.split()[0]} at {sys.executable}", ok=sys.version_info >= (3, 11)),
        _native(),
        _row(
            "compiler",
            shutil.which("cc")
            or shutil.which("gcc")
            or "none; needed to install Pyrsia, not to build pure packages",
            ok=bool(shutil.which("cc") or shutil.which("gcc")),
            do="apt-get install build-essential",
        ),
        _row("build sandbox", host.isolation or "none", ok=host.isolation == "namespace", do=host.advice),
    ]
    rows += [_row("  " + name, found, ok=True) for name, found in host.facts]
    return rows


def _native() -> dict[str, Any]:
    try:
        from pyrsia._native import merkle
    except ImportError as error:
        found, _, do = str(error).partition("; ")
        return _row("native extension", found, ok=False, do=do or "make setup")
    return _row("native extension", f"{merkle.__name__}, SHA-256 by {merkle.kernel()}", ok=True)


def _row(what: str, found: str, *, ok: bool, do: str = "") -> dict[str, Any]:
    return {"what": what, "found": found, "ok": ok, "do": "" if ok else do}
