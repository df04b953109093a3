"""A light client believes chains of proofs, and tells a lie from a quorum that contradicts itself."""

from dataclasses import dataclass, field, replace

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.consensus.light import Contradiction, Followed, Head
from pyrsia.errors import ProofInvalid
from pyrsia.wire import canonical
from pyrsia.wire.blocks import (
    EPOCH_END,
    NORMAL,
    TAIL,
    ZERO,
    Cert,
    FinalityProof,
    Header,
    finalize,
    signed_text,
)
from pyrsia.wire.epochs import EpochEnd, Validator, members_hash
from tests.reference import merkle

CHAIN, ORIGIN = b"c" * 32, "net/abc"


def sign(key: bytes, text: bytes) -> bytes:
    return blake3(key + text).digest(64)


def verify(key: bytes, text: bytes, sig: bytes) -> bool:
    return sign(key, text) == sig


def people(*names: int) -> tuple[Validator, ...]:
    """Validators of these numbers."""
    made = [
        Validator(*(blake3(b"%d %s" % (name, use)).digest() for use in (b"n", b"v", b"l", b"c", b"e")))
        for name in names
    ]
    return tuple(sorted(made, key=lambda one: one.vote))


@dataclass
class Net:
    """A chain of headers, signed by whom the test says; `fork` goes on from here on its own."""

    validators: tuple[Validator, ...]
    epoch: int = 0
    leaves: list[bytes] = field(default_factory=lambda: [merkle.leaf_hash(b"genesis")])
    headers: list[Header] = field(default_factory=list)
    ends: list[EpochEnd] = field(default_factory=list)
    salt: bytes = b""
    seals: dict[int, bytes] = field(default_factory=dict)  # size at the end of an epoch -> its seal

    def fork(self, salt: bytes) -> "Net":
        return Net(self.validators, self.epoch, list(self.leaves), list(self.headers), list(self.ends), salt)

    def block(self, kind: int = NORMAL, following: tuple[Validator, ...] | None = None) -> Header:
        below = self.headers[-1] if self.headers else None
        view = 1 if below is None or below.epoch != self.epoch else below.view + 1
        if kind == EPOCH_END:
            self.seal(following or (), 1 if below is None else below.height + 1)
        elif kind != TAIL:
            self.leaves.append(merkle.leaf_hash(b"%s %d" % (self.salt, len(self.leaves))))
        height = (0 if below is None else below.height) + (kind != TAIL)
        header = Header(
            CHAIN, self.epoch, view, height, CHAIN if below is None else below.hash(), view - 1, 0,
            1000 * (height + view), kind, 0, ZERO, len(self.leaves), merkle.root(self.leaves),
            members_hash(self.validators), members_hash(following or self.validators), ZERO, ZERO,
            self.salt.ljust(32, b"\0"), ZERO,
        )  # fmt: skip
        self.headers.append(header)
        return header

    def seal(self, following: tuple[Validator, ...], height: int) -> None:
        body = {"epoch": self.epoch, "height": height, "next_members": members_hash(following).hex()}
        seal = canonical.encode({"body": body, "net": "n", "type": "block.seal", "v": 1})
        self.leaves.append(merkle.leaf_hash(seal))
        self.seals[len(self.leaves)] = seal

    def proof(
        self, *, headers: int = 1, short: int = 0, by: tuple[Validator, ...] | None = None, at: int = -1
    ):
        """Of header `at`, or of the one `headers` - 1 below it, signed by a quorum less `short`."""
        signers = by or self.validators
        q = len(signers) - (len(signers) - 1) // 3 - short
        chosen = list(reversed(self.headers[: at % len(self.headers) + 1]))[:headers]
        said = finalize(chosen[0])
        text = signed_text(CHAIN, ORIGIN, said)
        sigs = tuple(sign(one.vote, text) for one in signers[:q])
        return FinalityProof(Cert(said, len(signers), tuple(range(q)), sigs), tuple(chosen))

    def end(self, following: tuple[Validator, ...], tails: int = 0, **how) -> EpochEnd:
        """End the epoch and begin the next; the step."""
        self.block(EPOCH_END, following)
        for _ in range(tails):
            self.block(TAIL, following)
        made = self.step(following, headers=tails + 1, **how)
        self.headers = self.headers[: len(self.headers) - tails]
        self.validators, self.epoch = following, self.epoch + 1
        self.ends.append(made)
        return made

    def step(self, following: tuple[Validator, ...], **how) -> EpochEnd:
        """What a block proves, with the seal in the log under it."""
        return self.showing(self.proof(**how), following)

    def showing(self, proof: FinalityProof, following: tuple[Validator, ...]) -> EpochEnd:
        """With this log's own last leaf at the size that is proven."""
        size = proof.headers[-1].tree_size if proof.headers else 1
        path = tuple(merkle.path(size - 1, self.leaves[:size]))
        return EpochEnd(proof, following, self.seals.get(size, b"{}"), path)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        new = len(self.leaves) if new is None else new
        return merkle.proof(old, self.leaves[:new]) if old != new else []

    def head(self) -> Head:
        last = self.headers[-1]
        return Head(last.epoch, last.tree_size, last.tree_root)


