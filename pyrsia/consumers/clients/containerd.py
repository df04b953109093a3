"""containerd: hosts.toml files that ask the node first, or only the node.

Without `--strict` the node is asked before Docker Hub for images of docker.io. With it the node is the server of
every registry, and nothing is asked behind it: what files of other registries say is taken out.

Source: containerd's own page on registry hosts; docs/setup.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomlkit

from pyrsia.consumers import toml
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, broken, text_of
from pyrsia.wire.text import safe

_HUB: Final = "https://registry-1.docker.io"
_CRI: Final = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images")
_HEAD: Final = "# Written by `pyrsia setup containerd`; `--undo` takes it back.\n"


def _folder(place: Place) -> Path:
    return place.file if place.file is not None else place.root / "etc/containerd/certs.d"


def _config(place: Place) -> Path:
    return place.root / "etc/containerd/config.toml"


def _hub(place: Place) -> Path:
    return _folder(place) / "docker.io" / "hosts.toml"


def _reads(place: Place) -> Sequence[Path]:
    return (_folder(place) / "*" / "hosts.toml", _config(place))


def _hosts(text: str, path: Path) -> dict[str, Any]:
    found = toml.read(text, path).get("host", {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise broken(path, "host is no table of hosts")
    return found


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    hub, default = _hub(place), _folder(place) / "_default" / "hosts.toml"
    text = text_of(hub, seen)
    others = [one for one in _hosts(text, hub) if one != want.node]
    holes = _config_holes(place, seen)
    elsewhere = [path for path in seen if path.name == "hosts.toml" and path not in (hub, default)]
    if want.strict:
        only = (_HEAD + _only(want)).encode()
        told = [f"the host {safe(one)[:200]} of {hub}" for one in others]
        told += [f"the hosts of {path}" for path in elsewhere]
        edits = tuple(Edit(path, only) for path in (hub, default, *elsewhere))
        return Plan(edits, tuple(holes), (*told, "the fall-through to Docker Hub"), _advice(place, want))
    for path in elsewhere:
        told_of = f"{path} says where images of {safe(path.parent.name)[:80]} come from"
        holes.append(Hole(told_of, "use --strict"))
    server = safe(str(toml.read(text, hub).get("server", _HUB)))[:200]
    if server.rstrip("/") != want.node:
        holes.insert(
            0, Hole(f"{hub}: what the node does not have or refuses comes from {server}", "use --strict")
        )
    holes += [Hole(f"{hub}: another host, {safe(one)[:200]}", "use --strict") for one in others]
    return Plan((Edit(hub, _first(text, hub, want).encode()),), tuple(holes), (), _advice(place, want))


def _only(want: Want) -> str:
    return f'server = "{want.node}"\n\n[host."{want.node}"]\n  capabilities = ["pull", "resolve"]\n'


def _first(text: str, path: Path, want: Want) -> str:
    """The file with the node before every other host; they are asked in the order of the file."""
    if not text.strip():
        return f'{_HEAD}server = "{_HUB}"\n\n[host."{want.node}"]\n  capabilities = ["pull", "resolve"]\n'
    hosts = _hosts(text, path)
    if hosts and next(iter(hosts)) == want.node:
        return text
    made, wanted = toml.document(text, path), toml.read(text, path)
    ours: dict[str, Any] = {"capabilities": ["pull", "resolve"]}
    rows = tomlkit.table(is_super_table=True)
    old: Any = made.get("host", {})
    rows.append(want.node, ours)
    for name in [one for one in old if one != want.node]:
        rows.append(name, old[name])
    made.pop("host", None)
    made.append("host", rows)
    wanted["host"] = {want.node: ours, **{name: one for name, one in hosts.items() if name != want.node}}
    return toml.finished(made, wanted, path)


def _config_holes(place: Place, seen: Seen) -> list[Hole]:
    """What makes Kubernetes' part of containerd read no hosts.toml, or others."""
    path = _config(place)
    text = text_of(path, seen)
    settings = toml.read(text, path)
    if path in seen and "registry.mirrors" in text:
        return [
            Hole(
                f"{path} names mirrors of its own, which replace hosts.toml",
                f"take registry.mirrors out of {path}",
            )
        ]
    if path in seen and not _read_by_kubernetes(settings, _folder(place)):
        return [
            Hole(
                f"{path} has no config_path that names {_folder(place)}: Kubernetes asks Docker Hub itself",
                f'say config_path = "{_folder(place)}" in the registry table of {path}, or disable cri',
            )
        ]
    return []


def _read_by_kubernetes(settings: Mapping[str, Any], folder: Path) -> bool:
    """Whether the plug-in that Kubernetes asks reads our folder, or does not run.

    Before version 3 of the file, containerd reads none unless it is told; since then it reads certs.d by itself.
    """
    off = settings.get("disabled_plugins", [])
    if isinstance(off, list) and any(str(one).rpartition(".")[2] == "cri" or one in _CRI for one in off):
        return True
    plugins = settings.get("plugins", {})
    told: list[str] = []
    for name in ("cri", *_CRI):
        found: Any = plugins.get(name, {}) if isinstance(plugins, dict) else {}
        for key in ("registry", "config_path"):
            found = found.get(key) if isinstance(found, dict) else None
        if found is not None:
            told.append(str(found))
    if not told:
        version = settings.get("version", 1)
        return isinstance(version, int) and version >= 3
    return all(str(folder) in one.split(":") for one in told)


def _advice(place: Place, want: Want) -> tuple[str, ...]:
    folder = _folder(place)
    return (
        f'Kubernetes reads it where config.toml says config_path = "{folder}"; no restart is needed',
        f"ctr reads it when told: ctr images pull --hosts-dir {folder} docker.io/library/NAME:TAG",
        "nerdctl reads it by itself",
    )


def _now(place: Place, seen: Seen) -> Sequence[str]:
    hub = _hub(place)
    text = text_of(hub, seen)
    server = str(toml.read(text, hub).get("server", _HUB))
    hosts = [one for one in _hosts(text, hub) if one != server]
    return [*(f"docker.io: first {safe(one)[:200]}" for one in hosts), f"docker.io: {safe(server)[:200]}"]


KIND: Final = Kind("containerd", "oci", ("containerd", "ctr", "nerdctl"), _reads, _plan, _now)
