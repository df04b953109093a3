"""What the tests of a running node's parts share: an archive fed by the real ledger, and waiting with a bound."""

from pyrsia.keys import KeyRing
from pyrsia.node.log.archive import Archive
from pyrsia.store.rocks import Database
from tests.reference.ledger import World, key


def ring(number):
    """The key ring of the member that `World` calls by this number."""
    pairs = (key(number, purpose) for purpose in ("node", "vote", "log", "cosign", "build"))
    return KeyRing(*pairs, key(number, "chain").seed)


class Kept(World):
    """A world whose blocks also go to an archive on disk."""

    def __init__(self, folder, **changes):
        self.database = Database.open(folder / "db")
        self.archive = None
        super().__init__(**changes)

    def write(self, commit):
        if self.archive is None:
            self.archive = Archive(self.database, self.genesis)
        super().write(commit)
        self.archive.write(commit, None, None)

    def number(self, pair):
        """Which member this node key is."""
        return next(i for i, node in enumerate(self.nodes) if node.public == pair.public)

    def fact(self, text="x", author=None):
        body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": text, "valid_from": 1}
        return self.entry(author or self.follower, "fact.add", body)

    def close(self):
        self.database.close()
