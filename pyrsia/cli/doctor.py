"""`doctor`: what this machine can do, and the one command for more."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from pyrsia.cli.tell import json_option, tell

if TYPE_CHECKING:
    from pyrsia.builds.sandbox import HostSurvey


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Interpreter, extension, sandbox, compiler: what works here."""
    import trio

    findings = trio.run(_examine)
    tell({"checks": findings}, as_json=as_json, text=lambda: [_line(one) for one in findings])


def _line(one: dict[str, Any]) -> str:
    mark = "    " if one["what"].startswith(" ") else "ok  " if one["ok"] else "lack"
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
        _row(
            "git",
            shutil.which("git") or "none; sources from repositories cannot be fetched here",
            ok=bool(shutil.which("git")),
            do="apt-get install git",
        ),
        _row("build sandbox", _sandbox(host), ok=host.roots, do=host.advice),
    ]
    rows += [_row("  " + name, found, ok=True) for name, found in host.facts]
    more = "" if host.limits.startswith("by the kernel") else _divisible()
    rows.append(_row("build limits", f"memory and processes bounded {host.limits}", ok=not more, do=more))
    return rows


def _divisible() -> str:
    """The command that gives a node a control group of its own to divide; "" where there is none to give."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    whose = "" if os.geteuid() == 0 else "--user "
    return f"systemd-run {whose}--scope -p Delegate=yes pyrsia node run"


def _sandbox(host: "HostSurvey") -> str:
    """What a build gets here, and what that is worth."""
    if host.isolation == "namespace":
        kinds = "every kind of package" if host.roots else "pure packages only, see `file systems of builds`"
        return f"namespace, by {host.backend}: {kinds}"
    if host.isolation == "confined":
        return "confined: pure packages only, and only where the network lets that count"
    return "none: this machine builds nothing"


def _native() -> dict[str, Any]:
    try:
        from pyrsia._native import merkle
    except ImportError as error:
        found, _, do = str(error).partition("; ")
        return _row("native extension", found, ok=False, do=do or "make setup")
    return _row("native extension", f"{merkle.__name__}, SHA-256 by {merkle.kernel()}", ok=True)


def _row(what: str, found: str, *, ok: bool, do: str = "") -> dict[str, Any]:
    return {"what": what, "found": found, "ok": ok, "do": "" if ok else do}
