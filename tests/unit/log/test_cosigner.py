"""When a validator signs the log, what it never signs, and which lines count."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import checkpoint
from pyrsia.log import note as notes
from pyrsia.log.cosigner import (
    EARLY_NOTES,
    Bad,
    Conflict,
    Cosigner,
    Effect,
    NewBest,
    Send,
    Signed,
    Signers,
    WakeAt,
)
from pyrsia.log.note import SignatureLine, SignedNote
from pyrsia.units import COSIGN_SIZES, TreeSize

ORIGIN = "log.example/abcdefghijklmnop"
LOGS = [keys.KeyPair(bytes([i]) * 32) for i in range(1, 8)]
COSIGNERS = [keys.KeyPair(bytes([i]) * 32) for i in range(11, 18)]
NODES = [bytes([i]) * 32 for i in range(101, 108)]
PAIRS = [(log.public, cosign.public) for log, cosign in zip(LOGS, COSIGNERS, strict=True)]
PUBLIC = PAIRS[:4]
FIRST = Signers(0, TreeSize(0), None, dict(zip(NODES[:4], PUBLIC, strict=True)))
STRANGER = bytes(32)
LONG = 100  # how long the log is of whoever only collects: as long as any that is spoken of here
Q = 3
T = 1_800_000_000


def root(size: int, fork: bytes = b"") -> bytes:
    return hashlib.sha256(b"%d" % size + fork).digest()


def private(*numbers: int) -> Callable[[bytes], notes.Sign | None]:
    """The `log` and `cosign` keys of these validators, as one node has them."""
    return {pair.public: pair.sign for i in numbers for pair in (LOGS[i], COSIGNERS[i])}.get


def cosigner(
    me: int | None,
    last: Signed | None = None,
    verify: Callable[[bytes, bytes, bytes], bool] = keys.verify,
    *,
    size: int = LONG,
    epoch: Signers = FIRST,
    has: tuple[int, ...] | None = None,
) -> Cosigner:
    """`has`: numbers of the keys that the node has, if they are not its own."""
    node = b"\xff" * 32 if me is None else NODES[me]
    mine = has if has is not None else () if me is None else (me,)
    made = Cosigner(ORIGIN, node, private(*mine), verify, last, size)
    made.on_epoch(epoch, None)
    return made


def final(who: Cosigner, now_s: float, size: int, time_s: int, fork: bytes = b"") -> list[Effect]:
    return who.on_final(now_s, TreeSize(size), root(size, fork), time_s)


def sent(effects: list[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def wakes(effects: list[Effect]) -> list[float]:
    return [effect.at_s for effect in effects if isinstance(effect, WakeAt)]


def conflicts(effects: list[Effect]) -> list[Conflict]:
    return [effect for effect in effects if isinstance(effect, Conflict)]


def word(member: int, size: int, time_s: int, fork: bytes = b"") -> Send:
    """What `member` sends when it signs this."""
    return sent(final(cosigner(member), 0.0, size, time_s, fork))[0]


def tell(who: Cosigner, member: int, said: Send) -> list[Effect]:
    return who.on_lines(NODES[member], said.size, said.root, said.lines)


# -- when --


def test_the_first_final_block_of_each_later_second_is_signed() -> None:
    who = cosigner(0)
    signed = [
        sent(final(who, now_s, size, time_s))
        for now_s, size, time_s in [
            (0.0, 5, T),
            (0.2, 6, T),
            (0.9, 7, T + 1),
            (1.0, 8, T + 1),
            (2.0, 8, T + 2),
        ]
    ]
    assert [[one.size for one in several] for several in signed] == [[5], [], [7], [], [8]]


def test_what_is_signed_is_kept_before_it_is_sent() -> None:
    effects = final(cosigner(0), 0.0, 5, T)
    assert [type(effect) for effect in effects] == [Signed, Send, WakeAt]
    assert effects[0] == Signed(TreeSize(5), root(5), T)


def test_a_log_at_rest_is_signed_once_more_after_half_a_second_and_then_each_minute() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    assert wakes(final(who, 0.2, 6, T)) == [pytest.approx(0.7)]
    assert sent(who.on_timer(0.69, T)) == []
    at_rest = who.on_timer(0.7, T)
    assert [one.size for one in sent(at_rest)] == [6]
    assert wakes(at_rest) == [pytest.approx(60.7)]
    assert sent(who.on_timer(30.0, T + 30)) == []
    again = who.on_timer(60.7, T + 60)
    assert again[0] == Signed(TreeSize(6), root(6), T + 60)
    assert wakes(again) == [pytest.approx(120.7)]


def test_growth_puts_off_the_word_of_rest() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    for step in range(1, 9):
        assert wakes(final(who, step / 10, 5 + step, T)) == [pytest.approx(step / 10 + 0.5)]
        assert sent(who.on_timer(step / 10, T)) == []


def test_a_clock_set_back_never_makes_a_newer_word_older() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    effects = who.on_timer(60.0, T - 500)
    assert effects[0] == Signed(TreeSize(5), root(5), T)


def test_a_clock_far_ahead_does_not_stop_signing_by_block_time() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    who.on_timer(60.0, T + 90_000)
    assert [one.size for one in sent(final(who, 61.0, 6, T + 61))] == [6]


# -- never --


def test_after_a_restart_nothing_smaller_and_no_other_root_is_signed() -> None:
    last = Signed(TreeSize(10), root(10), T)

    # Catching up after a restart is no fault, so nobody is told.
    behind = final(cosigner(0, last), 0.0, 9, T + 1)
    assert [type(effect) for effect in behind] == [WakeAt]
    effects = final(cosigner(0, last), 0.0, 10, T + 1, fork=b"other")
    assert sent(effects) == []
    assert [one.node for one in conflicts(effects)] == [NODES[0]]
    assert len(sent(final(cosigner(0, last), 0.0, 10, T + 1))) == 1
    assert len(sent(final(cosigner(0, last), 0.0, 11, T + 1))) == 1


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 90_000), st.sampled_from([b"", b"fork"])),
        max_size=25,
    )
)
def test_whatever_happens_no_two_roots_of_one_size_and_no_smaller_size_are_signed(
    steps: list[tuple[bool, int, int, bytes]],
) -> None:
    who, now_s, signed = cosigner(1), 0.0, []
    for is_block, size, passed_ms, fork in steps:
        now_s += passed_ms / 1000
        effects = (
            final(who, now_s, 1 + size, T + int(now_s), fork)
            if is_block
            else who.on_timer(now_s, T + int(now_s))
        )
        signed += [effect for effect in effects if isinstance(effect, Signed)]
        assert all(at_s > now_s or effect for effect in effects for at_s in wakes([effect]))
    assert [one.size for one in signed] == sorted(one.size for one in signed)
    assert [one.time_s for one in signed] == sorted(one.time_s for one in signed)
    roots: dict[int, bytes] = {}
    for one in signed:
        assert roots.setdefault(one.size, one.root) == one.root


def test_a_follower_signs_nothing_and_needs_no_timer() -> None:
    who = cosigner(None)
    assert final(who, 0.0, 5, T) == []
    assert who.on_timer(100.0, T) == []


# -- what counts --


def test_the_q_th_line_makes_the_checkpoint_trusted() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    assert tell(who, 1, word(1, 5, T + 1)) == []
    assert who.best() is None
    (best,) = tell(who, 2, word(2, 5, T + 2))
    assert isinstance(best, NewBest)
    assert best.note == who.best()
    trusted = checkpoint.quorum(
        SignedNote.parse(best.note), checkpoint.validator_keys(ORIGIN, PUBLIC), Q, keys.verify
    )
    assert replace(trusted, of=tuple(PUBLIC)) == best.trusted == who.trusted()
    assert (trusted.checkpoint.size, trusted.time_s) == (5, T)


def test_our_own_word_can_be_the_q_th() -> None:
    who = cosigner(0)
    tell(who, 1, word(1, 5, T))
    tell(who, 3, word(3, 5, T))
    effects = final(who, 0.0, 5, T)
    assert [type(effect) for effect in effects] == [Signed, Send, NewBest, WakeAt]


def test_a_larger_quorum_replaces_and_a_smaller_one_never_does() -> None:
    who = cosigner(None)
    for size in (7, 5, 9):
        for member in range(3):
            tell(who, member, word(member, size, T))
    trusted = who.trusted()
    assert trusted is not None
    assert trusted.checkpoint.size == 9


def test_signing_anew_makes_the_head_younger() -> None:
    who = cosigner(None)
    for later in (0, 60):
        for member in range(4):
            tell(who, member, word(member, 5, T + later))
    trusted = who.trusted()
    assert trusted is not None
    assert trusted.time_s == T + 60
    assert len(trusted.cosigners) == 4


def test_a_replay_changes_nothing() -> None:
    who = cosigner(None)
    for member in range(3):
        tell(who, member, word(member, 5, T + 60))
    before = who.best()
    for member in range(3):
        assert tell(who, member, word(member, 5, T)) == []
    assert who.best() == before
    (best,) = tell(who, 3, word(3, 5, T + 60))
    assert isinstance(best, NewBest)
    assert (best.trusted.time_s, len(best.trusted.cosigners)) == (T + 60, 4)


def test_a_note_from_elsewhere_is_believed_only_with_its_quorum() -> None:
    source, who = cosigner(None), cosigner(None)
    for member in range(3):
        tell(source, member, word(member, 5, T))
    note = source.best()
    assert note is not None
    (best,) = who.on_note(NODES[3], note)
    assert isinstance(best, NewBest)
    assert who.best() == note
    assert who.on_note(NODES[3], note) == []
    parsed = SignedNote.parse(note)
    for lie in (
        SignedNote(parsed.text, parsed.lines[:-1]).encode(),
        SignedNote(parsed.text.replace(b"\n5\n", b"\n6\n"), parsed.lines).encode(),
        SignedNote(parsed.text.replace(b"log.", b"lag."), parsed.lines).encode(),
        b"",
    ):
        with pytest.raises(Malformed):
            cosigner(None).on_note(NODES[3], lie)


def test_lines_of_strangers_on_a_note_end_here() -> None:
    """What we serve and pass on is what we verified, however much a peer hangs below it."""
    source, who = cosigner(None), cosigner(None)
    for member in range(3):
        tell(source, member, word(member, 5, T))
    note = source.best()
    assert note is not None
    parsed = SignedNote.parse(note)
    strangers = tuple(SignatureLine(f"stranger{i}.example", b"abcd", bytes(64)) for i in range(200))
    (best,) = who.on_note(NODES[3], SignedNote(parsed.text, (*strangers, *parsed.lines)).encode())
    assert isinstance(best, NewBest)
    assert best.note == who.best() == note


def test_a_quorum_for_another_log_is_refused() -> None:
    pairs = list(zip(LOGS, COSIGNERS, strict=True))
    other = checkpoint.Checkpoint("other.example", TreeSize(5), root(5))
    lines = [checkpoint.log_line(other, log.sign, log.public) for log, _ in pairs]
    lines += [checkpoint.cosign_line(other, own.sign, own.public, T) for _, own in pairs]
    with pytest.raises(ProofInvalid):
        cosigner(None).on_note(NODES[3], SignedNote(other.text(), tuple(lines)).encode())


# -- lies --

SAID = word(1, 5, T)
OTHER = word(2, 5, T)


@pytest.mark.parametrize(
    ("member", "size", "its_root", "lines"),
    [
        (1, 6, SAID.root, SAID.lines),
        (1, 5, root(6), SAID.lines),
        (1, 5, b"", SAID.lines),
        (1, -5, SAID.root, SAID.lines),
        (1, 2**60, SAID.root, SAID.lines),
        (2, 5, SAID.root, SAID.lines),
        (4, 5, SAID.root, SAID.lines),
        (1, 5, SAID.root, b""),
        (1, 5, SAID.root, SAID.lines[:-1]),
        (1, 5, SAID.root, SAID.lines * 2),
        (1, 5, SAID.root, SAID.lines + b"\n"),
        (1, 5, SAID.root, SAID.lines.split(b"\n")[0] + b"\n"),
        (1, 5, SAID.root, b"\n".join(reversed(SAID.lines.split(b"\n")[:2])) + b"\n"),
        (1, 5, SAID.root, SAID.lines.split(b"\n")[0] + b"\n" + OTHER.lines.split(b"\n")[1] + b"\n"),
        (1, 5, SAID.root, b"x" * 70_000),
    ],
)
def test_lines_that_are_not_the_sender_s_word_on_this_head_are_refused(
    member: int, size: int, its_root: bytes, lines: bytes
) -> None:
    who = cosigner(0)
    with pytest.raises(Malformed):
        who.on_lines((*NODES[:4], STRANGER)[member], size, its_root, lines)
    assert who.best() is None


@settings(max_examples=200)
@given(st.integers(0, len(SAID.lines) - 1), st.integers(0, 7))
def test_lines_with_any_bit_flipped_are_refused(at: int, bit: int) -> None:
    lie = SAID.lines[:at] + bytes([SAID.lines[at] ^ 1 << bit]) + SAID.lines[at + 1 :]
    with pytest.raises(Malformed):
        cosigner(0).on_lines(NODES[1], 5, SAID.root, lie)


def test_a_member_that_signs_two_roots_of_one_size_convicts_itself_and_counts_once() -> None:
    who = cosigner(None)
    assert tell(who, 1, word(1, 5, T)) == []
    (found,) = conflicts(tell(who, 1, word(1, 5, T + 1, fork=b"lie")))
    assert found.node == NODES[1]
    for evidence in (found.first, found.second):
        note = SignedNote.parse(evidence)
        assert checkpoint.quorum(
            note, checkpoint.validator_keys(ORIGIN, PUBLIC), 1, keys.verify
        ).cosigners == (COSIGNERS[1].public,)
    tell(who, 0, word(0, 5, T, fork=b"lie"))
    tell(who, 2, word(2, 5, T, fork=b"lie"))
    assert who.best() is None


def test_another_root_than_our_own_is_reported_with_both() -> None:
    who = cosigner(0)
    final(who, 0.0, 5, T)
    (found,) = conflicts(tell(who, 1, word(1, 5, T, fork=b"lie")))
    assert found.node == NODES[1]
    assert SignedNote.parse(found.first).text != SignedNote.parse(found.second).text


def test_two_quorums_that_disagree_are_reported_and_the_first_is_kept() -> None:
    who, liars = cosigner(None), cosigner(None)
    for member in range(3):
        tell(who, member, word(member, 5, T))
        tell(liars, member, word(member, 5, T, fork=b"lie"))
    kept, lie = who.best(), liars.best()
    assert lie is not None
    assert [type(effect) for effect in who.on_note(NODES[3], lie)] == [Conflict]
    assert who.best() == kept


def test_a_liar_with_endless_sizes_crowds_out_only_itself() -> None:
    who = cosigner(None)
    tell(who, 0, word(0, 5, T))
    tell(who, 1, word(1, 5, T))
    for size in (*range(20, 60), *range(2**50, 2**50 + 40)):
        tell(who, 3, word(3, size, T))
    assert [type(effect) for effect in tell(who, 2, word(2, 5, T))] == [NewBest]
    kept = [*who._claims.values(), *who._early.values()]
    assert max(len(sizes) for sizes in kept) <= COSIGN_SIZES.value


def test_what_is_older_than_the_best_costs_no_signature_check() -> None:
    checks: list[bytes] = []

    def counting(public: bytes, message: bytes, signature: bytes) -> bool:
        checks.append(public)
        return keys.verify(public, message, signature)

    who = cosigner(None, verify=counting)
    for member in range(3):
        tell(who, member, word(member, 9, T))
    before = len(checks)
    assert tell(who, 3, word(3, 8, T)) == []
    assert len(checks) == before


def test_four_validators_and_a_follower_end_with_one_checkpoint() -> None:
    everyone = [cosigner(member, size=0) for member in range(4)]
    follower = cosigner(None, size=0)
    for second in range(5):
        said = [
            (member, one)
            for member, who in enumerate(everyone)
            for one in sent(final(who, float(second), 10 * second + 1, T + second))
        ]
        final(follower, float(second), 10 * second + 1, T + second)
        for member, one in said:
            for who in [*everyone, follower]:
                tell(who, member, one)
    bests = {who.best() for who in [*everyone, follower]}
    assert len(bests) == 1
    trusted = follower.trusted()
    assert trusted is not None
    assert (trusted.checkpoint.size, len(trusted.cosigners)) == (41, 4)
    assert all(isinstance(line, SignatureLine) for line in SignedNote.parse(bests.pop() or b"").lines)


# -- a log that is longer than ours --


def test_what_is_said_of_a_longer_log_counts_once_ours_is_as_long() -> None:
    who = cosigner(None, size=4)
    for member in range(3):
        assert tell(who, member, word(member, 5, T)) == []
    assert who.best() is None
    (best,) = final(who, 0.0, 5, T)
    assert isinstance(best, NewBest)
    assert best.trusted.checkpoint.size == 5
    assert who._early == {}


def test_a_note_of_a_longer_log_counts_once_ours_is_as_long() -> None:
    source, who = cosigner(None), cosigner(None, size=4)
    for member in range(3):
        tell(source, member, word(member, 5, T))
    note = source.best()
    assert note is not None
    assert who.on_note(STRANGER, note) == []
    assert [type(effect) for effect in final(who, 0.0, 5, T)] == [NewBest]
    assert who.best() == note


def test_lies_about_a_longer_log_are_told_of_their_sender_later() -> None:
    who, said = cosigner(None, size=4), word(2, 5, T)
    assert who.on_lines(NODES[1], 5, said.root, said.lines) == []
    assert who.on_lines(STRANGER, 5, said.root, said.lines) == []
    lies = [effect for effect in final(who, 0.0, 5, T) if isinstance(effect, Bad)]
    assert sorted(one.sender for one in lies) == [STRANGER, NODES[1]]


def test_whatever_is_told_of_longer_logs_takes_bounded_room() -> None:
    who, said = cosigner(None, size=4), word(1, 5, T)
    for number in range(500):
        who.on_lines(number.to_bytes(32, "big"), 5 + number, said.root, said.lines)
    source = cosigner(None)
    for member in range(3):
        tell(source, member, word(member, 5, T))
    for number in range(50):
        who.on_note(number.to_bytes(32, "big"), source.best() or b"")
    assert len(who._early) <= 200
    assert len(who._early_notes) <= EARLY_NOTES.value


# -- epochs --


def seats(*numbers: int, rotated: tuple[int, ...] = ()) -> dict[bytes, tuple[bytes, bytes]]:
    """Validators by number; those in `rotated` sign with the keys of the number that is three higher."""
    return {NODES[i]: PAIRS[i + 3 if i in rotated else i] for i in numbers}


def epoch(number: int, first: int, who: dict[bytes, tuple[bytes, bytes]], last: int | None = None) -> Signers:
    return Signers(number, TreeSize(first), None if last is None else TreeSize(last), who)


END = 10
ONE_LEFT = epoch(1, END, seats(0, 1, 2, 4))  # 4 in place of 3
ENDED = epoch(0, 0, seats(0, 1, 2, 3), END)


def switched(me: int | None, now: Signers = ONE_LEFT, *, has: tuple[int, ...] | None = None) -> Cosigner:
    made = cosigner(me, has=has)
    made.on_epoch(now, ENDED)
    return made


def spoken(pair: int, size: int, time_s: int = T) -> Send:
    """The lines of the keys with this number, whoever has them."""
    everybody = epoch(9, 0, dict(zip(NODES, PAIRS, strict=True)))
    return sent(final(cosigner(pair, epoch=everybody), 0.0, size, time_s))[0]


def noted(size: int, *pairs: int) -> bytes:
    """A note signed with the keys of these numbers."""
    lines = b"".join(spoken(pair, size).lines for pair in pairs)
    text = checkpoint.Checkpoint(ORIGIN, TreeSize(size), root(size)).text()
    return text + b"\n" + lines


def test_after_the_switch_the_new_validators_quorum_makes_the_checkpoint() -> None:
    who = switched(None)
    for member in (0, 1):
        assert tell(who, member, spoken(member, 11)) == []
    with pytest.raises(Malformed):
        tell(who, 3, spoken(3, 11))
    (best,) = tell(who, 4, spoken(4, 11))
    assert isinstance(best, NewBest)
    assert set(best.trusted.of) == set(ONE_LEFT.seats.values())
    assert checkpoint.quorum_of(
        SignedNote.parse(best.note), ORIGIN, [tuple(ONE_LEFT.seats.values())], keys.verify
    ).cosigners == (PAIRS[0][1], PAIRS[1][1], PAIRS[4][1])


def test_where_an_epoch_ends_either_quorum_will_do_and_never_some_of_each() -> None:
    for good in ((0, 1, 3), (0, 1, 4), (1, 2, 3), (0, 2, 4)):
        assert [type(effect) for effect in switched(None).on_note(STRANGER, noted(END, *good))] == [NewBest]
    for mixed in ((0, 3, 4), (1, 3, 4)):
        with pytest.raises(ProofInvalid):
            switched(None).on_note(STRANGER, noted(END, *mixed))
        who = switched(None)
        for member in mixed:
            assert tell(who, member, spoken(member, END)) == []
        assert who.best() is None


@pytest.mark.parametrize(
    ("size", "pairs"), [(END - 1, (0, 1, 4)), (END + 1, (0, 1, 3)), (END + 1, (1, 2, 3))]
)
def test_a_quorum_of_another_epoch_than_the_size_s_is_none(size: int, pairs: tuple[int, ...]) -> None:
    with pytest.raises(ProofInvalid):
        switched(None).on_note(STRANGER, noted(size, *pairs))


def test_the_served_checkpoint_stays_until_the_new_quorum_has_signed() -> None:
    who = cosigner(None, size=END - 1)
    for member in (1, 2, 3):
        tell(who, member, spoken(member, END - 1))
    old = who.best()
    who.on_epoch(ONE_LEFT, ENDED)
    final(who, 0.0, END, T)
    for member in (0, 3, 4):
        tell(who, member, spoken(member, END))
    assert who.best() == old is not None
    assert [type(effect) for effect in tell(who, 1, spoken(1, END))] == [NewBest]


def test_more_validators_need_more_cosignatures_at_once() -> None:
    """Three of four are a quorum, four of five: the same three that sufficed yesterday do not today."""
    who = switched(None, epoch(1, END, seats(0, 1, 2, 3, 4)))
    for member in (0, 1, 2):
        assert tell(who, member, spoken(member, 11)) == []
    with pytest.raises(ProofInvalid):
        who.on_note(STRANGER, noted(11, 0, 1, 2))
    assert [type(effect) for effect in tell(who, 4, spoken(4, 11))] == [NewBest]


def test_lines_that_came_before_the_switch_count_by_the_epoch_of_their_size() -> None:
    """A node that is a block behind hears the next epoch's validators before it knows that they are some."""
    who = cosigner(None, size=END - 1)
    for member in (3, 4, 0, 1):
        assert tell(who, member, spoken(member, 11)) == []
    who.on_epoch(ONE_LEFT, ENDED)
    assert final(who, 0.0, END, T) == []
    effects = final(who, 0.1, 11, T)
    assert [one.sender for one in effects if isinstance(one, Bad)] == [NODES[3]]
    assert [one.trusted.checkpoint.size for one in effects if isinstance(one, NewBest)] == [11]


