"""What lies in a node's data directory, opened in the order that a crash allows, and closed again.

genesis.json  config.toml  keys/      what `pyrsia init` made
node.lock  network                    one process and one network a directory
votes.wal  voting.stopped             what this validator signed; why it must not sign any more
db/  blobs/                           facts, and artifact bytes
db.damaged-N/                         databases that were set aside
scratch/  results/  index/            of builds; the first two are empty after a start
control.sock  control.token           how its operator reaches it
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyrsia import config
from pyrsia.builds.sandbox.collect import discard
from pyrsia.consensus.recovery import Recovered
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.keys import KeyRing
from pyrsia.ledger import beacon
from pyrsia.ledger.genesis import Genesis, Member
from pyrsia.node.archive import Archive
from pyrsia.node.facts import open_facts
from pyrsia.node.salvage import salvage
from pyrsia.store.blobs import Blobs
from pyrsia.store.lock import DataDir
from pyrsia.store.rocks import Database
from pyrsia.store.votes import VotesWal
from pyrsia.wire.blocks import FinalityProof

GENESIS: Final = "genesis.json"
KEYS: Final = "keys"
CHAIN: Final = "chain.links"  # beside the keys: as secret as the chain's seed, and made from it
SCRATCH: Final = "scratch"  # inputs of jobs that run
RESULTS: Final = "results"  # outputs that are not adopted yet
BLOBS: Final = "blobs"
INDEX: Final = "index"  # files of package indexes, named by their SHA-256


@dataclass(slots=True)
class House:
    """One node's directory, held until `close`. Inside trio only."""

    data: Path
    settings: config.Config
    genesis: Genesis
    keys: KeyRing
    member: Member
    directory: DataDir
    database: Database
    blobs: Blobs
    archive: Archive
    votes: VotesWal | None
    may_vote: bool
    may_cosign: bool
    notices: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, data: Path, settings: config.Config) -> "House":
        """Take the directory.

        Raises:
            Refusal: `config-invalid` without a genesis, `forbidden` for a key that is no member's,
                `data-in-use`, `data-foreign`, `data-damaged`.
        """
        genesis = _genesis(data / GENESIS)
        keys = KeyRing.load(data / KEYS)
        member = genesis.member(keys.node_id)
        if member is None:
            raise Refusal(
                "forbidden",
                what=f"the key of this node is no member's of {genesis.name}",
                who=f"the keys in {data / KEYS}, or the genesis beside them",
                do="use the keys that the network was founded with",
            )
        directory = DataDir.open(data, genesis.net)
        try:
            return cls._opened(data, settings, genesis, keys, member, directory)
        except BaseException:
            directory.close()
            raise

    @classmethod
    def _opened(
        cls,
        data: Path,
        settings: config.Config,
        genesis: Genesis,
        keys: KeyRing,
        member: Member,
        directory: DataDir,
    ) -> "House":
        for name in (SCRATCH, RESULTS):  # of an earlier life: nobody waits for them
            discard(data / name)
        facts = open_facts(data, genesis, validator="validator" in member.roles)
        try:
            blobs = Blobs(data / BLOBS, facts.database)
            salvaged = salvage(data / BLOBS, facts.database)
        except BaseException:
            facts.close()
            raise
        notices = list(facts.notices)
        if salvaged:
            notices.append(f"{salvaged} artifact files outlived the database and are kept")
        return cls(
            data=data,
            settings=settings,
            genesis=genesis,
            keys=keys,
            member=member,
            directory=directory,
            database=facts.database,
            blobs=blobs,
            archive=facts.archive,
            votes=facts.votes,
            may_vote=facts.may_vote,
            may_cosign=facts.may_cosign,
            notices=notices,
        )

    @property
    def role(self) -> str:
        """`validator` or `follower`."""
        return "validator" if "validator" in self.member.roles else "follower"

    @property
    def builds(self) -> bool:
        return "builder" in self.member.roles

    def recovered(self) -> Recovered:
        """What agreement remembers of an earlier life."""
        head = self.archive.head
        raw = self.archive.finality(head.height) if head is not None else None
        return Recovered(
            records=tuple(self.votes.records) if self.votes is not None else (),
            proof=FinalityProof.decode(raw) if raw is not None else None,
            may_vote=self.may_vote,
        )

    def chain(self) -> beacon.Chain20:
        """This validator's chain of beacon links; hashed at the first start, read from a file later."""
        path = self.data / KEYS / CHAIN
        seed = self.keys.chain_seed
        try:
            return beacon.Chain20.decode(path.read_bytes(), seed)
        except (FileNotFoundError, Malformed):
            chain = beacon.Chain20(seed)
            keep_chain(chain, self.data)
            return chain

    async def persist(self, records: Sequence[bytes]) -> None:
        """Agreement's records, on disk when this returns. A node that may not vote writes none."""
        if self.votes is not None and records:
            await self.votes.append(records)

    def close(self) -> None:
        try:
            self.database.close()
        finally:
            if self.votes is not None:
                self.votes.close()
            self.directory.close()


def keep_chain(chain: beacon.Chain20, data: Path) -> None:
    """Write the chain beside the keys of the node in `data`, mode 0600, by rename."""
    write_whole(data / KEYS / CHAIN, chain.encode(), 0o600)


def _genesis(path: Path) -> Genesis:
    try:
        return Genesis.parse(path.read_bytes())
    except FileNotFoundError:
        raise Refusal(
            "config-invalid",
            what=f"{path.parent} belongs to no network yet",
            who="the data directory",
            do="give it one: pyrsia init --data DIR --genesis FILE",
        ) from None
    except Malformed as error:
        raise Refusal(
            "data-damaged",
            what=f"{path} is no genesis: {error}",
            who="this machine's disk or whoever changed the file",
            do="restore it from the network's trust file; its digest is the pin",
        ) from None
