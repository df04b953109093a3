"""Before the story: what isolation this machine gives, what will be built, and from which index."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import survey
from pyrsia.demo import sample
from pyrsia.demo.teller import Teller
from pyrsia.errors import Refusal
from pyrsia.wire.purl import pypi_name

ONLINE: Final = ("idna==3.10",)
# Built after the others, with the villain armed: the first of these that nobody asked for.
DISSENT: Final = ("packaging==24.2", "idna==3.10", "six==1.16.0")
EXAMPLE: Final = "certifi==2024.8.30"


@dataclass(frozen=True, slots=True)
class Ready:
    """What the network is founded with. `packages` and `dissent` are `name==version`."""

    isolation: str
    environment: str
    packages: tuple[str, ...]
    dissent: str
    example: str  # one more that can be asked for afterwards
    offline: bool

    def fill(self, folder: Path) -> dict[str, str]:
        """What the nodes' environment needs; offline, the sample index is packed below `folder`."""
        if not self.offline:
            return {}
        url = sample.write_index(folder / "index")
        return {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": url, "PIP_EXTRA_INDEX_URL": ""}


def prepare(packages: Sequence[str], *, offline: bool, tell: Teller) -> Ready:
    """Try this machine's sandboxes and choose what to build.

    Raises:
        Refusal: `no-sandbox`, or `usage` for packages that --offline has no source of.
    """
    found = trio.run(survey)
    if not found.isolation:
        told = "; ".join(f"{name}: {what}" for name, what in found.facts)
        raise Refusal(
            "no-sandbox",
            what=f"nothing can be built here: this machine has no sandbox ({told})",
            who="this machine",
            do=found.advice or "run it on Linux 5.13 or newer",
        )
    if found.isolation == "confined":
        tell.say("NOTE: builds run `confined` here: this machine refuses namespaces to this user.")
        tell.say(f"      The demo's network accepts that. For stronger isolation: {found.advice}")
    if offline and packages:
        raise Refusal(
            "usage",
            what="--offline builds the sample package, and --package names another",
            who="your command",
            do="leave one of them out",
        )
    chosen = tuple(packages) or ONLINE
    if offline:
        one, altered, example = map("==".join, (sample.DEFAULT, sample.DISSENT, sample.EXAMPLE))
        return Ready(found.isolation, host.environment(), (one,), altered, example, offline)
    names = {_name(package) for package in chosen}
    dissent = next(one for one in DISSENT if _name(one) not in names)
    return Ready(found.isolation, host.environment(), chosen, dissent, EXAMPLE, offline)


def _name(package: str) -> str:
    return pypi_name(package.partition("==")[0].strip())
