"""A whole network's ledger in one process: real keys, a dict for the store, short chains of links."""

import hashlib
from dataclasses import dataclass, replace

from blake3 import blake3

from pyrsia.keys import KeyPair, verify
from pyrsia.ledger import beacon, chain, entries, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.wire import canonical
from pyrsia.wire.blocks import EPOCH_END, NORMAL, Header, entries_root
from pyrsia.wire.epochs import members_hash
from pyrsia.wire.text import b32

ZERO = bytes(32)
LINKS = 600  # enough views for a test; a real chain takes a third of a second to hash
START = 1_760_000_000_000
ENVIRONMENT = "host:" + "e" * 64


def key(*words):
    return KeyPair(blake3(repr(words).encode()).digest())


def links_end(seed):
    return beacon.forward(seed, LINKS)


def links_at(seed, position):
    """Also of the chains that follow the first, if their length is that of `beacon.LINKS`."""
    chain, at = divmod(position, LINKS)
    return beacon.forward(beacon.chain_seed(seed, chain), LINKS - 1 - at)


def blob(word):
    digest = hashlib.sha256(repr(word).encode()).hexdigest()
    return {"manifest": digest[::-1], "sha256": digest, "size": 100}


def file_record(word):
    return {**blob(word), "members": blob((word, "members")), "metadata": blob((word, "metadata"))}


def make_genesis(
    count=5,
    *,
    validators=4,
    builders=4,
    operators=None,
    capabilities=("pip",),
    drawn=3,
    storage=(),
    domains=None,
    **changes,
):
    """`builders`: how many members build; `drawn`: K; `storage`: which members keep blobs."""
    members = []
    for i in range(count):
        is_validator, is_builder = i < validators, i < builders
        has = (
            ("builder", is_builder),
            ("issuer", True),
            ("storage", i in storage),
            ("validator", is_validator),
        )
        roles = [r for r, yes in has if yes]
        members.append(
            {
                "build": key(i, "build").public.hex() if is_builder else "",
                "capabilities": sorted(capabilities) if is_builder else [],
                "chain_end": links_end(key(i, "chain").seed).hex() if is_validator else "",
                "cosign": key(i, "cosign").public.hex() if is_validator else "",
                "domain": domains[i] if domains else f"domain-{i}",
                "log": key(i, "log").public.hex() if is_validator else "",
                "name": f"node {i}",
                "node": b32(key(i, "node").public),
                "operator": operators[i] if operators else f"operator-{i}",
                "roles": roles,
                "vote": key(i, "vote").public.hex() if is_validator else "",
            }
        )
    body = {
        "agreeing": 2,
        "builders": drawn,
        "created_ms": START,
        "demo": False,
        "environments": [ENVIRONMENT],
        "limits": [["member", 100_000]],
        "members": sorted(members, key=lambda m: m["node"]),
        "min_isolation": "namespace",
        "name": "test",
        "rules": 1,
        **changes,
    }
    return canonical.encode({"body": body, "type": "network.genesis", "v": 1})


def keep(db, writes, growth):
    """What a store does with a block's outcome; no page is ever given up here."""
    db.update(growth.rows)
    for name, value in writes.items():
        if value is None:
            db.pop(name, None)
        else:
            db[name] = value


