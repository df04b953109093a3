"""podman, buildah and skopeo: a drop-in of ours for registries.conf that leads docker.io to the node.

Without `--strict` the node is a mirror: what it does not give comes from Docker Hub. With it the node is the location
of docker.io itself, and short names are looked for nowhere else.

Source: containers-registries.conf(5), containers-registries.conf.d(5); docs/setup.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers import toml
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, text_of
from pyrsia.wire.text import safe

_NAME: Final = "100-pyrsia.conf"  # later names win
_HEAD: Final = "# Written by `pyrsia setup podman`; `--undo` takes it back.\n"
_HUB: Final = "docker.io"


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
    return tuple(dict.fromkeys((*files, *([Path(named)] if named else []), _own(place))))


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    there = f'location = "{want.host}/{_HUB}"\n' + ("insecure = true\n" if want.plain else "")
    if want.strict:
        body = f'unqualified-search-registries = ["{_HUB}"]\n\n[[registry]]\nprefix = "{_HUB}"\n{there}'
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
        late = path.parent.name == "registries.conf.d" and path.name > own.name
        if others and (late or not strict):
            holes.append(Hole(f"short names are also looked for at {safe(', '.join(others))[:200]} ({path})",
                              f"take them out of {path}, or use --strict"))  # fmt: skip
        if late and _leads(settings):
            holes.append(
                Hole(f"{path} is read later and says where docker.io is", f"take docker.io out of {path}")
            )
    return holes


def _leads(settings: dict[str, Any]) -> bool:
    """Whether a file says something about docker.io."""
    found = settings.get("registry", [])
    rows = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return any(str(one.get("prefix") or one.get("location", "")).startswith(_HUB) for one in rows)


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
