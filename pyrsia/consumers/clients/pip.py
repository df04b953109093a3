"""pip: the user's pip.conf leads to the node's index.

pip merges its files (system, user, virtual environment, `PIP_CONFIG_FILE`) key by key, the later over the earlier, and
variables over all of them; a command's own section goes before `[global]`. Every further place of packages is a hole,
since pip takes the best version of all of them, wherever it comes from.

Source: pip's documentation, "Configuration"; docs/setup.md.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyrsia.consumers import ini
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, text_of
from pyrsia.wire.text import safe

_BESIDE: Final = ("extra-index-url", "find-links")  # places of packages beside the index
_ELSEWHERE: Final = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url",
                     "PIP_FIND_LINKS": "find-links", "PIP_NO_INDEX": "no-index"}  # fmt: skip


def _own(place: Place) -> Path:
    """The file to edit: the one that is named, else the old place where it exists is pip's business, not ours."""
    if place.file is not None:
        return place.file
    if place.system:
        return place.root / "etc/pip.conf"
    return place.config / "pip" / "pip.conf"


def _reads(place: Place) -> Sequence[Path]:
    """In pip's order: later ones win."""
    named, inside = place.env.get("PIP_CONFIG_FILE", ""), place.env.get("VIRTUAL_ENV", "")
    below = place.env.get("XDG_CONFIG_DIRS") or str(place.root / "etc/xdg")
    files = [Path(one) / "pip" / "pip.conf" for one in below.split(":") if one]
    files += [
        place.root / "etc/pip.conf",
        place.home / ".pip" / "pip.conf",
        place.config / "pip" / "pip.conf",
    ]
    files += [Path(inside) / "pip.conf"] if inside else []
    files += [Path(named)] if named else []
    return tuple(dict.fromkeys((*files, _own(place))))


def _index(want: Want) -> str:
    return f"{want.node}/pypi/simple/"


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    text = text_of(own, seen)
    options = ini.read(text, own)
    changes: dict[str, str | None] = {"index-url": _index(want)}
    if want.plain:
        changes["trusted-host"] = _with_host(options.get("global", {}).get("trusted-host", ""), want.host)
    holes, closed = _holes(place, seen, own, want)
    if want.strict:
        for key in _BESIDE:  # an empty value also hides what files of the system say
            if closed.get(key):
                changes[key] = None if closed[key] == {own} else ""
    made = ini.edit(text, own, "global", changes)
    if want.strict:
        for section in [name for name in options if name != "global"]:
            made = ini.edit(
                made, own, section, {key: None for key in ("index-url", *_BESIDE) if key in options[section]}
            )
    told = tuple(
        f"{key} of {', '.join(str(path) for path in sorted(paths))}" for key, paths in closed.items() if paths
    )
    return Plan(
        (Edit(own, made.encode()),), tuple(holes), told if want.strict else (), tuple(_advice(place, want))
    )


def _with_host(before: str, host: str) -> str:
    """The node among the hosts that pip takes from without TLS; it also caches nothing of others."""
    hosts = before.split()
    return "\n".join([*hosts, host]) if host not in hosts else before


def _holes(place: Place, seen: Seen, own: Path, want: Want) -> tuple[list[Hole], dict[str, set[Path]]]:
    """Open holes, and for each key that edits of `own` close the files that say it."""
    holes: list[Hole] = []
    closed: dict[str, set[Path]] = {}
    later = False
    for path in _reads(place):
        for section, options in ini.read(text_of(path, seen), path).items():
            for key in (*_BESIDE, "index-url", "no-index"):
                if not _goes_past(section, key, options.get(key, ""), later, want):
                    continue
                ours = path == own or (section == "global" and not later)
                if want.strict and ours and key != "no-index":
                    closed.setdefault(key, set()).add(path)
                else:
                    holes.append(_hole(path, section, key, options[key]))
        later = later or path == own
    if place.env.get("PIP_CONFIG_FILE") == os.devnull:
        holes.append(Hole("PIP_CONFIG_FILE makes pip read no configuration at all", "unset PIP_CONFIG_FILE"))
    for variable in _ELSEWHERE:
        value = place.env.get(variable, "")
        if value and value.rstrip("/") + "/" != _index(want):
            holes.append(Hole(f"{variable} is set, to {_short(value)}", f"unset {variable}"))
    return holes, closed


def _goes_past(section: str, key: str, value: str, later: bool, want: Want) -> bool:
    """Whether an option leads elsewhere when our index-url stands in `[global]` of the own file."""
    if key != "index-url":
        return bool(value)
    return bool(value) and value != _index(want) and (section != "global" or later)


def _hole(path: Path, section: str, key: str, value: str) -> Hole:
    where = f"{path}, [{section}]" if section != "global" else str(path)
    return Hole(f"{key} in {where}: {_short(value)}", f"take {key} out of {path}, or use --strict")


def _short(value: str) -> str:
    """Without what a URL may carry as a password."""
    words = [one.rpartition("@")[2] if "@" in one else one for one in value.split()]
    return safe(" ".join(words))[:120]


def _advice(place: Place, want: Want) -> list[str]:
    told = ["a requirements file may name an index of its own (--index-url, --extra-index-url): look for it"]
    if want.plain and not want.host.startswith(("127.", "localhost", "[::1]")):
        told.append("the way to the node is plain HTTP: use TLS (http.tls_cert), or requirements with hashes")
    if want.strict:
        told.append("what the node lacks does not install: pyrsia build request NAME asks for it")
    return told


def _now(place: Place, seen: Seen) -> Sequence[str]:
    found: dict[str, str] = {}
    for path in _reads(place):
        options = ini.read(text_of(path, seen), path).get("global", {})
        found.update({key: options[key] for key in ("index-url", *_BESIDE) if key in options})
    for variable, key in _ELSEWHERE.items():
        if place.env.get(variable):
            found[key] = place.env[variable]
    index = _short(found.get("index-url") or "https://pypi.org/simple")
    return [index, *(f"{key}: {_short(found[key])}" for key in _BESIDE if found.get(key))]


KIND: Final = Kind("pip", "pip", ("pip", "pip3"), _reads, _plan, _now)
