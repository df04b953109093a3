"""Pinned networks: genesis documents byte for byte, each named by its SHA-256 (DESIGN 3, trust root).

A pin is one file `<digest>.genesis` below the trust folder; the digest in the name is checked at
every read. Nothing is believed that is not here, except a file that the caller names for one call.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.units import Limit

MAX_GENESIS_BYTES = Limit(60_000, "genesis is an entry of the log, and entries end here")


@dataclass(frozen=True, slots=True)
class Pin:
    """One believed network. `digest` is 64 hex digits of SHA-256 over the genesis bytes."""

    name: str
    digest: str
    path: Path
    genesis: Genesis


def read_genesis(path: Path) -> Pin:
    """The pin that the trust file at `path` stands for.

    Raises:
        Refusal: `not-found` or `bad-request`, with the path.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_GENESIS_BYTES.value + 1)
    except OSError as error:
        raise Refusal(
            "not-found",
            what=f"the trust file cannot be read: {error.strerror}",
            who=str(path),
            do="name the genesis document of the network",
        ) from None
    return _pin(data, path)


def _pin(data: bytes, path: Path) -> Pin:
    try:
        genesis = Genesis.parse(data)
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"this is not the genesis of a Pyrsia network: {error}",
            who=str(path),
            do="fetch it again from a node: <node>/log/genesis",
        ) from None
    return Pin(genesis.name, hashlib.sha256(data).hexdigest(), path, genesis)


class Pins:
    """The networks that one user believes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls) -> "Pins":
        """`PYRSIA_TRUST` when set, else the user's configuration folder."""
        named = os.environ.get("PYRSIA_TRUST")
        return cls(
            Path(named) if named else Path(platformdirs.user_config_dir("pyrsia", appauthor=False)) / "trust"
        )

    def all(self) -> list[Pin]:
        """Every pin whose file still is what its name says."""
        found = [read_genesis(path) for path in sorted(self.folder.glob("*.genesis"))]
        return [pin for pin in found if pin.path.stem == pin.digest]

    def add(self, genesis: bytes) -> Pin:
        """Believe the network of `genesis` from now on."""
        pin = _pin(genesis, self.folder / "new")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{pin.digest}.genesis"
        temporary = path.with_suffix(".new")
        temporary.write_bytes(genesis)
        temporary.rename(path)
        return Pin(pin.name, pin.digest, path, pin.genesis)

    def remove(self, digest: str) -> Pin:
        for pin in self.all():
            if pin.digest == digest:
                pin.path.unlink()
                return pin
        raise Refusal(
            "not-found",
            what=f"no pinned network has the digest {digest}",
            who="your command",
            do="see them with `pyrsia trust list`",
        )