def test_who_left_signs_no_more_and_who_came_does() -> None:
    assert [one.size for one in sent(final(cosigner(3, size=0), 0.0, 9, T))] == [9]
    gone, came = switched(3), switched(4)
    assert final(gone, 1.0, 11, T + 1) == []
    assert gone.on_timer(99.0, T + 99) == []
    assert [one.size for one in sent(final(came, 1.0, 11, T + 1))] == [11]


def test_rotated_keys_sign_from_the_switch_on_where_the_node_has_them() -> None:
    now = epoch(1, END, seats(0, 1, 2, 3, rotated=(3,)))
    who = switched(None, now)
    (said,) = sent(final(switched(3, now, has=(3, 6)), 0.0, 11, T))
    assert said.lines == spoken(6, 11).lines
    assert tell(who, 3, said) == []
    with pytest.raises(Malformed):
        tell(who, 3, spoken(3, 11))  # the old keys, for a size of the new epoch
    assert sent(final(switched(3, now, has=(3,)), 0.0, 11, T)) == []  # the new ones are not here yet
    # At the end itself both the old and the new keys are its own, and each counts in its own epoch.
    assert tell(who, 3, spoken(3, END)) == []
    assert tell(who, 3, spoken(6, END)) == []


def test_two_roots_at_the_end_with_the_old_and_the_new_key_convict() -> None:
    now = epoch(1, END, seats(0, 1, 2, 3, rotated=(3,)))
    who = switched(None, now)
    tell(who, 3, spoken(3, END))
    everybody = epoch(9, 0, dict(zip(NODES, PAIRS, strict=True)))
    lie = sent(final(cosigner(6, epoch=everybody), 0.0, END, T, fork=b"lie"))[0]
    (found,) = conflicts(tell(who, 3, lie))
    assert found.node == NODES[3]


