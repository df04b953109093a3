"""What lies in a node's data directory, opened in the order that a crash allows, and closed again.

genesis.json  config.toml  keys/      what `pyrsia init` made; keys/next/: keys that the members have yet to agree on
node.lock  network                    one process and one network a directory
votes.wal  votes.next                 what this node's vote keys signed
voting.stopped                        which of its keys must not sign any more, and why
db/  blobs/                           facts, and artifact bytes
local/  proxied/                      what was pushed to this node; unverified copies of upstream's files
db.damaged-N/  votes.wal.damaged-N    what was set aside
scratch/  results/  index/            of builds; the first two are empty after a start
environments/                         file systems that builds run in, by digest
control.sock  control.token           how its operator reaches it; workers.sock, how its workers do

Whether this node is a member, and with which roles and keys, is nothing that a house knows: the state says it, and it
may change while the node runs. A house only has the secrets, and hands out the one that belongs to a public half.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyrsia import config
from pyrsia.builds.sandbox.collect import discard
from pyrsia.consensus.recovery import Recovered
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import sync_folder, write_whole
from pyrsia.keys import CHAIN, NEXT, ROTATED, KeyPair, KeyRing
from pyrsia.ledger import beacon, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import load
from pyrsia.node.consensus.ballots import Ballots
from pyrsia.node.log.archive import Archive
from pyrsia.node.opening import open_facts
from pyrsia.node.storage.salvage import salvage
from pyrsia.status import roles_in_words
from pyrsia.store.blobs import Blobs
from pyrsia.store.lock import DataDir
from pyrsia.store.quota import Rules
from pyrsia.store.rocks import Database
from pyrsia.units import NodeId
from pyrsia.wire.blocks import FinalityProof
from pyrsia.wire.text import unb32

GENESIS: Final = "genesis.json"
KEYS: Final = "keys"
LINKS: Final = "chain.links"  # beside the keys: as secret as the chain's seed, and made from it
SCRATCH: Final = "scratch"  # inputs of jobs that run
RESULTS: Final = "results"  # outputs that are not adopted yet
BLOBS: Final = "blobs"
INDEX: Final = "index"  # files of package indexes, named by their SHA-256

Sign = Callable[[bytes], bytes]


@dataclass(slots=True)
class House:
    """One node's directory, held until `close`. Inside trio only."""

    data: Path
    settings: config.Config
    genesis: Genesis
    keys: KeyRing
    directory: DataDir
    database: Database
    blobs: Blobs
    archive: Archive
    votes: Ballots
    notices: list[str] = field(default_factory=list)
    _chains: dict[tuple[bytes, int], beacon.Chain20] = field(default_factory=dict)

    @classmethod
    def open(cls, data: Path, settings: config.Config) -> "House":
        """Take the directory.

        Raises:
            Refusal: `config-invalid` without a genesis, `data-in-use`, `data-foreign`, `data-damaged`.
        """
        genesis = _genesis(data / GENESIS)
        directory = DataDir.open(data, genesis.net)
        try:
            return cls._opened(data, settings, genesis, KeyRing.load(data / KEYS), directory)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def _opened(
        cls, data: Path, settings: config.Config, genesis: Genesis, keys: KeyRing, directory: DataDir
    ) -> "House":
        for name in (SCRATCH, RESULTS):  # of an earlier life: nobody waits for them
            discard(data / name)
        facts = open_facts(data, genesis, keys)
        try:
            salvaged = salvage(data / BLOBS, facts.database)
            blobs = Blobs(data / BLOBS, facts.database, _rules(settings.storage))
        except BaseException:
            facts.close()
            raise
        notices = list(facts.notices)
        if salvaged:
            notices.append(f"{salvaged} artifact files outlived the database and are kept")
        house = cls(
            data=data,
            settings=settings,
            genesis=genesis,
            keys=keys,
            directory=directory,
            database=facts.database,
            blobs=blobs,
            archive=facts.archive,
            votes=facts.ballots,
            notices=notices,
        )
        house.settle()
        return house

    # -- who this node is now --

    @property
    def record(self) -> dict[str, Any] | None:
        """This node's fields as the final state has them; None while it is no member, or none any more."""
        found = views.member(self.archive.state, self.keys.node_id)
        return None if found is None or "left" in found else found

    @property
    def roles(self) -> frozenset[str]:
        """Of this node in the final state; empty for a follower, and for a node that is no member."""
        found = self.record
        return frozenset(found["roles"] if found is not None else ())

    @property
    def role(self) -> str:
        """`validator` or `follower`."""
        return "validator" if "validator" in self.roles else "follower"

    @property
    def roles_in_words(self) -> str:
        """All that the log lets it do; `follower` for one without a role, a member or not."""
        return roles_in_words(self.roles) or "follower"

    def called(self, node: NodeId) -> str:
        """What people call a node."""
        return views.called(self.archive.state, node)

    @property
    def builds(self) -> bool:
        return "builder" in self.roles

    @property
    def name(self) -> str:
        """What the members call this node; before it is one, what its configuration does."""
        found = self.record
        return str(found["name"]) if found is not None else self.settings.node.name

    def welcomes(self, node: bytes) -> bool:
        """Whether `node` has a place of its own: a member, and whom the operator names and the log never did.

        By the second a newcomer, whose state is that of genesis, reaches a network whose founders have all left.
        Who was a member and left is wanted by nobody.
        """
        if views.is_member(self.archive.state, node):
            return True
        return node in self._named and views.member(self.archive.state, node) is None

    def guest(self, node: bytes) -> bool:
        """Whether `node` may have a link as a guest: it was never a member."""
        return views.member(self.archive.state, node) is None

    @property
    def _named(self) -> set[bytes]:
        """Node ids of `net.peers`."""
        return {node for node in (_node_of(text) for text in self.settings.net.peers) if node}

    # -- its secrets --

    def signer(self, vote: bytes) -> Sign | None:
        """What signs votes of the key with this public half, whose record takes them from now on.

        None if it is no key of this node, or one that has lost its memory: then the node has no seat in the
        epoch that names this key, and follows.

        Raises:
            Unavailable: the disk said no.
        """
        pair = self.keys.find("vote", vote)
        return pair.sign if pair is not None and self.votes.give(vote) else None

    def log_key(self, public: bytes) -> KeyPair | None:
        """The key that signs checkpoints as the log; None if it is not this node's, or must not sign."""
        return self._remembering("log", public)

    def cosign_key(self, public: bytes) -> KeyPair | None:
        """The key that cosigns checkpoints as this validator; None as for `log_key`."""
        return self._remembering("cosign", public)

    def tree_signer(self, public: bytes) -> Sign | None:
        """What signs tree heads with the log or cosign key of this public half; None as for `log_key`."""
        pair = self.log_key(public) or self.cosign_key(public)
        return None if pair is None else pair.sign

    def build_key(self) -> KeyPair:
        """The key that attests builds now: the one that the state names, if this node has it."""
        found = self.record
        named = self.keys.find("build", bytes.fromhex(found["build"])) if found is not None else None
        return named or self.keys.build

    def _remembering(self, purpose: str, public: bytes) -> KeyPair | None:
        return None if self.votes.stopped(public) else self.keys.find(purpose, public)

    def link(self, chain_end: bytes, position: int) -> tuple[bytes, bytes] | None:
        """What a header at `position` reveals of the chain with this end; None if it is no chain of this node.

        Args:
            position: absolute: it counts on in the chain after, and the one after that.

        Returns:
            The link, and the end of the following chain once it is to be committed, else 32 zero bytes.
        """
        seed = self._seed_of(chain_end)
        if seed is None:
            return None
        number, at = divmod(position, beacon.LINKS)
        following = self._chain(seed, number + 1).end if beacon.offers_next(position) else beacon.ZERO
        return self._chain(seed, number).link(at), following

    def _seed_of(self, chain_end: bytes) -> bytes | None:
        if self.chain().end == chain_end:
            return self.keys.chain_seed
        if self.coming(CHAIN) == chain_end:
            return self.keys.coming[CHAIN].seed
        return None

    def _chain(self, seed: bytes, number: int) -> beacon.Chain20:
        """The chain that grows from `seed`, or one after it. The first is read from a file; a later one takes half a
        second, once a life of this node."""
        if (seed, number) not in self._chains:
            self._chains[seed, number] = (
                self._first_of(seed) if number == 0 else beacon.Chain20(beacon.chain_seed(seed, number))
            )
        return self._chains[seed, number]

    def _first_of(self, seed: bytes) -> beacon.Chain20:
        present = seed == self.keys.chain_seed
        return _kept_chain(self.data / KEYS if present else self.data / KEYS / NEXT, seed)

    # -- rotation --

    def prepare(self, purposes: Sequence[str]) -> dict[str, str]:
        """Make new keys beside the present ones; member field -> public half in hex, as `member.rotate` has them.

        Asked twice, it gives the same keys: a motion that nobody approved costs none. One that must not sign any
        more is made anew.
        """
        fields: dict[str, str] = {}
        for purpose in purposes:
            self._prepare(purpose)
            fields[FIELDS.get(purpose, purpose)] = self.coming(purpose).hex()
        return fields

    def _prepare(self, purpose: str) -> None:
        there = self.keys.coming.get(purpose)
        if there is not None and self.votes.stopped(there.public):
            self.keys.discard(self.data / KEYS, purpose)
        self.keys.prepare(self.data / KEYS, purpose)

    def renew(self, purposes: Sequence[str], height: int) -> None:
        """New keys at once in the place of those that the log does not name: nobody has to agree.

        So a member that left its seat can have one again: the keys that it had are never anybody's again.

        Args:
            height: of the newest block that is on disk.

        Raises:
            Refusal: `conflict` before a block of the present epoch is on disk: the old ones may be needed to get there.
        """
        if not self._epoch_began(height):
            raise Refusal(
                "conflict",
                what="the epoch in which the old keys had their part has only just ended",
                who="this node",
                do="try again in some seconds",
            )
        for purpose in purposes:
            self._prepare(purpose)
            self._settle(purpose)
        self._forget()

    def coming(self, purpose: str) -> bytes:
        """The public half of the key that was made for a rotation; empty if none was."""
        pair = self.keys.coming.get(purpose)
        if pair is None:
            return b""
        return self._chain(pair.seed, 0).end if purpose == CHAIN else pair.public

    def settle(self, height: int | None = None) -> Sequence[str]:
        """Let keys that the members have agreed on take the place of those before them, whose secrets are deleted.

        Call after a sync of the database. Nothing happens before the first block of the epoch that brought the keys
        is on disk: until then the old ones may be needed to finish the epoch before.

        Args:
            height: of the newest block that is on disk; None where everything is, as at a start.

        Returns:
            The purposes of the keys that changed.
        """
        found = self.record
        if not self.keys.coming or found is None or not self._epoch_began(height):
            return []
        changed = [
            purpose for purpose in ROTATED if purpose in self.keys.coming and self._agreed(purpose, found)
        ]
        for purpose in changed:
            self._settle(purpose)
        if changed:
            self._forget()
        return changed

    def _forget(self) -> None:
        """Keys that this node has no more need no word about what they must not."""
        kept = [getattr(self.keys, purpose).public for purpose in ("vote", "log", "cosign")]
        self.votes.forget([*kept, *(pair.public for pair in self.keys.coming.values())])

    def _agreed(self, purpose: str, found: dict[str, Any]) -> bool:
        return bool(found[FIELDS.get(purpose, purpose)] == self.coming(purpose).hex())

    def _settle(self, purpose: str) -> None:
        folder = self.data / KEYS
        if purpose == "vote":  # its record must be there when its key has the name
            self.votes.record_of(self.keys.coming[purpose].public)
        self.keys.promote(folder, purpose)
        if purpose == "vote":
            self.votes.promote()
        if purpose == CHAIN and (folder / NEXT / LINKS).exists():
            (folder / NEXT / LINKS).rename(folder / LINKS)
            sync_folder(folder)

    def _epoch_began(self, height: int | None) -> bool:
        """Whether a block of the present epoch is on disk."""
        head, row = self.archive.head, _epoch(self.archive)
        if head is None:
            return False
        return row is None or (head.height if height is None else height) > row["height"]

    # -- what agreement needs --

    @property
    def may_vote(self) -> bool:
        return self.votes.may_vote(self.keys.vote.public)

    @property
    def may_cosign(self) -> bool:
        """Whether the database knows the newest tree head that this node signed."""
        return not any(self.votes.stopped(pair.public) for pair in (self.keys.log, self.keys.cosign))

    def recovered(self) -> Recovered:
        """What agreement remembers of an earlier life: records of both vote keys, told apart by their epochs.

        Which key must not vote is nothing that it says: `signer` has none for it, and one for its successor.
        """
        head = self.archive.head
        raw = self.archive.finality(head.height) if head is not None else None
        return Recovered(
            records=tuple(self.votes.records),
            proof=FinalityProof.decode(raw) if raw is not None else None,
        )

    def chain(self) -> beacon.Chain20:
        """This node's chain of beacon links; hashed at the first start, read from a file later."""
        return self._chain(self.keys.chain_seed, 0)

    async def persist(self, records: Sequence[bytes]) -> None:
        """Agreement's records, on disk when this returns. A node without a seat writes none."""
        await self.votes.append(records)

    def close(self) -> None:
        try:
            self.database.close()
        finally:
            self.votes.close()
            self.directory.close()