@dataclass
class World:
    """Drives a `Chain` block by block, as agreement and the store would."""

    def __init__(self, **changes):
        self.genesis = Genesis.parse(make_genesis(**changes))
        self.db = {}
        self.leaves = []
        self.trees = {}  # tree size -> both trees of the index
        self.chain = chain.Chain(self.genesis, self.db.get, verify=verify)
        self.write(self.chain.genesis_commit())
        self.time = START
        self.view = 0
        self.count = 0
        self.nodes = [key(i, "node") for i in range(len(self.genesis.members))]
        self.seeds = {
            links_end(key(i, "chain").seed): key(i, "chain").seed
            for i, _ in enumerate(self.genesis.validators)
        }
        self.vote_keys = {
            key(i, "vote").public: key(i, "vote") for i, _ in enumerate(self.genesis.validators)
        }
        self.follower = self.nodes[-1]

    def write(self, commit):
        assert commit.first_leaf == len(self.leaves)
        self.leaves += commit.leaves
        keep(self.db, commit.writes, commit.growth)
        self.trees[commit.tree_size] = views.trees(self.db.get)

    def fetch(self, keys):
        return [self.db.get(key) for key in keys]

    def state(self):
        """The state's keys alone; rows of the index begin with a byte that no text has."""
        return {name: value for name, value in self.db.items() if name[0] > 31}

    def entry(self, author, kind, body, until=None):
        self.count += 1
        return entries.author(
            kind,
            body,
            net=self.genesis.net,
            author=author.public,
            nonce=self.count.to_bytes(16, "big"),
            until_ms=until or self.time + 3_600_000,
            sign=author.sign,
        )

    def seats(self):
        return self.chain.seats(self.chain.head().hash)

    def rotation(self, seats=None):
        """docs/agreement.md, "Members and quorum"."""
        seats = seats or self.seats()
        salt = self.genesis.chain_id + seats.epoch.to_bytes(8, "big")
        n = len(seats.validators)
        skipped = seats.convicted if 3 * len(seats.convicted) < n else ()
        leading = [at for at in range(n) if at not in skipped]
        return sorted(leading, key=lambda at: blake3(salt + seats.validators[at].vote).digest())

    def leader(self, view):
        turns = self.rotation()
        return turns[view % len(turns)]

    def position(self, view):
        seats = self.seats()
        return seats.bases[self.leader(view)] + view // len(self.rotation(seats))

    def seed(self, proposer):
        return self.seeds[self.seats().validators[proposer].chain_end]

    def slot(self, wait=1_000, next_chain=ZERO):
        self.time += wait
        self.view += 1
        proposer = self.leader(self.view)
        reveal = links_at(self.seed(proposer), self.position(self.view))
        from pyrsia.consensus.application import Slot

        return Slot(self.seats().epoch, self.view, proposer, self.time, reveal, next_chain)

    def header(self, draft, slot, **changes):
        parent = self.chain.head()
        members = members_hash(self.seats().validators)
        made = Header(
            self.genesis.chain_id, slot.epoch, slot.view, draft.height, parent.hash, parent.view, slot.proposer,
            slot.time_ms, EPOCH_END if draft.next_members else NORMAL, len(draft.entries),
            entries_root(draft.entries), draft.tree_size, draft.tree_root, members,
            draft.next_members or members, ZERO, slot.reveal, draft.beacon, slot.next_chain,
        )  # fmt: skip
        return replace(made, **changes)

    def block(self, *raw, wait=1_000):
        """Offer entries to the mempool, build, check and finalise one block; the kinds of its leaves."""
        for item in raw:
            self.chain.mempool.add(item, self.time, self.db.get)
        return self.propose(wait)

    def offer(self, *raw, wait=1_000):
        """One final block of a leader who was offered exactly these, whatever the door says; those that stand."""
        self.chain.mempool.pick = lambda *_: raw
        try:
            self.propose(wait)
        finally:
            del self.chain.mempool.pick
        return self.applied

    def offered_kinds(self, *raw):
        """The types of what stands of these."""
        return [entries.parse(one).kind for one in self.offer(*raw)]

    def propose(self, wait=1_000, next_chain=ZERO):
        slot = self.slot(wait, next_chain)
        draft = self.chain.build(self.chain.head().hash, slot)
        header = self.header(draft, slot)
        self.chain.check(header, draft.entries)
        commit = self.chain.commit(header.hash())
        self.write(commit)
        self.chain.final(header.hash())
        self.applied = draft.entries
        if header.kind == EPOCH_END:
            self.view = 0
        return [entries.parse(leaf).kind for leaf in commit.leaves]

    def forced(self, *raw, wait=1_000, at=None):
        """Why a block whose leader puts in what it likes is refused; "another tree" if every entry applies.

        `at`: its time, instead of `wait` after the last one.
        """
        slot = self.slot(wait if at is None else at - self.time)
        draft = self.chain.build(self.chain.head().hash, slot)
        header = self.header(draft, slot, n_entries=len(raw), entries_root=entries_root(raw), tree_root=ZERO)
        try:
            self.chain.check(header, raw)
        except chain.InvalidBlock as error:
            return str(error)
        return ""

    def settle(self, most=20, wait=1_000):
        """Blocks until nothing is due."""
        kinds = []
        for _ in range(most):
            if not self.chain.has_work(self.chain.head().hash):
                break
            kinds += self.propose(wait)
        return kinds

    # -- builds --

    def request(self, version="1.0", author=None, name="idna", **changes):
        author = author or self.follower
        body = {
            "coordinates": {"name": name, "version": version},
            "ecosystem": "pip",
            "lock": blob("lock"),
            "purl": f"pkg:pypi/{name}@{version}",
            "recipe": {
                "backend": "pip/wheel@1",
                "cutoff_ms": START,
                "environment": ENVIRONMENT,
                "isolation": "pure",
                "normaliser": "wheel@1",
                "sde": START // 1000,
                "v": 1,
            },
            "requester": b32(author.public),
            "source": {"file": "idna.tar.gz", "sha256": blob("source")["sha256"], "size": 5},
            "target": {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.2"},
            **changes,
        }
        raw = self.entry(author, "build.request", body)
        return raw, entries.entry_id(raw).hex()

    def drawn(self, **changes):
        """A request with its builders drawn: (its id, their keys in draw order)."""
        raw, request = self.request(**changes)
        self.block(raw)
        self.settle()
        return request, self.builders(request)

    def builders(self, request):
        names = {b32(node.public): node for node in self.nodes}
        return [names[text] for text in views.request(self.db.get, request).draw.body["builders"]]

    def reveal(self, request, word="same", **changes):
        record = file_record(word)
        body = {
            "attestation": "{}",
            "environment": ENVIRONMENT,
            "isolation": "namespace",
            "lock_sha256": blob("lock")["sha256"],
            "log": blob("log"),
            "nonce": blake3(repr((word, self.count)).encode()).hexdigest(),
            "outcome": "built",
            "outputs": [
                {
                    "canonical": file_record((word, "canonical")),
                    "containment": "full",
                    "name": "idna-1.0-py3-none-any.whl",
                    "normalised": [],
                    "raw": record,
                    "stable": blob((word, "stable"))["sha256"],
                    "upstream_relation": "none",
                }
            ],
            "phase": "",
            "receipts": [],
            "request": request,
            "source": "registry",
            **changes,
        }
        return body

    def commit(self, builder, body, as_builder=None):
        made = entries.commitment(bytes.fromhex(body["request"]), (as_builder or builder).public, body)
        return self.entry(builder, "build.commit", {"commitment": made.hex(), "request": body["request"]})

    def run(self, request, bodies):
        """Commits, then reveals, then blocks until nothing is due; `bodies`: (builder key, reveal body)."""
        self.block(*(self.commit(builder, body) for builder, body in bodies))
        self.block(*(self.entry(builder, "build.reveal", body) for builder, body in bodies))
        self.settle()
        return views.request(self.db.get, request)
