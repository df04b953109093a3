"""One small log with its checkpoint, signatures and proof: what the seeds of several targets are made from."""

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
NOTE = SignedNote(
    HEAD.text(),
    tuple(
        line
        for log, cosign in PAIRS
        for line in (
            checkpoint.log_line(HEAD, log.sign, log.public),
            checkpoint.cosign_line(HEAD, cosign.sign, cosign.public, TIME_S),
        )
    ),
)
