"""What a witness answers, in the protocol's own order, and what it never signs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyrsia import keys
from pyrsia.errors import Malformed
from pyrsia.log import note, tree, witness
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.log.witness import (
    KEPT_HEADS,
    MAX_LOG_KEYS,
    MAX_PROOF_LINES,
    Cosigned,
    Decision,
    Request,
    WatchedLog,
    WitnessKey,
    decide,
)
from pyrsia.units import MAX_WITNESS_REQUEST_BYTES, TreeSize
from tests.reference.toylog import ORIGIN, ToyLog

OWN = keys.KeyPair(b"w" * 32)
KEY = WitnessKey("witness.example/1", OWN.public, OWN.sign)
LOG = ToyLog()
WATCHED = WatchedLog(ORIGIN, tuple(LOG.vkeys))
T = 1_800_000_000


def ask(state: Cosigned | None, request: Request, now_s: int = T, log: WatchedLog = WATCHED) -> Decision:
    return decide(log, state, request, now_s=now_s, key=KEY, verify=keys.verify)


def at(*sizes: int) -> Cosigned:
    """The state after these sizes were cosigned, one a second."""
    state, old = None, 0
    for step, size in enumerate(sizes):
        state, old = ask(state, LOG.request(old, size), T + step).keep, size
    assert state is not None
    return state


def status(decision: Decision) -> int:
    given_ = [bool(decision.line), decision.size is not None, decision.refusal is not None]
    assert given_.count(True) == 1
    if decision.line:
        return 200
    return 409 if decision.refusal is None else decision.refusal.answer.http


def cosigned(decision: Decision, text: bytes) -> int:
    """The time of the cosignature in the answer, which must hold for `text`."""
    time_s = note.verify_line(text, note.SignatureLine.parse(decision.line), KEY.verifier, keys.verify).time_s
    assert time_s is not None
    return time_s


# -- the conversation --


def test_the_first_call_grows_from_nothing_and_the_next_ones_from_what_was_cosigned() -> None:
    first = LOG.request(0, 5)
    answer = ask(None, first)
    assert (status(answer), cosigned(answer, first.note.text)) == (200, T)
    state = answer.keep
    assert state is not None
    assert (state.size, state.root, state.time_s) == (5, LOG.root(5), T)

    second = LOG.request(5, 12)
    answer = ask(state, second, T + 9)
    assert (status(answer), cosigned(answer, second.note.text)) == (200, T + 9)
    assert answer.keep is not None
    assert [size for size, _, _ in answer.keep.heads] == [5, 12]


def test_what_is_kept_is_the_checkpoint_with_the_log_s_signature_and_ours() -> None:
    parsed = SignedNote.parse(at(5).note)
    assert parsed.text == LOG.note(5).text
    signers = note.verify_note(parsed, [*LOG.vkeys, KEY.verifier], keys.verify)
    assert [one.key for one in signers] == [*LOG.vkeys, KEY.verifier]


def test_the_same_size_is_cosigned_anew_with_a_new_time_and_at_most_once_a_second() -> None:
    state = at(5)
    again = ask(state, LOG.request(5, 5), T + 60)
    assert (status(again), cosigned(again, LOG.note(5).text)) == (200, T + 60)
    assert again.keep is not None
    assert len(again.keep.heads) == 1
    for now_s in (T, T - 500):  # within the second, and with a clock set back
        same = ask(state, LOG.request(5, 5), now_s)
        assert (status(same), cosigned(same, LOG.note(5).text), same.keep) == (200, T, None)


def test_a_clock_set_back_makes_no_newer_cosignature_older() -> None:
    answer = ask(at(5), LOG.request(5, 6), T - 500)
    assert cosigned(answer, LOG.note(6).text) == T


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (LOG.request(0, 7), 409),  # how a client learns the size
        (LOG.request(4, 7), 409),
        (LOG.request(6, 7), 409),
        (LOG.request(3, 4), 409),  # a feeder that is behind another
        (LOG.request(8, 7, proof=[]), 400),
        (LOG.request(5, 4, proof=[]), 400),  # it shrinks
        (LOG.request(5, 5, fork=3), 422),  # another root at our size
        (LOG.request(5, 5, proof=[bytes(32)]), 422),
        (LOG.request(5, 7, fork=3), 422),
        (LOG.request(5, 7, proof=[]), 422),
        (LOG.request(5, 7, proof=[bytes(32)] * 4), 422),
        (LOG.request(5, 7, proof=[*LOG.request(5, 7).proof, bytes(32)]), 422),
        (LOG.request(5, 7, proof=LOG.request(4, 7).proof), 422),
        (LOG.request(5, 7, root=LOG.root(8)), 422),
    ],
)
def test_each_no_has_the_protocol_s_code_and_changes_nothing(request_: Request, code: int) -> None:
    answer = ask(at(3, 5), request_)
    assert (status(answer), answer.keep) == (code, None)
    assert answer.size == (5 if code == 409 else None)


def test_from_nothing_only_an_empty_proof_leads_anywhere() -> None:
    assert status(ask(None, LOG.request(0, 7, proof=[bytes(32)]))) == 422
    assert status(ask(None, LOG.request(0, 0, root=LOG.root(3)))) == 422
    assert status(ask(None, LOG.request(3, 7))) == 409
    empty = ask(None, LOG.request(0, 0)).keep
    assert empty is not None
    assert (empty.size, empty.root) == (0, tree.EMPTY_ROOT)
    assert status(ask(empty, LOG.request(0, 0), T + 1)) == 200
    assert status(ask(empty, LOG.request(0, 7, proof=[bytes(32)]))) == 422
    assert status(ask(empty, LOG.request(0, 7))) == 200


def test_who_is_not_the_log_gets_nothing_cosigned() -> None:
    stranger = ToyLog(seed=200)
    assert status(ask(None, stranger.request(0, 5))) == 403
    good = LOG.note(5)
    broken = note.SignatureLine(good.lines[0].name, good.lines[0].key_id, bytes(64))
    for lines in (
        (broken,),
        (broken, *stranger.note(5).lines),
        (*stranger.note(5).lines, broken),
        (*good.lines, *good.lines),
    ):
        lie = Request(TreeSize(0), (), SignedNote(good.text, lines), Checkpoint.parse(good.text))
        answer = ask(None, lie)
        assert (status(answer), answer.keep, answer.evidence) == (403, None, None)
    # A stranger's line beside the log's own is passed over.
    both = SignedNote(good.text, (*stranger.note(5).lines, *good.lines))
    answer = ask(None, Request(TreeSize(0), (), both, Checkpoint.parse(good.text)))
    assert status(answer) == 200
    assert answer.keep is not None
    assert len(SignedNote.parse(answer.keep.note).lines) == 2


def test_a_log_of_many_keys_can_be_made_to_sign_with_several() -> None:
    log = ToyLog(signers=4)
    watched = WatchedLog(ORIGIN, tuple(log.vkeys), 2)
    assert status(ask(None, log.request(0, 5, signers=1), log=watched)) == 403
    answer = ask(None, log.request(0, 5, signers=3), log=watched)
    assert answer.keep is not None
    assert len(SignedNote.parse(answer.keep.note).lines) == 3  # two that count, and ours


def test_extension_lines_are_cosigned_with_the_rest_and_are_a_text_of_their_own() -> None:
    answer = ask(None, LOG.request(0, 5, more="an extension\n"))
    assert cosigned(answer, LOG.note(5).text + b"an extension\n") == T
    plain = ask(answer.keep, LOG.request(5, 5), T)
    assert cosigned(plain, LOG.note(5).text) == T
    assert plain.keep is not None


def test_an_origin_may_differ_from_the_key_s_name() -> None:
    log = ToyLog("go.sum database tree")
    watched = WatchedLog(log.origin, tuple(log.vkeys))
    assert status(ask(None, log.request(0, 5), log=watched)) == 200


# -- evidence --


@pytest.mark.parametrize(
    ("request_", "code", "kind", "kept"),
    [
        (LOG.request(5, 5, fork=3), 422, "fork", 5),
        (LOG.request(0, 5, fork=3), 409, "fork", 5),  # whatever the old size says
        (LOG.request(3, 3, fork=0), 409, "fork", 3),  # below the newest one too
        (LOG.request(5, 3, fork=0, proof=[]), 400, "fork", 3),
        (LOG.request(5, 4, proof=[]), 400, "shrink", 5),
        (LOG.request(5, 3, proof=[]), 400, None, 0),  # a head that we cosigned ourselves, replayed
        (LOG.request(5, 9, fork=4), 422, "proof", 5),
        (LOG.request(3, 4), 409, None, 0),
        (LOG.request(0, 9), 409, None, 0),
        (LOG.request(9, 7, proof=[]), 400, None, 0),
    ],
)
def test_what_contradicts_the_log_s_own_past_is_kept(
    request_: Request, code: int, kind: str | None, kept: int
) -> None:
    answer = ask(at(3, 5), request_)
    assert status(answer) == code
    if kind is None:
        assert answer.evidence is None
        return
    assert answer.evidence is not None
    assert answer.evidence.kind == kind
    ours, theirs = SignedNote.parse(answer.evidence.kept), SignedNote.parse(answer.evidence.told)
    assert ours.text == LOG.note(kept).text
    assert theirs == request_.note
    for one in (ours, theirs):  # the log signed both: nobody has to believe us
        assert LOG.vkeys[0] in [found.key for found in note.verify_note(one, LOG.vkeys, keys.verify)]


def test_only_so_many_heads_are_remembered() -> None:
    state = at(*range(1, KEPT_HEADS.value + 5))
    assert [size for size, _, _ in state.heads] == list(range(5, KEPT_HEADS.value + 5))


def test_who_is_not_the_log_makes_no_evidence() -> None:
    assert ask(at(5), ToyLog(seed=200).request(5, 5, fork=2)).evidence is None


# -- whatever happens --


class AnyConversation(RuleBasedStateMachine):
    """A hostile log and hostile feeders; a witness that forgets its answer but never its state."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Cosigned | None = None
        self.now_s = T
        self.signed: dict[int, bytes] = {}
        self.largest = 0

    @rule(
        old=st.integers(0, 12),
        size=st.integers(0, 12),
        fork=st.none() | st.integers(0, 12),
        proof=st.none() | st.lists(st.just(bytes(32)), max_size=2),
        passed=st.integers(-5, 5),
        fits=st.booleans(),
    )
    def tell(
        self, old: int, size: int, fork: int | None, proof: list[bytes] | None, passed: int, fits: bool
    ) -> None:
        if fits and self.state is not None:
            old = self.state.size
        self.now_s += passed
        request = LOG.request(old, size, fork, proof=proof)
        answer = ask(self.state, request, self.now_s)
        before = self.state
        self.state = answer.keep or self.state
        if status(answer) != 200:
            assert answer.keep is None
            return
        time_s = cosigned(answer, request.note.text)
        assert size >= self.largest
        assert before is None or time_s >= before.time_s
        assert self.signed.setdefault(size, request.checkpoint.root) == request.checkpoint.root
        self.largest = size

    @invariant()
    def every_cosigned_head_is_of_one_history(self) -> None:
        newest = self.state
        if newest is None:
            return
        assert newest.size == self.largest
        assert newest.heads[-1] == (newest.size, newest.root, newest.note)
        # All that was ever signed must be prefixes of one tree: of the toy log's leaves, or of one fork of it.
        histories = [None, *range(13)]
        assert any(
            all(LOG.root(size, fork) == root for size, root in self.signed.items()) for fork in histories
        )