FIRST, SECOND, THIRD = people(0, 1, 2, 3), people(0, 1, 2, 4), people(0, 5, 2, 4, 6)


def followed(seen: Head | None = None) -> Followed:
    return Followed(FIRST, chain_id=CHAIN, origin=ORIGIN, verify=verify, seen=seen)


def story() -> Net:
    """Two epochs over, a third under way."""
    net = Net(FIRST)
    net.block()
    net.end(SECOND, tails=2)
    net.block()
    net.block()
    net.end(THIRD)
    net.block()
    return net


def test_steps_lead_to_the_validators_of_now() -> None:
    """F2."""
    net, client = story(), followed()
    for end in net.ends:
        client.step(end)

    assert client.epoch == 2
    assert [client.validators(epoch) for epoch in range(3)] == [FIRST, SECOND, THIRD]
    assert client.final(net.proof()).tree_size == len(net.leaves)
    assert client.final(net.proof(headers=1, at=0, by=FIRST)).height == 1
    client.step(net.ends[0])  # again: nothing new
    assert client.epoch == 2


def test_from_a_later_epoch_and_the_head_that_was_seen_then_the_rest_is_followed() -> None:
    """F1: nobody asks for the steps before it, and none of them is taken."""
    net = story()
    size = net.ends[0].proof.headers[-1].tree_size
    seen = Head(1, size + 1, merkle.root(net.leaves[: size + 1]))
    client = Followed(SECOND, chain_id=CHAIN, origin=ORIGIN, verify=verify, epoch=1, seen=seen)
    with pytest.raises(ProofInvalid, match="epoch 0 are not known"):
        client.step(net.ends[0], net.consistency(size, seen.size))
    client.step(net.ends[1], net.consistency(seen.size, net.ends[1].proof.headers[-1].tree_size))
    client.advance(net.proof(), net.consistency(seen.size))

    assert (client.epoch, client.validators(2), client.seen) == (2, THIRD, net.head())
    with pytest.raises(ProofInvalid):  # and without the right ones, nothing
        Followed(THIRD, chain_id=CHAIN, origin=ORIGIN, verify=verify, epoch=1, seen=seen).step(net.ends[1])


def test_from_the_validators_of_genesis_alone_everything_is_followed() -> None:
    """F1: whoever trusts others from the start believes nothing of this network."""
    net, stranger = story(), Followed(THIRD, chain_id=CHAIN, origin=ORIGIN, verify=verify)
    with pytest.raises(ProofInvalid):
        stranger.step(net.ends[0])
    client = followed()
    for end in net.ends:
        client.step(end)

    assert (client.epoch, stranger.epoch) == (2, 0)


def test_a_size_leads_to_its_signers() -> None:
    """F4."""
    net, client = story(), followed()
    for end in net.ends:
        client.step(end)
    first, second = (end.proof.headers[-1].tree_size for end in net.ends)

    assert [client.epoch_of_size(size) for size in (1, first, first + 1, second, second + 1, 10**9)] == [
        0, 0, 1, 1, 2, 2,
    ]  # fmt: skip
    assert client.signers(first) == (FIRST, SECOND)
    assert client.signers(first + 1) == (SECOND,)
    assert client.signers(second + 5) == (THIRD,)


# -- lies of somebody without a quorum --


def test_a_skipped_epoch_is_refused() -> None:
    """F2."""
    net, client = story(), followed()

    with pytest.raises(ProofInvalid, match="epoch 1 are not known"):
        client.step(net.ends[1])
    with pytest.raises(ProofInvalid, match="epoch 2 are not known"):
        client.final(net.proof())
    assert client.epoch == 0


