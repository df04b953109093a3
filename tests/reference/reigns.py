"""A network whose validators and keys change: the steps between its epochs, and checkpoints signed in each of them."""

from dataclasses import replace

from pyrsia.ledger import entries
from pyrsia.log import checkpoint
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.store import layout
from pyrsia.store.rocks import Batch
from pyrsia.units import TreeSize, needed
from pyrsia.wire.blocks import EPOCH_END, TAIL, ZERO, Cert, FinalityProof, entries_root, finalize, signed_text
from pyrsia.wire.epochs import EpochEnd, members_hash
from pyrsia.wire.text import b32
from tests.reference import merkle
from tests.reference.governance import NEWCOMERS, Governed, member_motion, newcomer, secret
from tests.reference.ledger import START
from tests.reference.parts import Kept

TURNS = 4  # how many keys of each purpose a member of these worlds may have had
SIGNED_S = START // 1000 + 60


class Reigns(Governed):
    """A world that keeps what proves its epochs.

    Attributes:
        steps: encoded, the one that ended epoch i at i.
        ends: tree size at which epoch i ended.
        reigns: the validators of epoch i.
    """

    def __init__(self, **changes):
        self.steps, self.ends, self.reigns = [], [], []
        super().__init__(**changes)
        people = [*range(len(self.genesis.members)), *NEWCOMERS]
        self.pairs = {
            pair.public: pair
            for who in people
            for purpose in ("vote", "log", "cosign")
            for turn in range(TURNS)
            for pair in (secret(who, purpose, turn),)
        }
        for who in people:
            for turn in range(TURNS):
                self.know(who, turn)
        self.reigns.append(self.seats().validators)

    # -- epochs --

    def header(self, draft, slot, **changes):
        self.newest = super().header(draft, slot, **changes)
        return self.newest

    def propose(self, *args, **kwargs):
        told = super().propose(*args, **kwargs)
        if self.newest.kind == EPOCH_END and len(self.reigns) == self.seats().epoch:
            self.ends.append(self.newest.tree_size)
            self.reigns.append(self.seats().validators)
            self.steps.append(self.step(len(self.ends) - 1, self.newest))
            self.kept(len(self.steps) - 1)
        return told

    def kept(self, epoch):
        """The step that ended `epoch` is there, for whoever stores it."""

    def step(self, epoch, header, *, tails=0, signers=None, by=None, following=None, leaves=None):
        """The step that ends `epoch` with `header`; each word of it may be a lie.

        `signers`: how many (q); `by`: the epoch whose keys sign; `following`: the validators that it brings;
        `leaves`: the log that it shows, this one.
        """
        leaves = leaves or self.leaves[: header.tree_size]
        path = merkle.path(len(leaves) - 1, [merkle.leaf_hash(leaf) for leaf in leaves])
        voting = self.reigns[epoch if by is None else by]
        headers = [*(self.after(header, at + 1) for at in range(tails)), header]
        said = finalize(headers[0])
        text = signed_text(self.genesis.chain_id, self.genesis.origin, said)
        q = needed(len(voting)) if signers is None else signers
        places = sorted(sorted(range(len(voting)), key=lambda at: self.rarity(voting[at], "vote"))[:q])
        sigs = tuple(self.pairs[voting[at].vote].sign(text) for at in places)
        proof = FinalityProof(Cert(said, len(voting), tuple(places), sigs), tuple(headers))
        return EpochEnd(proof, following or self.reigns[epoch + 1], leaves[-1], tuple(path)).encode()

    def elsewhere(self, epoch, header, following=None, **changes):
        """The step of a quorum that ends `epoch` with the same size in another log, whose seal says the same as its
        block: only who knows this one can tell."""
        following = following or self.reigns[epoch + 1]
        leaves = self.leaves[: header.tree_size]
        leaves[2] = leaves[2][::-1]
        body = {**entries.parse(leaves[-1]).body, "next_members": members_hash(following).hex()}
        leaves[-1] = entries.derive("block.seal", body, net=self.genesis.net)
        root = merkle.root([merkle.leaf_hash(leaf) for leaf in leaves])
        lie = replace(header, tree_root=root, next_members_hash=members_hash(following), **changes)
        return self.step(epoch, lie, following=following, leaves=leaves)

    def after(self, header, views):
        """The tail that stands on a block that ends an epoch, so many views later."""
        return replace(
            header, kind=TAIL, view=header.view + views, parent_hash=header.hash(), parent_view=header.view,
            time_ms=header.time_ms + views, n_entries=0, entries_root=entries_root(()),
            next_members_hash=header.members_hash, reveal=ZERO, next_chain=ZERO,
        )  # fmt: skip

    def rarity(self, validator, *purposes):
        """In how many epochs it has these keys: who signs first shall be whom other epochs do not know."""
        keys = [getattr(validator, purpose) for purpose in purposes]
        return sum(
            any([getattr(one, purpose) for purpose in purposes] == keys for one in reign)
            for reign in self.reigns
        )

    def rotate(self, who, turn, *purposes):
        """Member `who` (a number, or a newcomer's word) gets its key number `turn` of each purpose."""
        changed = {
            name: secret(who, name, turn).public.hex() for name in purposes or ("cosign", "log", "vote")
        }
        return self.enact(member_motion("member.rotate", node=b32(secret(who, "node").public), **changed))

    def replace(self, who, word):
        """A new validator, `word`, takes the seat of `who`. It is a member already, and it accepts."""
        before = newcomer(word, roles=())
        self.enact(member_motion("member.add", member=before))
        after = newcomer(word, roles=("validator",))
        node = b32(secret(who, "node").public)
        motion = self.propose_motion(member_motion("member.replace", member=after, node=node))
        self.block(self.approval(motion, secret(word, "node")))
        self.block(*(self.approval(motion, one) for one in self.validators()[: self.q]))
        return motion

    # -- what is signed in them --

    def tree(self, size):
        return merkle.root([merkle.leaf_hash(leaf) for leaf in self.leaves[:size]])

    def at(self, size=None, root=None):
        size = len(self.leaves) if size is None else size
        return Checkpoint(self.genesis.origin, TreeSize(size), root or self.tree(size))

    def epoch_at(self, size):
        """The epoch that a size lies in; at its very end the one that ends."""
        return sum(end < size for end in self.ends)

    def cosigned(self, head=None, *, epoch=None, signers=None, time_s=SIGNED_S, also=()):
        """The note that a quorum (or `signers`) of an epoch's validators sign, and `also` (epoch, place) of others."""
        head = head or self.at()
        reign = self.reigns[self.epoch_at(head.size) if epoch is None else epoch]
        count = needed(len(reign)) if signers is None else signers
        reign = sorted(reign, key=lambda one: self.rarity(one, "log", "cosign"))
        lines = []
        for one in (*reign[:count], *(self.reigns[of][place] for of, place in also)):
            lines.append(checkpoint.log_line(head, self.pairs[one.log].sign, one.log))
            lines.append(checkpoint.cosign_line(head, self.pairs[one.cosign].sign, one.cosign, time_s))
        return SignedNote(head.text(), tuple(lines)).encode()


class KeptReigns(Kept, Reigns):
    """The same on disk; blocks come without their proofs here, so that the steps are put where a snapshot puts them."""

    def kept(self, epoch):
        self.database.write(Batch().put(layout.EPOCHS, layout.number(epoch), self.steps[epoch]))


def three_epochs(world=None, facts=2):
    """A world in its third epoch: new keys of one validator, then a newcomer in the place of another.

    One change an epoch leaves three of four as they were, so two epochs in a row share a quorum; `cosigned` and `step`
    let those sign first whom the other epochs do not know.
    """
    world = world or Reigns()
    for at in range(facts):
        world.block(fact(world, f"early {at}"))
    world.rotate(1, 1)
    for at in range(facts):
        world.block(fact(world, f"middle {at}"))
    world.replace(2, "new")
    for at in range(facts):
        world.block(fact(world, f"late {at}"))
    return world


def fact(world, text):
    body = {"kind": "description", "subject": "pkg:pypi/idna@1.0", "text": text, "valid_from": 1}
    return world.entry(world.follower, "fact.add", body)