AnyConversation.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestAnyConversation = AnyConversation.TestCase


# -- requests --

REQUEST = LOG.request(5, 12)
BODY = REQUEST.encode()
FIRST, LINES = BODY.split(b"\n")[0], BODY.partition(b"\n\n")[0].split(b"\n")[1:]
BELOW = BODY.partition(b"\n\n")[2]


def test_a_request_is_its_bytes_and_back() -> None:
    assert BODY.startswith(b"old 5\n")
    assert Request.parse(BODY) == REQUEST
    assert Request.parse(LOG.request(0, 5).encode()) == LOG.request(0, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        BELOW,
        b"\n" + BODY,
        BODY[:-1],
        BODY + b"\n",
        BODY.replace(b"old 5", b"old 05"),
        BODY.replace(b"old 5", b"old +5"),
        BODY.replace(b"old 5", b"old -5"),
        BODY.replace(b"old 5", b"old  5"),
        BODY.replace(b"old 5", b"old 5 "),
        BODY.replace(b"old 5", b"old 5_0"),
        BODY.replace(b"old 5", b"old"),
        BODY.replace(b"old 5", b"old "),
        BODY.replace(b"old 5", b"Old 5"),
        BODY.replace(b"old 5", b"old\t5"),
        BODY.replace(b"old 5", b"old 9007199254740992"),
        BODY.replace(b"old 5", b"old 9223372036854775808"),
        BODY.replace(b"old 5", b"old " + b"9" * 10_000),
        BODY.replace(b"old 5", "old \u0665".encode()),
        BODY.replace(b"old 5\n", b""),
        BODY.replace(b"old 5\n", b"old 5\n\n", 1),
        BODY.replace(b"\n", b"\r\n"),
        BODY.replace(LINES[0], LINES[0][:-1]),
        BODY.replace(LINES[0], b"AAAA"),
        BODY.replace(LINES[0], b" " + LINES[0]),
        b"\n".join([FIRST, *[LINES[0]] * (MAX_PROOF_LINES.value + 1)]) + b"\n\n" + BELOW,
        BODY.replace(b"\n12\n", b"\n012\n"),
        BODY.replace(b"\n12\n", b"\n+12\n"),
        BODY.replace(b"\n12\n", b"\n9223372036854775808\n"),
        BODY.replace(b"\n12\n", b"\n\n12\n"),
        b"old 5\n\n" + b"x" * MAX_WITNESS_REQUEST_BYTES.value,
        b"x" * 10_000_000,
    ],
)
def test_what_is_not_exactly_a_request_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        Request.parse(body)
    assert witness.malformed(caught.value).answer.http == 400


