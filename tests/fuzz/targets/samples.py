"""One small log with its checkpoint, signatures and proof: what the seeds of several targets are made from."""

import base64
import hashlib

from pyrsia import keys
from pyrsia.log import checkpoint
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.units import TreeSize
from tests.reference import merkle

ORIGIN = "log.example/abcdefghijklmnop"
LEAVES = [b"leaf %d" % number for number in range(7)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]
HEAD = Checkpoint(ORIGIN, TreeSize(len(LEAVES)), merkle.root(HASHES))
TIME_S = 1_800_000_000
PAIRS = [
    (
        keys.KeyPair(hashlib.sha256(b"log %d" % i).digest()),
        keys.KeyPair(hashlib.sha256(b"co %d" % i).digest()),
    )
    for i in range(2)
]
KEYS = checkpoint.validator_keys(ORIGIN, [(log.public, cosign.public) for log, cosign in PAIRS])


def head_of(origin: str, size: int = len(LEAVES), root: bytes = HEAD.root) -> Checkpoint:
    return Checkpoint(origin, TreeSize(size), root)


def signed(head: Checkpoint) -> SignedNote:
    """By both validators, as the log and as cosigners."""
    lines = []
    for log, cosign in PAIRS:
        lines.append(checkpoint.log_line(head, log.sign, log.public))
        lines.append(checkpoint.cosign_line(head, cosign.sign, cosign.public, TIME_S))
    return SignedNote(head.text(), tuple(lines))


def b64(data: bytes) -> bytes:
    return base64.b64encode(data)


NOTE = signed(HEAD)
