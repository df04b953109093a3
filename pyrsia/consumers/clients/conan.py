"""Conan 2: the node is the first remote, or the only one that is enabled.

Conan asks its remotes in order and goes on to the next for what one does not give; so every other enabled remote is a
way past the node. `--strict` disables them, as `conan remote disable` would.

Source: Conan 2, `conan/api/subapi/remotes.py`; docs/setup.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers import jsons
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, broken, text_of
from pyrsia.wire.text import safe

_NAME: Final = "pyrsia"
# What Conan itself writes when it has no remotes.
_CENTER: Final = {"name": "conancenter", "url": "https://center2.conan.io", "verify_ssl": True}


def _own(place: Place) -> Path:
    return place.file if place.file is not None else place.folder("CONAN_HOME", ".conan2") / "remotes.json"


def _reads(place: Place) -> Sequence[Path]:
    return (_own(place),)


def _remotes(path: Path, seen: Seen) -> list[dict[str, Any]]:
    if path not in seen:
        return [dict(_CENTER)]
    found = jsons.read(text_of(path, seen), path).get("remotes", [])
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not isinstance(found, list) or len(rows) != len(found):
        raise broken(path, "remotes is no list of remotes")
    if not all(isinstance(one.get("name"), str) and isinstance(one.get("url"), str) for one in rows):
        raise broken(path, "a remote has no name or no url")
    return rows


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    text = text_of(own, seen)
    old = next((one for one in _remotes(own, seen) if one["name"] == _NAME), {})
    ours = {**old, "name": _NAME, "url": f"{want.node}/conan", "verify_ssl": True}
    ours.pop("disabled", None)
    ours.pop("allowed_packages", None)  # a node has one answer for every name
    others = [one for one in _remotes(own, seen) if one["name"] != _NAME]
    doubled = [one for one in others if one["url"].rstrip("/") == ours["url"]]
    open_ones = [one for one in others if not one.get("disabled") and one not in doubled]
    rest = [
        {**one, "disabled": True} if want.strict and one in open_ones else one
        for one in others
        if one not in doubled
    ]
    made = {**(jsons.read(text, own) if text else {}), "remotes": [ours, *rest]}
    told = [f"the remote {safe(one['name'])[:80]}, {safe(one['url'])[:200]}" for one in open_ones]
    advice = (
        f"if the node asks for a token: conan remote login {_NAME} NAME -p TOKEN",
        "a recipe that is built here fetches its sources from wherever it says: --build=never keeps to packages",
    )
    return Plan(
        (Edit(own, jsons.write(made, text).encode()),),
        ()
        if want.strict
        else tuple(Hole(f"{one} is asked for what the node lacks", "use --strict") for one in told),
        tuple(told) if want.strict else (),
        advice,
    )


def _now(place: Place, seen: Seen) -> Sequence[str]:
    rows = [one for one in _remotes(_own(place), seen) if not one.get("disabled")]
    return [f"{safe(one['name'])[:80]}: {safe(one['url'])[:200]}" for one in rows] or ["no remote is enabled"]


KIND: Final = Kind("conan", "conan", ("conan",), _reads, _plan, _now)
