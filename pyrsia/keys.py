"""Keys: one Ed25519 key for each purpose, each in a file of its own.

`node` signs envelopes and gives the CURVE key, `vote` signs consensus, `log` and `cosign` sign
checkpoints, `build` signs attestations; `chain` is the seed of the beacon's hash chain; `witness` cosigns the
logs of others, and is made only where a node is told to. A file holds
the 32-byte seed in lower-case hex and one newline, mode 0600. Losing `vote` or its votes.wal means a
new key, never the same one twice (docs/keys.md).

A key is rotated in two steps: the new one is made beside the old, in `next/`, and once the network has agreed on
it and needs the old one no more, it takes its place and the old one is gone.

One verifier for everything that agreement depends on: libsodium through PyNaCl.
"""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError, CryptoError

from pyrsia.errors import Refusal
from pyrsia.files import sync_folder
from pyrsia.units import NodeId

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = crypto_sign_BYTES
PURPOSES: Final = ("node", "vote", "log", "cosign", "build", "chain")
# Keys that a member may change; another node key is another node.
ROTATED: Final[tuple[str, ...]] = PURPOSES[1:]
CHAIN: Final = "chain"
WITNESS: Final = "witness"
NEXT: Final = "next"  # the folder of keys that the network has not agreed on yet


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) of `message` is `public`'s (32 bytes). Wrong lengths are a no."""
    if len(public) != SEED_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except (BadSignatureError, CryptoError, ValueError):
        return False
    return True


class KeyPair:
    """An Ed25519 key pair made from its 32-byte seed. Its text form never shows the secret."""

    __slots__ = ("_secret", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed is {SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> "KeyPair":
        return cls(secrets.token_bytes(SEED_BYTES))

    def sign(self, message: bytes) -> bytes:
        """The 64-byte detached signature; the same message always gives the same bytes."""
        return bytes(crypto_sign(message, self._secret)[:SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"KeyPair({self.public.hex()[:8]}...)"


@dataclass(slots=True)
class KeyRing:
    """All keys of one node. `chain_seed` (32 bytes) grows the beacon's hash chain.

    Attributes:
        coming: purpose -> the key that will follow the present one; for `chain` its seed is what counts.
    """

    node: KeyPair
    vote: KeyPair
    log: KeyPair
    cosign: KeyPair
    build: KeyPair
    chain_seed: bytes
    coming: dict[str, KeyPair] = field(default_factory=dict)

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.node.public)

    @classmethod
    def generate(cls) -> "KeyRing":
        return cls._of({purpose: secrets.token_bytes(SEED_BYTES) for purpose in PURPOSES})

    @classmethod
    def load(cls, folder: Path) -> "KeyRing":
        """Read every key below `folder`.

        Raises:
            Refusal: `data-damaged` when a file is missing or not a seed, with its path.
        """
        ring = cls._of({purpose: _read_seed(folder / f"{purpose}.key") for purpose in PURPOSES})
        found = ((purpose, load_key(folder / NEXT, purpose)) for purpose in ROTATED)
        ring.coming = {purpose: pair for purpose, pair in found if pair is not None}
        return ring

    @classmethod
    def load_or_create(cls, folder: Path) -> "KeyRing":
        """The keys below `folder`; all of them made now when the folder holds none."""
        if not any((folder / f"{purpose}.key").exists() for purpose in PURPOSES):
            ring = cls.generate()
            ring.save(folder)
            return ring
        return cls.load(folder)

    def save(self, folder: Path) -> None:
        """Write every key file, mode 0600 from its first byte; an existing file is never replaced."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for purpose in PURPOSES:
            _write_seed(folder / f"{purpose}.key", self._seed(purpose))
        sync_folder(folder)

    def find(self, purpose: str, public: bytes) -> KeyPair | None:
        """The key for `purpose` (not `chain`) with this public half, the present one or the one to come."""
        for pair in (getattr(self, purpose), self.coming.get(purpose)):
            if pair is not None and pair.public == public:
                found: KeyPair = pair
                return found
        return None

    def prepare(self, folder: Path, purpose: str) -> KeyPair:
        """The key that will follow, made now and durable when this returns, unless there is one already."""
        there = self.coming.get(purpose)
        if there is not None:
            return there
        (folder / NEXT).mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder)
        pair = KeyPair.generate()
        keep_key(folder / NEXT, purpose, pair)
        self.coming[purpose] = pair
        return pair

    def discard(self, folder: Path, purpose: str) -> None:
        """Forget the key to come."""
        self.coming.pop(purpose, None)
        (folder / NEXT / f"{purpose}.key").unlink(missing_ok=True)

    def promote(self, folder: Path, purpose: str) -> None:
        """The key to come takes the place of the present one, whose secret is gone when this returns."""
        pair = self.coming[purpose]
        (folder / NEXT / f"{purpose}.key").rename(folder / f"{purpose}.key")
        sync_folder(folder)
        sync_folder(folder / NEXT)
        del self.coming[purpose]
        if purpose == CHAIN:
            self.chain_seed = pair.seed
        else:
            setattr(self, purpose, pair)

    def _seed(self, purpose: str) -> bytes:
        if purpose == CHAIN:
            return self.chain_seed
        pair: KeyPair = getattr(self, purpose)
        return pair.seed

    @classmethod
    def _of(cls, seeds: dict[str, bytes]) -> "KeyRing":
        node, vote, log, cosign, build = (KeyPair(seeds[purpose]) for purpose in PURPOSES[:5])
        return cls(node, vote, log, cosign, build, seeds[CHAIN])


def load_key(folder: Path, purpose: str) -> KeyPair | None:
    """The one key for `purpose`, None if there is no such file.

    Raises:
        Refusal: `data-damaged` when the file is not a seed.
    """
    path = folder / f"{purpose}.key"
    return KeyPair(_read_seed(path)) if path.exists() else None


def keep_key(folder: Path, purpose: str, pair: KeyPair) -> None:
    """Write one key, durable when this returns; an existing file is never replaced."""
    _write_seed(folder / f"{purpose}.key", pair.seed)
    sync_folder(folder)


def _write_seed(path: Path, seed: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(seed.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read_seed(path: Path) -> bytes:
    try:
        seed = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except ValueError:
        raise _damaged(path, "is not a key") from None
    if len(seed) != SEED_BYTES:
        raise _damaged(path, "is not a key")
    return seed


def _damaged(path: Path, how: str) -> Refusal:
    return Refusal(
        "data-damaged",
        what=f"the key file {path} {how}",
        who="this machine's disk or whoever changed the folder",
        do="restore the file from your backup; never copy keys from a node that still runs",
    )
