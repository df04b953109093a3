"""Keys: one Ed25519 key for each purpose, each in a file of its own.

`node` signs envelopes and gives the CURVE key, `vote` signs consensus, `log` and `cosign` sign
checkpoints, `build` signs attestations; `chain` is the seed of the beacon's hash chain; `witness` cosigns the
logs of others, and is made only where a node is told to. A file holds
the 32-byte seed in lower-case hex and one newline, mode 0600. Losing `vote` or its votes.wal means a
new key, never the same one twice (docs/keys.md).

One verifier for everything that agreement depends on: libsodium through PyNaCl.
"""

import os
import secrets
from dataclasses import dataclass
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
WITNESS: Final = "witness"


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


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys of one node. `chain_seed` (32 bytes) grows the beacon's hash chain."""

    node: KeyPair
    vote: KeyPair
    log: KeyPair
    cosign: KeyPair
    build: KeyPair
    chain_seed: bytes

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
        return cls._of({purpose: _read_seed(folder / f"{purpose}.key") for purpose in PURPOSES})

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
        seeds = (self.node, self.vote, self.log, self.cosign, self.build)
        for purpose, pair in zip(PURPOSES, seeds, strict=False):
            _write_seed(folder / f"{purpose}.key", pair.seed)
        _write_seed(folder / "chain.key", self.chain_seed)
        sync_folder(folder)

    @classmethod
    def _of(cls, seeds: dict[str, bytes]) -> "KeyRing":
        node, vote, log, cosign, build = (KeyPair(seeds[purpose]) for purpose in PURPOSES[:5])
        return cls(node, vote, log, cosign, build, seeds["chain"])


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