def test_fewer_than_a_quorum_proves_nothing() -> None:
    """F3."""
    net = Net(FIRST)
    net.block()
    client = followed()

    with pytest.raises(ProofInvalid, match="no quorum"):
        client.final(net.proof(short=1))
    with pytest.raises(ProofInvalid, match="no quorum"):
        client.step(net.end(SECOND, short=1))
    assert client.epoch == 0


def test_another_set_proves_nothing() -> None:
    """F3: strangers, and the validators that follow, who must not end the epoch before theirs."""
    for signers in (people(7, 8, 9, 10), SECOND):
        net, client = Net(FIRST), followed()
        with pytest.raises(ProofInvalid, match="no quorum"):
            client.step(net.end(SECOND, by=signers))
        assert client.epoch == 0


def test_a_step_brings_exactly_the_validators_that_its_block_names() -> None:
    """F2."""
    net, client = Net(FIRST), followed()
    end = net.end(SECOND)
    other = SECOND[0]._replace(cosign=b"x" * 32)

    for lie in ((other, *SECOND[1:]), SECOND[1:], tuple(reversed(SECOND)), THIRD):
        with pytest.raises(ProofInvalid):
            client.step(end._replace(validators=lie))
    assert client.epoch == 0
    client.step(end)
    assert client.epoch == 1


def test_a_block_that_ends_nothing_is_no_step() -> None:
    """F2."""
    net, client = Net(FIRST), followed()
    net.block()
    with pytest.raises(ProofInvalid, match="no block that ends"):
        client.step(net.step(FIRST))
    with pytest.raises(ProofInvalid, match="no block that ends"):
        client.step(net.showing(FinalityProof(net.proof().cert, ()), FIRST))
    assert client.epoch == 0


def test_behind_an_end_stand_tails_alone() -> None:
    """F2."""
    for kind in (NORMAL, EPOCH_END):
        net, client = Net(FIRST), followed()
        net.block(EPOCH_END, SECOND)
        net.block(kind, SECOND)
        with pytest.raises(ProofInvalid, match="tails"):
            client.step(net.step(SECOND, headers=2))
        assert client.epoch == 0


def test_a_tail_is_no_final_block() -> None:
    net, client = Net(FIRST), followed()
    net.block(EPOCH_END, SECOND)
    net.block(TAIL, SECOND)
    with pytest.raises(ProofInvalid, match="a tail"):
        client.final(net.proof())
    assert client.final(net.proof(headers=2)).kind == EPOCH_END


@pytest.mark.parametrize("field", ["chain_id", "epoch", "members_hash"])
def test_a_quorums_header_of_another_chain_epoch_or_set_counts_for_nothing(field: str) -> None:
    """F3."""
    net, client = Net(FIRST), followed()
    header = replace(net.block(), **{field: 7 if field == "epoch" else b"z" * 32})
    net.headers[-1] = header
    with pytest.raises(ProofInvalid):
        client.final(net.proof())
    assert client.seen is None


