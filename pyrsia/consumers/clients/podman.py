"""podman, buildah and skopeo: a drop-in of ours for registries.conf that leads docker.io to the node.

Without `--strict` the node is a mirror: what it does not give comes from Docker Hub. With it the node is the location
of docker.io itself, and short names are looked for nowhere else: aliases, which come before any search, are led to
docker.io by aliases of ours.

Source: containers-registries.conf(5), containers-registries.conf.d(5); docs/setup.md.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers import toml
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, text_of
from pyrsia.wire.text import safe

_NAME: Final = "100-pyrsia.conf"  # later names win
_HEAD: Final = "# Written by `pyrsia setup podman`; `--undo` takes it back.\n"
_HUB: Final = "docker.io"
_ALIAS: Final = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")


def _folder(place: Place) -> Path:
    return place.root / "etc/containers" if place.system else place.config / "containers"


def _own(place: Place) -> Path:
    return place.file if place.file is not None else _folder(place) / "registries.conf.d" / _NAME


def _reads(place: Place) -> Sequence[Path]:
    """In the order in which they are read; the user's registries.conf hides the system's, drop-ins add up."""
    system, user = place.root / "etc/containers", place.config / "containers"
    named = place.env.get("CONTAINERS_REGISTRIES_CONF", "")
    files = [system / "registries.conf", system / "registries.conf.d" / "*.conf", user / "registries.conf",
             user / "registries.conf.d" / "*.conf"]  # fmt: skip
    return tuple(dict.fromkeys((*files, *([Path(named)] if named else []), _own(place), *_chosen(place))))


def _chosen(place: Place) -> tuple[Path, ...]:
    """Where podman notes which registry its user chose for a short name; it goes before all aliases."""
    name = "containers/short-name-aliases.conf"
    return (place.root / "var/cache" / name, place.folder("XDG_CACHE_HOME", ".cache") / name)


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    there = f'location = "{want.host}/{_HUB}"\n' + ("insecure = true\n" if want.plain else "")
    if want.strict:
        body = f'unqualified-search-registries = ["{_HUB}"]\n\n[[registry]]\nprefix = "{_HUB}"\n{there}'
        body += _led_back(place, seen)
    else:
        body = f'[[registry]]\nprefix = "{_HUB}"\nlocation = "{_HUB}"\n\n[[registry.mirror]]\n{there}'
    toml.read(body, own)
    holes = _holes(place, seen, own, strict=want.strict)
    if not want.strict:
        holes.insert(0, Hole("what the node does not have or refuses comes from docker.io", "use --strict"))
    told = ("the fall-through to docker.io",) if want.strict else ()
    advice = ["images that name another registry, as quay.io/..., do not come through the node"]
    return Plan((Edit(own, (_HEAD + body).encode()),), tuple(holes), told, tuple(advice))


def _holes(place: Place, seen: Seen, own: Path, *, strict: bool) -> list[Hole]:
    holes = []
    if place.env.get("CONTAINERS_REGISTRIES_CONF"):
        named = place.env["CONTAINERS_REGISTRIES_CONF"]
        holes.append(Hole(f"CONTAINERS_REGISTRIES_CONF leads to {safe(named)[:200]}, which hides all others",
                          "unset CONTAINERS_REGISTRIES_CONF"))  # fmt: skip
    for path in seen:
        settings = toml.read(text_of(path, seen), path)
        if path == own:
            continue
        search = settings.get("unqualified-search-registries", [])
        others = [str(one) for one in search if one != _HUB] if isinstance(search, list) else []
        late = _late(place, path, own)
        if others and (late or not strict):
            holes.append(Hole(f"short names are also looked for at {safe(', '.join(others))[:200]} ({path})",
                              f"take them out of {path}, or use --strict"))  # fmt: skip
        aliases = _aliases(settings)
        if not strict or late or path in _chosen(place):
            closed_by = f"take them out of {path}" if late or path in _chosen(place) else "use --strict"
        else:
            aliases = {name: one for name, one in aliases.items() if not _ALIAS.fullmatch(name)}
            closed_by = f"take them out of {path}"
        if aliases:
            names = safe(", ".join(list(aliases)[:5]))[:200]
            holes.append(Hole(f"{len(aliases)} short names lead elsewhere, as {names} ({path})", closed_by))
        if late and _leads(settings):
            holes.append(
                Hole(f"{path} is read later and says where docker.io is", f"take docker.io out of {path}")
            )
        elif _leads(settings, below=True):
            holes.append(Hole(f"{path} says where a part of docker.io is, which counts more than ours",
                              f"take docker.io out of {path}"))  # fmt: skip
    return holes


def _late(place: Place, path: Path, own: Path) -> bool:
    """Whether a drop-in is read after ours: first the system's by name, then the user's."""
    if path.parent.name != "registries.conf.d":
        return False
    folders = [
        place.root / "etc/containers" / path.parent.name,
        place.config / "containers" / path.parent.name,
    ]
    if own.parent in folders and path.parent in folders and own.parent != path.parent:
        return path.parent == folders[1]
    return path.name > own.name


def _aliases(settings: dict[str, Any]) -> dict[str, str]:
    """Short names that lead to another registry than docker.io."""
    found = settings.get("aliases", {})
    rows = found.items() if isinstance(found, dict) else ()
    return {str(name): str(one) for name, one in rows if one and not str(one).startswith(f"{_HUB}/")}


def _led_back(place: Place, seen: Seen) -> str:
    """Aliases of ours for those that lead elsewhere: names are as Docker Hub spells them."""
    own, names = _own(place), set[str]()
    for path in seen:
        if path != own:
            names |= _aliases(toml.read(text_of(path, seen), path)).keys()
    good = sorted(one for one in names if _ALIAS.fullmatch(one))
    lines = [f'"{one}" = "{_HUB}/{one if "/" in one else f"library/{one}"}"\n' for one in good]
    return "".join(["\n[aliases]\n", *lines]) if lines else ""


def _leads(settings: dict[str, Any], *, below: bool = False) -> bool:
    """Whether a file says something about docker.io; `below`: about a part of it, as docker.io/library."""
    found = settings.get("registry", [])
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    start = f"{_HUB}/" if below else _HUB
    return any(str(one.get("prefix") or one.get("location", "")).startswith(start) for one in rows)


def _now(place: Place, seen: Seen) -> Sequence[str]:
    rows: list[str] = []
    for path in seen:
        found = toml.read(text_of(path, seen), path).get("registry", [])
        for one in found if isinstance(found, list) else []:
            if not isinstance(one, dict) or (one.get("prefix") or one.get("location")) != _HUB:
                continue
            mirrors = [mirror for mirror in one.get("mirror", []) if isinstance(mirror, dict)]
            rows = [f"docker.io: first {safe(str(mirror.get('location')))[:200]}" for mirror in mirrors]
            rows.append(f"docker.io: {safe(str(one.get('location', _HUB)))[:200]}")
    return rows or [f"docker.io: {_HUB}"]


KIND: Final = Kind("podman", "oci", ("podman", "buildah", "skopeo"), _reads, _plan, _now)