def test_what_lies_before_the_last_two_epochs_is_passed_over_and_nobody_is_blamed() -> None:
    who = cosigner(None)
    who.on_epoch(epoch(2, 20, seats(0, 1, 2, 5)), epoch(1, END, seats(0, 1, 2, 4), 20))
    for member in range(3):
        assert tell(who, member, spoken(member, END - 1)) == []
    assert who.on_note(STRANGER, noted(END - 1, 0, 1, 2)) == []
    assert who.best() is None


@settings(max_examples=300, deadline=None)
@given(
    size=st.integers(END - 2, END + 2),
    pairs=st.sets(st.integers(0, 6), max_size=7),
    joined=st.booleans(),
)
def test_a_note_is_believed_exactly_if_one_epoch_of_its_size_has_its_quorum(
    size: int, pairs: set[int], joined: bool
) -> None:
    now = epoch(1, END, seats(0, 1, 2, 3, 4) if joined else seats(0, 1, 2, 3, rotated=(2, 3)))
    epochs = [ENDED] * (size <= END) + [now] * (size >= END)
    signed = {PAIRS[pair] for pair in pairs}
    good = any(len(signed & set(one.seats.values())) >= one.q for one in epochs)
    who = switched(None, now)
    note = noted(size, *sorted(pairs))
    if good:
        assert [type(effect) for effect in who.on_note(STRANGER, note)] == [NewBest]
    else:
        with pytest.raises(Malformed):
            who.on_note(STRANGER, note)
