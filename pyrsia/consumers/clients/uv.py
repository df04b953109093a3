"""uv: the user's uv.toml names the node as the default index.

uv asks every other index before the default one, and a project's own files before the user's; so each further index is
a way past the node. The table `pip` of a file says for `uv pip` what the file says for the rest.

Source: uv's documentation, "Package indexes" and "Configuration files"; docs/setup.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit

from pyrsia.consumers import toml
from pyrsia.consumers.clients.pip import _short as short
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, text_of

_BESIDE: Final = ("extra-index-url", "find-links")
_VARIABLES: Final = (
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_NO_CONFIG",
    "UV_CONFIG_FILE",
    "UV_TORCH_BACKEND",
)
_DEFAULTS: Final = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")
_OF_PIP: Final = ("index-url", *_BESIDE, "index", "no-index", "torch-backend")
_NAME: Final = "pyrsia"


def _own(place: Place) -> Path:
    if place.file is not None:
        return place.file
    return place.root / "etc/uv/uv.toml" if place.system else place.config / "uv" / "uv.toml"


def _project(place: Place) -> tuple[Path, ...]:
    """Those of the folder, and of the folders above it: uv takes the nearest, and a workspace is further up."""
    folders = (place.cwd, *place.cwd.parents[:-1])
    return tuple(folder / name for folder in folders for name in ("uv.toml", "pyproject.toml"))


def _reads(place: Place) -> Sequence[Path]:
    user, system = place.config / "uv" / "uv.toml", place.root / "etc/uv/uv.toml"
    return tuple(dict.fromkeys((system, user, _own(place), *_project(place))))


def _settings(path: Path, seen: Seen) -> Mapping[str, Any]:
    """What uv reads of a file; of a project's pyproject.toml its own table."""
    found: Any = toml.read(text_of(path, seen), path)
    for name in ("tool", "uv") if path.name == "pyproject.toml" else ():
        found = found.get(name, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _indexes(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = settings.get("index", [])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _pip(settings: Mapping[str, Any], url: str) -> list[str]:
    """Keys of the table `pip` that lead past the node."""
    table = settings.get("pip", {})
    found = [key for key in _OF_PIP if table.get(key)] if isinstance(table, dict) else []
    return [key for key in found if not (key == "index-url" and table[key] == url)]


def _sources(settings: Mapping[str, Any]) -> list[str]:
    """Packages that a project takes from an address of their own, or from a named index."""
    table = settings.get("sources", {})
    rows = table.items() if isinstance(table, dict) else ()
    return [
        f"{short(str(name))} from {short(str(one[key]))}"
        for name, told in rows
        for one in (told if isinstance(told, list) else [told])
        for key in ("index", "url", "git")
        if isinstance(one, dict) and one.get(key)
    ]


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own, url = _own(place), f"{want.node}/pypi/simple/"
    text = text_of(own, seen)
    made, wanted = toml.document(text, own), toml.read(text, own)
    closed = [_told(own, one) for one in _indexes(wanted) if one.get("name") != _NAME]
    beside = [key for key in (*_BESIDE, "no-index") if wanted.get(key)]
    old = _indexes(wanted)
    entry = {"name": _NAME, "url": url, "default": True}
    ours = {**next((one for one in old if one.get("name") == _NAME), {}), **entry}
    theirs = [] if want.strict else [one for one in old if one.get("name") != _NAME]
    _set_indexes(made, wanted, [*({k: v for k, v in one.items() if k != "default"} for one in theirs), ours])
    for key in beside if want.strict else ():
        del made[key]
        del wanted[key]
        closed.append(f"{key} of {own}")
    for key in ("index-url",) if "index-url" in wanted else ():  # the older spelling of a default index
        del made[key]
        del wanted[key]
    for key in _pip(wanted, url) if want.strict else ():
        del made["pip"][key]
        del wanted["pip"][key]
        closed.append(f"{key} of the table pip of {own}")
    holes = _holes(place, seen, own, url, strict=want.strict)
    return Plan(
        (Edit(own, toml.finished(made, wanted, own).encode()),),
        tuple(holes),
        tuple(closed) if want.strict else (),
        ("`uv sync --frozen` goes to the addresses in uv.lock, past the node; `uv sync` writes them anew",),
    )


def _set_indexes(made: tomlkit.TOMLDocument, wanted: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Make the indexes be `rows`, the node's last: as the default one it is asked last anyway."""
    old = wanted.get("index", [])
    if old == rows:
        return
    wanted["index"] = rows
    if old and old == rows[:-1] and isinstance(made["index"], tomlkit.items.AoT):
        made["index"].append(_table(rows[-1]))
        return
    tables = tomlkit.aot()
    for one in rows:
        tables.append(_table(one))
    made.pop("index", None)
    made.append("index", tables)


def _table(fields: Mapping[str, Any]) -> tomlkit.items.Table:
    table = tomlkit.table()
    for key, value in fields.items():
        table.append(key, value)
    return table


def _told(path: Path, index: Mapping[str, Any]) -> str:
    return f"the index {short(str(index.get('name') or index.get('url', '')))} of {path}"


def _holes(place: Place, seen: Seen, own: Path, url: str, *, strict: bool) -> list[Hole]:
    holes = []
    for path in _reads(place):
        settings = _settings(path, seen)
        if path == own and strict:
            continue
        holes += [
            Hole(f"{_told(path, one)}: {short(str(one.get('url', '')))}", f"take it out of {path}")
            for one in _indexes(settings)
            if one.get("url") != url and not (one.get("name") == _NAME and path == own)
        ]
        told = [key for key in (*_BESIDE, "no-index") if settings.get(key)]
        if path in _project(place) and settings.get("index-url"):
            told.append("index-url")
        holes += [
            Hole(f"{key} in {path}: {short(str(settings[key]))}", f"take {key} out of {path}") for key in told
        ]
        holes += [
            Hole(f"{key} in the table pip of {path}: {short(str(settings['pip'][key]))}",
                 f"take {key} out of the table pip of {path}")
            for key in _pip(settings, url)
        ]  # fmt: skip
        holes += [
            Hole(f"sources in {path}: {one}", f"take it out of sources of {path}")
            for one in _sources(settings)
        ]
    for name in (*_VARIABLES, *_DEFAULTS):
        value = place.env.get(name, "")
        if value and not (name in _DEFAULTS and value.rstrip("/") == url.rstrip("/")):
            holes.append(Hole(f"{name} is set, to {short(value)}", f"unset {name}"))
    return holes


def _now(place: Place, seen: Seen) -> Sequence[str]:
    default, others = "https://pypi.org/simple", []
    for path in _reads(place):
        settings = _settings(path, seen)
        default = str(settings.get("index-url") or default)
        for one in _indexes(settings):
            if one.get("default"):
                default = str(one.get("url"))
            else:
                others.append(f"index {short(str(one.get('url')))}, asked before it")
    for name in _DEFAULTS:
        default = place.env.get(name) or default
    return [short(default), *others]


KIND: Final = Kind("uv", "pip", ("uv",), _reads, _plan, _now)
