"""Docker's daemon: the node among its registry mirrors, which is advice to it and no more.

dockerd asks its mirrors for images of Docker Hub and goes to Hub itself for whatever they do not give, a refusal
included. No configuration changes that, so `--strict` is refused; what enforces is an image's direct name at the node,
or containerd.

Source: Docker's documentation, "dockerd", `registry-mirrors`; docs/setup.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.consumers import jsons
from pyrsia.consumers.edits import Edit, Hole, Kind, Place, Plan, Seen, Want, broken, text_of
from pyrsia.wire.text import safe

_MIRRORS: Final = "registry-mirrors"
_PLAIN: Final = "insecure-registries"


def _own(place: Place) -> Path:
    if place.file is not None:
        return place.file
    rootless = place.config / "docker" / "daemon.json"
    return (
        rootless if "rootless" in place.env.get("DOCKER_HOST", "") else place.root / "etc/docker/daemon.json"
    )


def _reads(place: Place) -> Sequence[Path]:
    return (_own(place),)


def _list(settings: dict[str, Any], key: str, path: Path) -> list[str]:
    found = settings.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise broken(path, f"{key} is no list of texts")
    return found


def _plan(place: Place, seen: Seen, want: Want) -> Plan:
    own = _own(place)
    text = text_of(own, seen)
    settings = jsons.read(text, own)
    mirrors, plain = _list(settings, _MIRRORS, own), _list(settings, _PLAIN, own)
    others = [one for one in mirrors if one.rstrip("/") != want.node]
    made = {**settings, _MIRRORS: [want.node, *others]}
    if want.plain and want.host not in plain and not want.host.startswith(("127.", "localhost")):
        made[_PLAIN] = [*plain, want.host]
    holes = [
        Hole(
            "Docker goes to Docker Hub for what a mirror does not have or refuses",
            f"name images at the node, as in `docker pull {want.host}/library/NAME:TAG`, or use containerd",
        ),
        *(Hole(f"another mirror in {own}: {safe(one)[:200]}", f"take it out of {own}") for one in others),
    ]
    advice = (
        "restart the daemon to make it read this: sudo systemctl restart docker",
        f"what the node refuses comes from Docker Hub; `docker pull {want.host}/library/NAME:TAG` does not go there",
        "images of other registries than Docker Hub never ask a mirror",
    )
    return Plan((Edit(own, jsons.write(made, text).encode()),), tuple(holes), (), advice)


def _now(place: Place, seen: Seen) -> Sequence[str]:
    own = _own(place)
    mirrors = _list(jsons.read(text_of(own, seen), own), _MIRRORS, own)
    return [*(f"mirror {safe(one)[:200]}" for one in mirrors), "https://registry-1.docker.io"]


KIND: Final = Kind("docker", "oci", ("docker", "dockerd"), _reads, _plan, _now)
