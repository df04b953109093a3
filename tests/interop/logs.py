"""Logs to hand to strangers' checkers, exported by the code of `pyrsia log export`."""

from pathlib import Path

from pyrsia.audit.copying import Copy
from pyrsia.audit.heads import NamedKeys, Quorum, Rule
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.sources import Source
from pyrsia.audit.stopped import StoppedNode
from pyrsia.keys import KeyPair
from pyrsia.log import checkpoint, tree
from pyrsia.log.checkpoint import Checkpoint, cosign_key, log_key
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import LeafIndex, TreeSize
from tests.e2e.crash.appender import before
from tests.e2e.crash.script import BLOCKS_BEFORE, Script
from tests.unit.log.logs import Log, numbered

ORIGIN = "log.example/interop"
LOG = KeyPair(b"i" * 32)
COSIGNER = KeyPair(b"c" * 32)
VKEY = str(log_key(ORIGIN, LOG.public))
COSIGNER_VKEY = str(cosign_key(ORIGIN, COSIGNER.public))
TIME_S = 1_800_000_000


class InMemory(Source):
    """A log of numbered entries, signed and cosigned."""

    name = "memory"
    lanes = 1

    def __init__(self, size: int) -> None:
        self.log = Log(numbered(size))
        self.head = Checkpoint(ORIGIN, TreeSize(size), self.log.frontier.root())

    def checkpoint(self) -> bytes:
        lines = (
            checkpoint.log_line(self.head, LOG.sign, LOG.public),
            checkpoint.cosign_line(self.head, COSIGNER.sign, COSIGNER.public, TIME_S),
        )
        return SignedNote(self.head.text(), lines).encode()

    def tile(self, tile: Tile) -> bytes:
        return self.log.tiles[tile.level, tile.index][: 32 * tile.width]

    def bundle(self, bundle: Bundle) -> bytes:
        return self.log.bundle(bundle)

    def genesis(self) -> None:
        return None

    def epoch(self, number: int) -> None:
        return None

    def close(self) -> None:
        pass

    def proof(self, index: int) -> bytes:
        """The `.tlog-proof` file of a leaf."""
        hashes = tree.inclusion_proof(LeafIndex(index), self.head.size, self.log.nodes())
        return TlogProof(None, LeafIndex(index), tuple(hashes), self.checkpoint()).encode()


def export(source: Source, rule: Rule, folder: Path) -> Path:
    keeper = Keeper(folder)
    try:
        Copy(source, rule, keeper, lambda done, of: None).round()
    finally:
        keeper.close()
    return folder


def of_size(size: int, folder: Path) -> InMemory:
    """Export a log of `size` entries, with the proofs of its first, middle and last one beside it."""
    source = InMemory(size)
    export(source, NamedKeys((log_key(ORIGIN, LOG.public),)), folder)
    for index in {0, size // 2, size - 1}:
        (folder / f"{index}.tlog-proof").write_bytes(source.proof(index))
    return source


def of_a_node(folder: Path, data: Path) -> tuple[str, int]:
    """Export what a node keeps in RocksDB at `data`; (verifier key of its first validator's log key, size)."""
    script = Script()
    before(script, data)
    source = StoppedNode.open(data)
    try:
        export(source, Quorum(script.genesis), folder)
    finally:
        source.close()
    validator = script.genesis.validators[0]
    return str(log_key(script.genesis.origin, validator.log)), script.steps[BLOCKS_BEFORE].size
