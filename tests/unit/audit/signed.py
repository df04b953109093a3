"""A log that grows in memory, signed by the validators of a world, and a source that can lie about it."""

from pyrsia.audit.heads import Head, Quorum
from pyrsia.errors import Unavailable
from pyrsia.log import checkpoint, tiles
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.tiles import Bundle, Tile
from tests.reference.ledger import START, World, key
from tests.unit.log.logs import Log

TIME_S = START // 1000


def signed(world, size, root, time_s=TIME_S, signers=3):
    """The note that `signers` validators of its epoch sign for this head."""
    head = Checkpoint(world.genesis.origin, size, root)
    if hasattr(world, "reigns"):
        return world.cosigned(head, signers=signers, time_s=time_s)
    lines = []
    for i in range(signers):
        log, cosign = key(i, "log"), key(i, "cosign")
        lines.append(checkpoint.log_line(head, log.sign, log.public))
        lines.append(checkpoint.cosign_line(head, cosign.sign, cosign.public, time_s))
    return SignedNote(head.text(), tuple(lines)).encode()


class SignedLog(Log):
    """A source: what an honest copy of the log gives. `down`: why nobody answers; `forge`: path -> bytes."""

    name, lanes = "memory", 1

    def __init__(self, entries=(), world=None):
        self.world = world or World()
        self.time_s = TIME_S
        self.steps = []  # between epochs
        self.down, self.forge, self.asked = None, {}, []
        super().__init__(entries)

    def append(self, entries):
        super().append(list(entries))
        self.note = signed(self.world, self.frontier.size, self.frontier.root(), self.time_s)

    def cosign(self, time_s):
        """The same head anew."""
        self.time_s = time_s
        self.append([])

    @property
    def rule(self):
        return Quorum(self.world.genesis)

    def head(self, time_s=None) -> Head:
        note = (
            self.note
            if time_s is None
            else signed(self.world, self.frontier.size, self.frontier.root(), time_s)
        )
        return self.rule.read(note)

    def follow(self):
        """The log as the world has it now."""
        self.append(self.world.leaves[len(self.entries) :])
        self.steps = list(getattr(self.world, "steps", ()))
        return self

    # -- the source --

    def checkpoint(self):
        return self._give("checkpoint", self.note)

    def tile(self, tile: Tile):
        return self._give(tile.path, self.tiles.get((tile.level, tile.index), b"")[: 32 * tile.width])

    def bundle(self, bundle: Bundle):
        return self._give(bundle.path, super().bundle(bundle))

    def genesis(self):
        return self._give("genesis", self.world.genesis.raw)

    def epoch(self, number):
        honest = self.steps[number] if number < len(self.steps) else None
        return self._give(f"epochs/{number}", honest)

    def close(self):
        pass

    def _give(self, path, honest):
        self.asked.append(path)
        if self.down:
            raise Unavailable(self.down)
        return self.forge.get(path, honest)

    def every(self):
        """(path, bytes) of every tile and bundle of the present size."""
        size = self.frontier.size
        for tile in tiles.tiles_of(size):
            yield tile.path, self.tiles[tile.level, tile.index][: 32 * tile.width]
            if tile.level == 0:
                bundle = Bundle(tile.index, tile.width)
                yield bundle.path, super().bundle(bundle)