FIELDS: Final = {CHAIN: "chain_end"}  # how a member's record calls a key, where it is not by its purpose


def chain_of(data: Path, keys: KeyRing) -> beacon.Chain20:
    """The chain of beacon links of the node in `data`."""
    return _kept_chain(data / KEYS, keys.chain_seed)


def _kept_chain(folder: Path, seed: bytes) -> beacon.Chain20:
    """The chain that grows from `seed`, from its file or hashed now."""
    try:
        return beacon.Chain20.decode((folder / LINKS).read_bytes(), seed)
    except (FileNotFoundError, Malformed):
        chain = beacon.Chain20(seed)
        write_whole(folder / LINKS, chain.encode(), 0o600)
        return chain


def keep_chain(chain: beacon.Chain20, data: Path) -> None:
    """Write the chain beside the keys of the node in `data`, mode 0600, by rename."""
    write_whole(data / KEYS / LINKS, chain.encode(), 0o600)


def _epoch(archive: Archive) -> dict[str, Any] | None:
    number = load(archive.state(b"epoch"))
    found: dict[str, Any] | None = (
        load(archive.state(b"epoch/%016d" % number)) if number is not None else None
    )
    return found


def _rules(storage: config.StorageSection) -> Rules:
    return Rules(
        quota=storage.allocated_gb * 10**9,
        high=storage.high_percent,
        low=storage.low_percent,
        spare=storage.reserve_mb * 10**6,
    )


def _node_of(text: str) -> NodeId | None:
    """The node id in `<node id>@tcp://host:port`; what is none is refused where links are made."""
    try:
        return NodeId(unb32(text.partition("@")[0]))
    except Malformed:
        return None


def _genesis(path: Path) -> Genesis:
    try:
        return Genesis.parse(path.read_bytes())
    except FileNotFoundError:
        raise Refusal(
            "config-invalid",
            what=f"{path.parent} belongs to no network yet",
            who="the data directory",
            do="give it one: pyrsia init --data DIR --genesis FILE, or --join URL --digest sha256:...",
        ) from None
    except Malformed as error:
        raise Refusal(
            "data-damaged",
            what=f"{path} is no genesis: {error}",
            who="this machine's disk or whoever changed the file",
            do="restore it from the network's trust file; its digest is the pin",
        ) from None
