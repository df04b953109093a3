"""Pinned networks: genesis documents byte for byte, each named by its SHA-256 (docs/keys.md, "Trust root").

A pin is one file `<digest>.genesis` below the trust folder; the digest in the name is checked at
every read. Nothing is believed that is not here, except a file that the caller names for one call.

Beside a pin stands `<digest>.head`, the newest cosigned checkpoint that was seen of that network: an older
one is no node's current head, and another root at its size is a fork, kept as `<digest>.fork`. What lies
between two sizes is not compared: that takes a consistency proof, which a proof file does not carry.

`<digest>.epochs` holds the steps from epoch to epoch that were seen, each behind its length in 4 bytes. They are
proven again at every use, so the file saves a download and is believed no more than one; what it adds is memory:
validators who have left are not believed again.
"""

import hashlib
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import platformdirs

from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.units import MAX_GENESIS_BYTES, MAX_NOTE_BYTES, Limit
from pyrsia.verify.epochs import Line
from pyrsia.verify.leaves import Verify

_LENGTH: Final = struct.Struct(">I")

MAX_EPOCHS_BYTES = Limit(
    32 << 20, "4,096 epochs of ten validators; of a larger network the rest is fetched again"
)
MAX_PINS = Limit(1_000, "networks that one user believes; a folder with more was filled by a mistake")


@dataclass(frozen=True, slots=True)
class Pin:
    """One believed network.

    Attributes:
        digest: 64 hex digits of SHA-256 over the genesis bytes.
        steps: to later epochs, as they are remembered; nothing is proven of them yet.
    """

    name: str
    digest: str
    path: Path
    genesis: Genesis
    steps: tuple[bytes, ...] = ()

    def line(self, verify: Verify) -> Line:
        """The epochs that are known of the network, each proven now."""
        return Line.of(self.genesis, self.steps, verify)


def read_genesis(path: Path) -> Pin:
    """The pin that the trust file at `path` stands for.

    Raises:
        Refusal: `not-found` or `bad-request`, with the path.
    """
    try:
        return pin_of(_read(path, MAX_GENESIS_BYTES.value), path)
    except OSError as error:
        raise Refusal(
            "not-found",
            what=f"the trust file cannot be read: {error.strerror}",
            who=str(path),
            do="name the genesis document of the network",
        ) from None


def pin_of(data: bytes, path: Path) -> Pin:
    """The pin that these genesis bytes, read at `path`, stand for.

    Raises:
        Refusal: `bad-request`.
    """
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
        """Every pin whose file still is what its name says; another network's damage hides none of them."""
        found = []
        for path in sorted(self.folder.glob("*.genesis"))[: MAX_PINS.value]:
            try:
                pin = read_genesis(path)
            except Refusal:
                continue
            if path.stem == pin.digest:
                found.append(replace(pin, steps=self._steps(pin)))
        return found

    def add(self, genesis: bytes) -> Pin:
        """Believe the network of `genesis` from now on."""
        pin = pin_of(genesis, self.folder / "new")
        path = self.folder / f"{pin.digest}.genesis"
        self._keep(path, genesis)
        return Pin(pin.name, pin.digest, path, pin.genesis, self._steps(pin))

    def remove(self, digest: str) -> Pin:
        for pin in self.all():
            if pin.digest == digest:
                pin.path.unlink()
                self._head(pin).unlink(missing_ok=True)
                self._epochs(pin).unlink(missing_ok=True)
                return pin
        raise Refusal(
            "not-found",
            what=f"no pinned network has the digest {digest}",
            who="your command",
            do="see them with `pyrsia trust list`",
        )

    # -- the newest head seen --------------------------------------------------------------------

    def newest(self, pin: Pin) -> Checkpoint | None:
        """The newest checkpoint seen of the network; None before the first."""
        try:
            note = _read(self._head(pin), MAX_NOTE_BYTES.value)
            return Checkpoint.parse(SignedNote.parse(note).text)
        except (OSError, Malformed):
            return None

    def saw(self, pin: Pin, note: bytes, checkpoint: Checkpoint, *, current: bool = False) -> None:
        """A quorum's signatures on `note`, which says `checkpoint`, were verified: compare and remember it.

        Args:
            current: a node gives it as its newest one, so that an older one will not do.

        Raises:
            Refusal: `proof-invalid` for a fork, `too-old` for an older head as the current one.
        """
        newest = self.newest(pin)
        if newest is not None and newest.size == checkpoint.size and newest.root != checkpoint.root:
            self._keep(self._head(pin).with_suffix(".fork"), note)
            raise Refusal(
                "proof-invalid",
                what=f"{pin.name} has two histories: quorums signed two roots at size {checkpoint.size}",
                who="more than f of its validators",
                do=f"believe neither; show its operators {self._head(pin)} and the .fork beside it",
            )
        if newest is None or checkpoint.size > newest.size:
            self._keep(self._head(pin), note)
        elif current and checkpoint.size < newest.size:
            raise Refusal(
                "too-old",
                what=f"the node's head is at {checkpoint.size}; one at {newest.size} was seen before",
                who="the node: it lags, or hides the newest entries",
                do="try again in a moment, or ask another node",
            )

    # -- the epochs seen ---------------------------------------------------------------------------

    def learn(self, pin: Pin, line: Line) -> None:
        """Remember the epochs that `line` knows, if those are more than are remembered."""
        if line.epoch <= len(self._steps(pin)):
            return
        kept, size = [], 0
        for step in line.steps:
            size += _LENGTH.size + len(step)
            if size > MAX_EPOCHS_BYTES.value:
                break
            kept += [_LENGTH.pack(len(step)), step]
        self._keep(self._epochs(pin), b"".join(kept))

    def _steps(self, pin: Pin) -> tuple[bytes, ...]:
        """As far as the file can be read; it is no more than a memory."""
        try:
            data = _read(self._epochs(pin), MAX_EPOCHS_BYTES.value)
        except OSError:
            return ()
        steps: list[bytes] = []
        at = 0
        while at + _LENGTH.size <= len(data):
            (size,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size + size
            if at > len(data):
                break
            steps.append(data[at - size : at])
        return tuple(steps)

    def _epochs(self, pin: Pin) -> Path:
        return self.folder / f"{pin.digest}.epochs"

    def _head(self, pin: Pin) -> Path:
        return self.folder / f"{pin.digest}.head"

    def _keep(self, path: Path, data: bytes) -> None:
        """Write `data` by rename, durable when this returns."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data)


def _read(path: Path, most: int) -> bytes:
    """At most one byte more than `most`, so that what is too long shows."""
    with path.open("rb") as file:
        return file.read(most + 1)