def test_a_proof_of_63_lines_is_still_a_request() -> None:
    body = b"\n".join([FIRST, *[LINES[0]] * MAX_PROOF_LINES.value]) + b"\n\n" + BELOW
    assert len(Request.parse(body).proof) == 63


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_changed_byte_of_a_request_gets_anything_else_cosigned(where: int, change: int) -> None:
    lie = BODY[:where] + bytes([BODY[where] ^ change]) + BODY[where + 1 :]
    try:
        request = Request.parse(lie)
    except Malformed:
        return
    assert request.encode() == lie
    if request.checkpoint.origin != ORIGIN:
        return  # 404 before anything is looked at
    assert status(ask(at(5), request)) in (400, 403, 409, 422)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"old 5\n", b"old 0\n\n", BODY[:60]]))
def test_no_bytes_make_the_parser_raise_anything_else(data: bytes, front: bytes) -> None:
    try:
        parsed = Request.parse(front + data)
    except Malformed:
        return
    assert parsed.encode() == front + data


# -- the configuration's form of a log --

VKEY = str(LOG.vkeys[0])
PAIR = [str(key) for key in ToyLog(signers=2).vkeys]


@pytest.mark.parametrize(
    ("text", "origin", "need", "count"),
    [
        (VKEY, ORIGIN, 1, 1),
        (f"  {VKEY}  ", ORIGIN, 1, 1),
        (f"{VKEY} origin=go.sum database tree", "go.sum database tree", 1, 1),
        (f"2 {PAIR[0]} {PAIR[1]}", ORIGIN, 2, 2),
        (f"2 {PAIR[0]} {PAIR[1]} origin=other", "other", 2, 2),
    ],
)
def test_a_watched_log_is_one_line_and_back(text: str, origin: str, need: int, count: int) -> None:
    log = WatchedLog.parse(text)
    assert (log.origin, log.need, len(log.keys)) == (origin, need, count)
    assert WatchedLog.parse(str(log)) == log


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        f"0 {VKEY}",
        f"2 {VKEY}",
        f"01 {VKEY}",
        f"+1 {VKEY}",
        f"x {VKEY}",
        f"{VKEY} {VKEY}",
        f"{VKEY} {ToyLog('other.example').vkeys[0]}",
        f"{VKEY} origin=",
        f"{VKEY} origin=a\nb",
        f"{VKEY} origin={'x' * 256}",
        VKEY[:-1],
        VKEY.replace("+", "-"),
        str(KEY.verifier),
        " ".join(
            str(VerifierKey("x", note.ED25519, keys.KeyPair(i.to_bytes(32, "big")).public))
            for i in range(MAX_LOG_KEYS.value + 1)
        ),
    ],
)
def test_what_is_no_log_to_watch_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        WatchedLog.parse(text)


def test_a_log_is_found_by_the_hash_of_its_origin() -> None:
    # The directory of a published test server of other people: SHA-256 of the origin in lower-case hex.
    assert witness.origin_hash("rome2026h1.example.org") == (
        "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"
    )
    assert witness.default_name(OWN.public).startswith("pyrsia.witness/")