@given(flip=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_bit_of_a_step_can_change(flip: int, bit: int) -> None:
    """Whatever byte is altered: it does not decode, is refused, or was no part of what is signed."""
    end = story().ends[0]
    raw = bytearray(end.encode())
    raw[flip % len(raw)] ^= 1 << bit
    client = followed()
    with pytest.raises(ProofInvalid.__base__):
        client.step(EpochEnd.decode(bytes(raw)))
    assert client.epoch == 0


# -- a quorum that contradicts itself --


def test_an_old_set_that_signs_on_is_an_alarm() -> None:
    """F6: after its epoch ended, a quorum of leaked keys signs a longer log without the end."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"leaked")
    client = followed()
    client.step(net.end(SECOND))
    fork.block()
    for _ in range(3):
        with pytest.raises(Contradiction) as alarm:
            client.final(fork.proof())
        fork.block()
    assert FinalityProof.decode(alarm.value.second).headers[-1].tree_size > net.headers[-1].tree_size
    assert EpochEnd.decode(alarm.value.first) == net.ends[0]


def test_an_epoch_that_ends_twice_is_an_alarm() -> None:
    """F6."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"fork")
    client = followed()
    client.step(net.end(SECOND))
    with pytest.raises(Contradiction):
        client.step(fork.end(THIRD))
    assert client.validators(1) == SECOND


def test_two_blocks_at_one_height_or_two_roots_at_one_size_are_an_alarm() -> None:
    """F6."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"fork")
    client = followed()
    net.block()
    client.final(net.proof())
    fork.block()
    with pytest.raises(Contradiction):
        client.final(fork.proof())
    fork.headers[-1] = replace(fork.headers[-1], height=9)
    with pytest.raises(Contradiction):
        client.final(fork.proof())
    fork.headers[-1] = replace(fork.headers[-1], tree_size=1)
    with pytest.raises(Contradiction):
        client.final(fork.proof())


def test_an_epoch_that_begins_below_its_start_is_an_alarm() -> None:
    """F6."""
    net = story()
    client = followed()
    client.step(net.ends[0])
    low = net.fork(b"low")
    low.headers, low.epoch, low.validators = low.headers[:1], 1, SECOND
    low.leaves = low.leaves[:2]
    low.block()
    with pytest.raises(Contradiction):
        client.final(low.proof())
    assert client.epoch == 1


# -- who remembers a head --


def test_a_remembered_head_stops_a_long_range_fork() -> None:
    """F5: a leaked quorum of the first epoch forks the log far below what the client has seen."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"leaked")
    net.end(SECOND)
    net.block()
    seen = net.head()
    client = followed(seen)
    lie = fork.end(THIRD)
    size = fork.headers[-1].tree_size
    assert size < seen.size

    for joined in ([], fork.consistency(2), net.consistency(size)):
        with pytest.raises(ProofInvalid):
            client.step(lie, joined)
    client.step(net.ends[0], net.consistency(size))
    assert client.validators(1) == SECOND


def test_a_remembered_head_says_that_its_epoch_had_begun() -> None:
    """F5: the fork goes on from the remembered head itself, so only the head's epoch convicts it."""
    net = Net(FIRST)
    net.block()
    net.end(SECOND)
    net.block()
    seen = net.head()
    fork = net.fork(b"leaked")
    fork.epoch, fork.validators = 0, FIRST
    lie = fork.end(THIRD)
    client = followed(seen)

    with pytest.raises(Contradiction, match="does not end where"):
        client.step(lie, fork.consistency(seen.size))
    assert client.epoch == 0


def test_a_leaked_quorum_cannot_end_its_epoch_anew_at_a_right_tree() -> None:
    """F2: the fork's end has size and root of the true log, so consistency holds; only its validators are wrong. It is
    found out with and without a head that was seen, by whatever leaf it shows."""
    net = story()
    true = net.ends[0].proof.headers[-1]
    thieves = people(90, 91, 92, 93)
    for size in range(2, len(net.leaves)):
        fork = Net(FIRST, salt=b"leaked")
        fork.block()
        root = merkle.root(net.leaves[:size])
        names = members_hash(thieves)
        lie = replace(
            true, parent_hash=fork.headers[0].hash(), tree_size=size, tree_root=root, next_members_hash=names
        )
        fork.headers.append(lie)
        own = Net(FIRST, leaves=net.leaves[: size - 1])
        own.seal(thieves, lie.height)
        end = net.showing(fork.proof(by=FIRST), thieves)
        ends = [end, own.showing(end.proof, thieves)]
        ends += [end._replace(seal=other.seal, path=other.path) for other in net.ends]
        for seen in (net.head(), None):
            client = followed(seen)
            for one in ends:
                with pytest.raises((ProofInvalid, Contradiction)) as no:
                    client.step(one, net.consistency(size) if seen else ())
                assert isinstance(no.value, Contradiction) == (one.seal == net.seals.get(size))
            assert client.epoch == 0
    client = followed(net.head())
    for end in net.ends:
        client.step(end, net.consistency(end.proof.headers[-1].tree_size))
    assert client.validators(2) == THIRD


def test_a_fork_whose_own_seals_seat_its_people_does_not_lead_to_the_head_that_was_seen() -> None:
    """F5: at every true size: what it must write into its log to seat them makes the log another one."""
    net = story()
    for count in range(2, len(net.leaves)):
        client = followed(net.head())
        fork = Net(FIRST, leaves=net.leaves[: count - 1], headers=net.headers[:1])
        lie = fork.end(people(90, 91, 92, 93))
        assert lie.proof.headers[-1].tree_root != merkle.root(net.leaves[:count])
        with pytest.raises(ProofInvalid):
            client.step(lie, net.consistency(count))
        assert client.epoch == 0


def test_a_step_whose_seal_is_no_leaf_of_its_log_proves_nothing() -> None:
    """F2."""
    net = story()
    end = net.ends[0]
    other = net.seals[net.ends[1].proof.headers[-1].tree_size]
    for lie in (
        end._replace(seal=other),
        end._replace(seal=end.seal + b" "),
        end._replace(path=end.path[1:]),
        end._replace(path=(*end.path, b"x" * 32)),
        end._replace(path=tuple(reversed(end.path)) if len(end.path) > 1 else ()),
    ):
        with pytest.raises(ProofInvalid):
            followed().step(lie)
    client = followed()
    client.step(end)
    with pytest.raises(ProofInvalid):  # also where the step was taken already
        client.step(end._replace(seal=other))
    assert client.epoch == 1


@pytest.mark.parametrize("field", ["epoch", "height"])
def test_a_seal_of_another_epoch_or_height_than_its_block_is_an_alarm(field: str) -> None:
    """F6."""
    net = Net(FIRST)
    net.block()
    net.block(EPOCH_END, SECOND)
    said = {"epoch": 0, "height": net.headers[-1].height, field: 7}
    body = {**said, "next_members": members_hash(SECOND).hex()}
    seal = canonical.encode({"body": body, "net": "n", "type": "block.seal", "v": 1})
    net.leaves[-1] = merkle.leaf_hash(seal)
    net.seals[len(net.leaves)] = seal
    net.headers[-1] = replace(net.headers[-1], tree_root=merkle.root(net.leaves))
    client = followed()
    with pytest.raises(Contradiction, match="than the log under it") as alarm:
        client.step(net.step(SECOND))
    assert EpochEnd.decode(alarm.value.first) == net.step(SECOND)
    assert client.epoch == 0


def test_a_final_block_of_the_seen_size_has_the_seen_root() -> None:
    """F5."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"fork")
    net.block()
    fork.block()
    client = followed(net.head())
    with pytest.raises(Contradiction, match="two roots"):
        client.final(fork.proof())
    assert client.final(net.proof()).tree_size == 3


def test_an_epoch_does_not_end_below_a_head_that_was_seen_in_it() -> None:
    """F5."""
    net = Net(FIRST)
    net.block()
    fork = net.fork(b"fork")
    net.block()
    net.block()
    client = followed(net.head())
    with pytest.raises(Contradiction):
        client.step(fork.end(SECOND))
    assert client.epoch == 0


def test_heads_advance_with_proof_of_growth_only() -> None:
    """F5."""
    net = Net(FIRST)
    net.block()
    client = followed()
    client.advance(net.proof())
    old = net.head()
    fork = net.fork(b"fork")
    net.block()
    proof, grown = net.proof(), net.consistency(old.size)

    with pytest.raises(ProofInvalid):
        client.advance(proof)
    with pytest.raises(ProofInvalid):
        client.advance(proof, [b"x" * 32, *grown[1:]])
    client.advance(proof, grown)
    assert client.seen == net.head()
    with pytest.raises(ProofInvalid, match="older"):
        client.advance(net.proof(at=0), ())
    fork.block()
    with pytest.raises(Contradiction):
        client.advance(fork.proof(), fork.consistency(old.size))
    assert client.seen == net.head()


def test_heads_advance_over_epochs() -> None:
    """F5."""
    net, client = story(), followed()
    client.advance(net.proof(at=0, by=FIRST))
    seen = client.seen
    assert seen is not None
    client.step(net.ends[0], net.consistency(seen.size, net.ends[0].proof.headers[-1].tree_size))
    client.step(net.ends[1])
    client.advance(net.proof(), net.consistency(seen.size))

    assert client.seen == net.head()


@given(cut=st.integers(0, 6), epochs=st.integers(1, 4), blocks=st.integers(0, 3))
def test_from_any_remembered_head_the_honest_chain_is_followed(cut: int, epochs: int, blocks: int) -> None:
    """F5."""
    net = Net(FIRST)
    net.block()
    heads = [net.head()]
    for number in range(epochs):
        for _ in range(blocks):
            net.block()
            heads.append(net.head())
        net.end(people(0, 1, 2, 10 + number))
        heads.append(net.head())
    net.block()
    seen = heads[cut % len(heads)]
    client = followed(seen)
    for end in net.ends:
        size = end.proof.headers[-1].tree_size
        low, high = sorted((size, seen.size))
        client.step(end, net.consistency(low, high))
    client.advance(net.proof(), net.consistency(seen.size))

    assert client.epoch == epochs
    assert client.seen == net.head()
