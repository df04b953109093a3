"""Membership, one node at a time: what it believes, whom it blames, and what a liar cannot do to it."""

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.mesh import beliefs, hearsay, probing, scores, swim
from pyrsia.mesh.dissemination import MAX_RUMOURS, Rumours
from pyrsia.mesh.health import WORST, WORST_HEARD, Health
from pyrsia.mesh.liveness import State
from pyrsia.mesh.membership import Blame, Changed, Mentioned, Send, World
from pyrsia.mesh.scores import Scores
from pyrsia.mesh.swim import Swim
from pyrsia.units import MAX_INCARNATION, MAX_TOLD
from pyrsia.wire.membership import (
    FIRST,
    LAST,
    Ack,
    Ask,
    Nack,
    Ping,
    Relayed,
    Row,
    Statement,
    Sync,
    Tell,
    Vitals,
    Word,
    encode,
)
from tests.sim.mesh.swimmers import NET, node_id, said, sign, verify

ME, ANN, BOB, EVE, DAN = (node_id(number) for number in range(5))
VITALS = Vitals(41, 3, "0.1.0")


class One:
    """A node whose time we hold, with a list of what it did. It knows the four others by their first words."""

    def __init__(self, others=(ANN, BOB, EVE, DAN), *, known=True, reach=None, incarnation=1):
        self.now = 0.0
        self.scores = Scores()
        self.unreachable = set()
        self.checked = 0
        world = World(
            sign=lambda data: sign(ME, data),
            verify=self._verify,
            reach=lambda node: node not in self.unreachable,
            listen=lambda node: self.heard.get(node, -math.inf),
            ignored=self.scores.ignored,
            vitals=lambda: VITALS,
        )
        self.heard = {}
        words = {node: said(Word.ALIVE, node, 1) for node in others} if known else {}
        self.core = Swim(ME, NET, world, Random(7), now=0.0, incarnation=incarnation, known=words)
        self.core.on_known(0.0, others)

    def _verify(self, *signed):
        self.checked += 1
        return verify(*signed)

    def take(self, sender, message):
        return self._note(self.core.on_message(self.now, sender, message))

    def tick(self):
        """To its next moment; what it did then."""
        self.now = max(self.now, self.core.wake_at)
        return self._note(self.core.on_timer(self.now))

    def until(self, when):
        """Everything that it does until then."""
        done = []
        while self.core.wake_at <= when:
            done += self.tick()
        self.now = when
        return done

    def probe(self):
        """The next ping of its own accord: whom, and the message."""
        while True:
            for effect in self.tick():
                if isinstance(effect, Send) and isinstance(effect.message, Ping):
                    return effect.node, effect.message

    def _note(self, effects):
        for effect in effects:
            if isinstance(effect, Blame):
                self.scores.note(self.now, effect.node, effect.points, effect.reason)
        return effects


def sends(effects, kind):
    return [
        (one.node, one.message) for one in effects if isinstance(one, Send) and isinstance(one.message, kind)
    ]


def states(effects):
    return [(one.node, one.state) for one in effects if isinstance(one, Changed)]


def suspect(node, by, incarnation=1):
    return said(Word.SUSPECT, node, incarnation, by)


# -- probes --


def test_each_node_is_pinged_once_in_a_round():
    one = One()
    rounds = []
    for _ in range(3):
        turn = []
        for _ in range(4):
            target, ping = one.probe()
            turn.append(target)
            one.take(target, Ack(ping.seq, VITALS, ()))
        rounds.append(turn)
    assert all(sorted(turn) == sorted([ANN, BOB, EVE, DAN]) for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1


def test_three_others_are_asked_before_anybody_is_suspected_and_the_target_is_pinged_again():
    one = One()
    target, ping = one.probe()
    effects = one.until(one.now + probing.DIRECT_S)
    asked = sends(effects, Ask)
    assert {node for node, _ in asked} == {ANN, BOB, EVE, DAN} - {target}
    assert all((ask.seq, ask.target) == (ping.seq, target) for _, ask in asked)
    assert (target, ping.seq) in [(node, again.seq) for node, again in sends(effects, Ping)]
    effects = one.until(one.now + probing.PROBE_S - probing.DIRECT_S + 0.01)
    assert states(effects) == [(target, State.SUSPECT)]
    told = {node for node, tell in sends(effects, Tell) if tell.told[0].word is Word.SUSPECT}
    assert told == {ANN, BOB, EVE, DAN}  # it and three others


@pytest.mark.parametrize("way", ["ack", "any message", "its link", "relayed"])
def test_any_sign_of_life_is_an_answer(way):
    one = One()
    target, ping = one.probe()
    asked = sends(one.until(one.now + probing.DIRECT_S), Ask)
    match way:
        case "ack":
            one.take(target, Ack(ping.seq, VITALS, ()))
        case "any message":
            one.take(target, Nack(12_345, True))
        case "its link":
            one.heard[target] = one.now
        case "relayed":
            one.take(asked[0][0], Relayed(ping.seq))
    assert states(one.until(one.now + 1.1)) == []  # what follows from this probe, and from no other yet


def test_an_answer_of_somebody_else_is_none():
    one = One(other := [node_id(number) for number in range(1, 6)])
    target, ping = one.probe()
    helpers = [node for node, _ in sends(one.until(one.now + probing.DIRECT_S), Ask)]
    (stranger,) = set(other) - {*helpers, target}
    for liar in (stranger, helpers[0]):
        one.take(liar, Ack(ping.seq, VITALS, ()))  # not theirs to answer
    one.take(stranger, Relayed(ping.seq))  # it was not asked
    one.take(helpers[0], Relayed(ping.seq + 1))  # nor was this
    assert states(one.until(one.now + 1.1)) == [(target, State.SUSPECT)]


def test_a_helper_pings_for_others_and_says_how_it_went():
    one = One()
    ((to, ping),) = sends(one.take(ANN, Ask(9, BOB, ())), Ping)
    assert to == BOB
    assert sends(one.take(EVE, Ack(ping.seq, VITALS, ())), Relayed) == []  # EVE is not BOB
    assert sends(one.take(BOB, Ack(ping.seq, VITALS, ())), Relayed) == [(ANN, Relayed(9))]
    one.take(ANN, Ask(10, BOB, ()))
    assert (ANN, Nack(10, True)) in sends(one.until(one.now + probing.RELAY_S + 0.1), Nack)
    one.unreachable.add(BOB)
    assert sends(one.take(ANN, Ask(11, BOB, ())), Nack) == [(ANN, Nack(11, False))]
    assert sends(one.take(ANN, Ask(12, node_id(99), ())), Nack) == [(ANN, Nack(12, False))]
    assert sends(one.take(ANN, Ask(13, ME, ())), Relayed) == [(ANN, Relayed(13))]


def test_pings_for_others_are_bounded():
    others = [node_id(number) for number in range(1, 300)]
    one = One(others)
    answers = [one.take(others[number], Ask(number, others[0], ())) for number in range(1, 299)]
    refused = [effects for effects in answers if sends(effects, Nack)]
    assert len(answers) - len(refused) == probing.MAX_RELAYS.value


def test_guests_that_have_pings_made_for_them_leave_most_places_to_members():
    """A dozen free ids took all of them, and no member found a helper."""
    others = [node_id(number) for number in range(1, 300)]
    one = One(others)
    prober, members = one.core._prober, {*others[:3]}
    prober._world = replace(prober._world, member=members.__contains__)
    answers = [one.take(others[number], Ask(number, others[0], ())) for number in range(3, 299)]
    refused = [effects for effects in answers if sends(effects, Nack)]
    assert len(answers) - len(refused) == probing.GUEST_RELAYS.value
    assert sends(one.take(others[1], Ask(1, others[0], ())), Ping)
    one.until(one.now + probing.RELAY_S + 0.1)  # those are over
    assert sends(one.take(others[5], Ask(2, others[0], ())), Ping)


def test_nobody_is_suspected_by_those_who_have_no_way_to_it():
    one = One()
    one.unreachable.add(BOB)
    done = one.until(20.0)
    assert BOB not in {node for node, _ in sends(done, Ping)}
    assert (BOB, State.SUSPECT) not in states(done)


@pytest.mark.parametrize("able", [True, False], ids=["silence", "no-way"])
def test_helpers_without_a_way_say_nothing_of_the_node(able):
    one = One([node_id(number) for number in range(1, 6)])
    target, ping = one.probe()
    one.unreachable.add(target)  # its link went meanwhile, and nobody can dial it
    for helper, ask in sends(one.until(one.now + probing.DIRECT_S), Ask):
        one.take(helper, Nack(ask.seq, able))
    assert ping.seq == ask.seq
    assert states(one.until(one.now + 1.1)) == ([(target, State.SUSPECT)] if able else [])


def test_a_node_that_nobody_can_dial_is_probed_when_its_link_broke():
    one = One()
    one.take(BOB, Ping(1, ()))
    one.unreachable.add(BOB)
    one.core.on_linked(one.now, BOB, False)
    done = one.until(one.now + probing.PROBE_S + 1.0)
    asked = [node for node, ask in sends(done, Ask) if ask.target == BOB]
    assert len(asked) == 3
    assert (BOB, State.SUSPECT) in states(done)


def test_a_member_that_was_never_heard_and_has_no_address_is_dead_after_a_minute():
    one = One(known=False)
    one.unreachable.add(BOB)
    one.heard.update(dict.fromkeys((ANN, EVE, DAN), math.inf))
    one.until(probing.UNHEARD_S - 1.0)
    assert one.core.state(BOB) is State.UNKNOWN
    done = one.until(probing.UNHEARD_S + 15.0)
    assert (BOB, State.DEAD) in states(done)
    assert not [tell for _, tell in sends(done, Tell) for told in tell.told if told.node == BOB]


# -- what is believed --


def test_only_a_node_itself_says_that_it_is_alive():
    one = One()
    forged = Statement(Word.ALIVE, BOB, 2, BOB, sign(EVE, b"anything"))
    effects = one.take(EVE, Tell((forged, suspect(ANN, EVE))))
    assert [(blame.node, blame.points) for blame in effects if isinstance(blame, Blame)] == [
        (EVE, scores.LIE)
    ]
    assert one.core.beliefs.incarnation(BOB) == 1
    assert one.core.state(ANN) is State.ALIVE  # nothing behind it is read


def test_a_suspicion_of_an_incarnation_that_the_node_never_signed_is_void():
    one = One()
    for incarnation in (2, 1 << 40, MAX_INCARNATION.value):
        one.take(EVE, Tell((suspect(BOB, EVE, incarnation),)))
    assert one.core.state(BOB) is State.ALIVE
    assert one.checked == 0
    one.take(BOB, Tell((said(Word.ALIVE, BOB, 2),)))
    assert one.core.beliefs.incarnation(BOB) == 2  # nobody carried it beyond reach


def test_what_is_said_of_an_older_incarnation_is_void():
    one = One()
    one.take(BOB, Tell((said(Word.ALIVE, BOB, 5),)))
    for old in (
        said(Word.ALIVE, BOB, 4),
        said(Word.LEFT, BOB, 4),
        suspect(BOB, EVE, 4),
        suspect(BOB, EVE, 1),
    ):
        assert states(one.take(EVE, Tell((old,)))) == []
    assert one.core.beliefs.incarnation(BOB) == 5
    assert one.core.state(BOB) is State.ALIVE


def test_who_is_suspected_and_never_answers_is_dead_and_its_next_word_brings_it_back():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN),)))
    assert one.core.state(BOB) is State.SUSPECT
    least = one.core.beliefs.wait_s(beliefs.AUTHORS)
    most = one.core.beliefs.wait_s(1)
    done = one.until(least - 0.01)
    assert (BOB, State.DEAD) not in states(done)
    done = one.until(most + 3.0)
    assert (BOB, State.DEAD) in states(done)
    assert 0 <= one.core.beliefs.gone_s(one.now, BOB) <= most
    assert (BOB, State.ALIVE) in states(one.take(ANN, Tell((said(Word.ALIVE, BOB, 2),))))
    assert one.core.beliefs.gone_s(one.now, BOB) is None


def test_authors_that_agree_shorten_the_wait_and_one_alone_does_not():
    waits = [One().core.beliefs.wait_s(authors) for authors in range(1, 6)]
    assert waits[0] == beliefs.MOST_TIMES * waits[3] == pytest.approx(15.0)
    assert all(long > short for long, short in pairwise(waits[:4]))
    assert waits[4] == waits[3]
    one = One()
    for _ in range(5):
        one.take(ANN, Tell((suspect(BOB, ANN),)))
    assert len(one.core.beliefs.against(BOB)) == 1


def test_suspicions_of_one_node_are_bounded():
    others = [node_id(number) for number in range(1, 40)]
    one = One(others)
    for author in others[1:]:
        one.take(author, Tell((suspect(others[0], author),)))
    assert len(one.core.beliefs.against(others[0])) == beliefs.AUTHORS


def test_who_is_heard_over_its_own_link_is_not_dead_whatever_others_say():
    one = One()
    for author in (ANN, EVE, DAN):
        one.take(author, Tell((suspect(BOB, author),)))
    one.heard[BOB] = 29.0
    done = one.until(30.0)
    assert (BOB, State.DEAD) not in states(done)


def test_who_was_dead_and_is_heard_is_alive_and_is_told_what_is_said_of_it():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN),)))
    one.until(30.0)
    assert one.core.state(BOB) is State.DEAD
    effects = one.take(BOB, Ping(5, ()))
    assert states(effects) == [(BOB, State.ALIVE)]
    assert (BOB, Tell((suspect(BOB, ANN),))) in [
        (node, Tell(tuple(told for told in tell.told if told.author == ANN)))
        for node, tell in sends(effects, Tell)
    ]


def test_who_left_is_no_failure_and_comes_back_by_its_own_word_only():
    one = One()
    assert states(one.take(ANN, Tell((said(Word.LEFT, BOB, 1),)))) == [(BOB, State.LEFT)]
    assert states(one.take(BOB, Ack(1, VITALS, ()))) == []  # it was on its way
    assert states(one.take(ANN, Tell((suspect(BOB, ANN),)))) == []
    assert one.core.beliefs.gone_s(one.now + 9.0, BOB) == 9.0
    one.now += 1.0
    assert states(one.take(BOB, Ping(1, (said(Word.ALIVE, BOB, 2),)))) == [(BOB, State.ALIVE)]


def test_a_node_that_stops_tells_those_it_has_links_with():
    effects = One().core.on_leave([ANN, BOB])
    assert [effect.node for effect in effects] == [ANN, BOB]
    assert effects[0].message == Tell((said(Word.LEFT, ME, 1),))


# -- what is said of us --


def test_who_suspects_us_is_answered_by_the_next_incarnation_and_others_are_told():
    one = One()
    effects = one.take(EVE, Tell((suspect(ME, EVE),)))
    assert one.core.own.incarnation == 2
    assert len({node for node, tell in sends(effects, Tell) if one.core.own in tell.told}) == hearsay.FANOUT
    effects = one.take(ANN, Ping(1, ()))
    assert one.core.own in sends(effects, Ack)[0][1].told


def test_we_answer_once_a_second_however_many_suspect_us():
    one = One()
    before = one.core.own.incarnation
    for number in range(100):
        one.now += 0.05
        one.take(EVE, Tell((suspect(ME, EVE, one.core.own.incarnation),)))
        one.until(one.now)
        assert one.core.own.incarnation - before <= 1 + (number + 1) * 0.05 / hearsay.REFUTE_S
    one.until(one.now + hearsay.REFUTE_S)
    assert one.core.own.incarnation >= before + 3


def test_an_unsigned_suspicion_of_us_is_no_reason_to_answer():
    one = One()
    forged = Statement(Word.SUSPECT, ME, 1, ANN, sign(EVE, b""))
    effects = one.take(EVE, Tell((forged,)))
    assert [blame.node for blame in effects if isinstance(blame, Blame)] == [EVE]
    assert one.core.own.incarnation == 1


def test_a_node_whose_clock_was_set_back_goes_on_behind_what_it_said_before():
    one = One()
    effects = one.take(ANN, Tell((said(Word.LEFT, ME, 1_000),)))
    assert one.core.own == said(Word.ALIVE, ME, 1_001)
    assert any(one.core.own in tell.told for _, tell in sends(effects, Tell))


def test_an_incarnation_never_overflows():
    one = One(incarnation=MAX_INCARNATION.value)
    one.take(EVE, Tell((suspect(ME, EVE, MAX_INCARNATION.value),)))
    assert one.core.own.incarnation == MAX_INCARNATION.value
    encode(Tell((one.core.own,)))
    assert One(incarnation=1 << 70).core.own.incarnation == MAX_INCARNATION.value


# -- liars --


def test_a_lone_suspicion_that_was_answered_costs_its_author():
    one = One()
    for incarnation in range(1, 4):
        one.now += 1.0
        one.take(DAN, Tell((suspect(BOB, EVE, incarnation),)))
        one.take(ANN, Tell((said(Word.ALIVE, BOB, incarnation + 1),)))
    assert one.scores.of(one.now, EVE) == pytest.approx(3 * hearsay.WRONG, rel=0.01)
    assert one.scores.of(one.now, DAN) == 0  # it only passed on what was signed
    assert one.scores.reason(EVE) == "suspected a node that was there"


def test_who_suspects_with_others_or_before_a_restart_is_not_blamed():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN), suspect(BOB, EVE))))
    one.take(BOB, Tell((said(Word.ALIVE, BOB, 2),)))
    one.now += 1.0
    one.take(ANN, Tell((suspect(BOB, ANN, 2),)))
    one.take(BOB, Tell((said(Word.ALIVE, BOB, 50),)))  # a new life
    assert one.scores.of(one.now, ANN) == one.scores.of(one.now, EVE) == 0


def test_a_liar_that_goes_on_is_not_listened_to_any_more():
    one = One()
    for incarnation in range(1, 80):
        one.now += 1.0
        one.take(EVE, Tell((suspect(BOB, EVE, incarnation),)))
        one.take(BOB, Tell((said(Word.ALIVE, BOB, incarnation + 1),)))
    assert one.scores.ignored(one.now, EVE)
    last = one.core.beliefs.incarnation(BOB)
    assert states(one.take(EVE, Tell((suspect(BOB, EVE, last),)))) == []
    assert states(one.take(DAN, Tell((suspect(BOB, EVE, last),)))) == []  # nor by way of another
    assert sends(one.take(EVE, Ping(7, ())), Ack) != []  # but that it lives is still seen
    assert sends(one.take(EVE, Sync(FIRST, LAST, ())), Tell) == []
    assert sends(one.take(EVE, Ask(1, BOB, ())), Ping) == []


def test_nodes_that_are_not_tracked_are_only_mentioned():
    one = One()
    strangers = [node_id(number) for number in range(100, 140)]
    words = tuple(said(Word.ALIVE, node, 5) for node in strangers)
    effects = one.take(EVE, Tell(words))
    assert [effect.node for effect in effects if isinstance(effect, Mentioned)] == strangers[
        : hearsay.MAX_MENTIONS.value
    ]
    assert all(one.core.state(node) is State.UNKNOWN for node in strangers)
    assert len(one.core.beliefs) == 4
    assert one.checked == 0
    accuser = one.take(EVE, Tell((suspect(BOB, strangers[0]),)))  # nor do they count as authors
    assert states(accuser) == []


def test_a_stranger_is_answered_and_mentioned_and_nothing_else():
    one = One()
    stranger = node_id(77)
    effects = one.take(stranger, Ping(3, (suspect(BOB, stranger),)))
    assert sends(effects, Ack) == [(stranger, Ack(3, VITALS, ()))]
    assert [effect for effect in effects if isinstance(effect, Mentioned)] == [Mentioned(stranger)]
    assert one.take(stranger, Sync(FIRST, LAST, ())) == [Mentioned(stranger)]


def test_a_flood_is_dropped_and_costs_points():
    one = One()
    effects = [effect for number in range(400) for effect in one.take(EVE, Ping(number, ()))]
    assert len(sends(effects, Ack)) == swim.BURST
    assert one.scores.ignored(one.now, EVE)
    assert sends(one.take(ANN, Ping(1, ())), Ack) != []  # nobody else pays for it


def test_a_flood_of_comparisons_is_answered_a_while_and_then_no_more():
    one = One()
    done = [one.take(EVE, Sync(FIRST, LAST, ())) for _ in range(110)]
    assert sum(bool(sends(effects, Tell)) for effects in done) == swim.SYNC_BURST


def test_a_node_that_renews_itself_without_pause_is_believed_twice_a_second():
    one = One()
    for incarnation in range(2, 42):
        one.now += 0.05
        one.take(BOB, Tell((said(Word.ALIVE, BOB, incarnation),)))
    assert one.checked <= 2.0 / beliefs.RENEW_S + 1


def test_a_goodbye_counts_at_once_after_a_first_word():
    one = One()
    one.take(BOB, Tell((said(Word.ALIVE, BOB, 2),)))
    assert states(one.take(BOB, Tell((said(Word.LEFT, BOB, 2),)))) == [(BOB, State.LEFT)]


def test_what_is_tracked_is_bounded(monkeypatch):
    monkeypatch.setattr(swim, "MAX_TRACKED", type(swim.MAX_TRACKED)(6, "small"))
    one = One()
    one.core.on_known(0.0, [node_id(number) for number in range(50, 60)])
    assert len(one.core.beliefs) == 6


def test_garbage_is_malformed_and_changes_nothing():
    one = One()
    with pytest.raises(Malformed):
        one.core.on_bytes(0.0, EVE, b"\xff" * 40)
    assert one.core.on_bytes(0.0, ANN, encode(Ping(1, ()))) != []


# -- a node that is late itself --


@pytest.mark.parametrize("first", ["timer", "message"])
def test_who_stood_still_accuses_nobody_and_buries_nobody_before_it_has_read_what_waits(first):
    one = One()
    target, ping = one.probe()
    one.take(ANN, Tell((suspect(DAN, ANN), suspect(DAN, BOB))))
    one.now += 60.0
    waits = [(target, Ack(ping.seq, VITALS, ())), (ANN, Tell((said(Word.ALIVE, DAN, 2),)))]
    effects = []
    if first == "timer":
        effects += one.core.on_timer(one.now)
    for sender, message in waits:
        effects += one.take(sender, message)
    effects += one.until(one.now + swim.QUIET_S - 0.01)
    assert states(effects) == [(DAN, State.ALIVE)]
    assert not [
        tell
        for _, tell in sends(effects, Tell)
        for told in tell.told
        if told.author == ME and told.node != ME
    ]
    assert one.core.health.score > 0


def test_nobodys_time_passes_while_we_stand_still_and_what_was_under_way_is_void():
    one = One()
    target, _ = one.probe()
    author = ANN if target != ANN else BOB
    one.take(author, Tell((suspect(DAN, author),)))
    least = one.core.beliefs.wait_s(beliefs.AUTHORS)
    one.now += 60.0
    effects = one._note(one.core.on_timer(one.now))
    assert sends(effects, Ask) == []
    one.heard.update(dict.fromkeys((ANN, BOB, EVE), math.inf))
    one.until(one.now + least - 1.0)
    assert one.core.state(DAN) is State.SUSPECT
    one.until(one.now + 20.0)
    assert one.core.state(DAN) is State.DEAD


def test_who_had_nearly_no_time_left_when_we_stood_still_is_heard_first():
    one = One()
    one.unreachable.add(DAN)  # nor do we suspect it ourselves
    one.take(ANN, Tell((suspect(DAN, ANN),)))
    one.heard.update(dict.fromkeys((ANN, BOB, EVE), math.inf))
    one.until(one.core.beliefs.due_s - 0.05)
    assert one.core.state(DAN) is State.SUSPECT
    one.now = one.core.wake_at + 10.0
    one._note(one.core.on_timer(one.now))
    assert states(one.until(one.now + swim.QUIET_S - 0.1)) == []
    assert states(one.take(ANN, Tell((said(Word.ALIVE, DAN, 2),)))) == [(DAN, State.ALIVE)]


def test_while_we_stood_still_nobody_was_dead():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN), suspect(BOB, EVE), suspect(BOB, DAN))))
    one.heard.update(dict.fromkeys((ANN, EVE, DAN), math.inf))
    while one.core.state(BOB) is not State.DEAD:
        one.tick()
    one.until(one.now + 10.0)
    before = one.core.beliefs.gone_s(one.now, BOB)
    one.now = one.core.wake_at + 600.0
    one._note(one.core.on_timer(one.now))
    assert before <= one.core.beliefs.gone_s(one.now, BOB) <= before + 1.0
    one.until(one.now + 5.0)
    assert one.core.beliefs.gone_s(one.now, BOB) >= before + 4.0


def test_a_wait_that_authors_shorten_to_the_past_is_no_stall_of_ours():
    one = One()
    one.unreachable.add(BOB)
    one.heard.update(dict.fromkeys((ANN, EVE, DAN), math.inf))
    one.take(ANN, Tell((suspect(BOB, ANN),)))
    one.until(one.core.beliefs.wait_s(1) - 2.0)
    before = one.core.health.score
    one.take(EVE, Tell((suspect(BOB, EVE), suspect(BOB, DAN))))
    assert one.core.wake_at >= one.now
    assert (BOB, State.DEAD) in states(one.tick())
    assert one.core.health.score <= before


def test_a_loop_that_is_late_again_and_again_still_finds_the_dead():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN), suspect(BOB, EVE), suspect(BOB, DAN))))
    while one.now < 60.0 and one.core.state(BOB) is not State.DEAD:
        one.now = one.core.wake_at + 0.4
        one._note(one.core.on_timer(one.now))
        one.tick()  # every second one comes in time
    assert one.core.state(BOB) is State.DEAD


def test_nodes_that_come_and_go_do_not_make_the_round_longer():
    one = One()
    for _ in range(500):
        one.core.on_forgotten([BOB])
        one.core.on_known(one.now, [BOB])
    assert len(one.core._prober._round) <= 2 * len(one.core.beliefs)


def test_a_late_loop_makes_every_patience_longer():
    one = One()
    one.core.on_lag(0.35)
    assert one.core.health.factor == 4
    target, _ = one.probe()
    effects = one.until(one.now + 3 * probing.DIRECT_S)
    assert sends(effects, Ask) == []
    assert sends(one.until(one.now + probing.DIRECT_S), Ask) != []
    one.core.on_lag(0.0)
    assert one.core.health.factor == 1
    assert target in (ANN, BOB, EVE, DAN)


@pytest.mark.parametrize(
    ("said_no", "heard", "score"), [(True, False, 0), (False, False, 3), (False, True, WORST_HEARD)]
)
def test_silence_of_helpers_speaks_against_us_and_their_no_does_not(said_no, heard, score):
    one = One([node_id(number) for number in range(1, 6)])
    target, ping = one.probe()
    asked = sends(one.until(one.now + probing.DIRECT_S), Ask)
    for helper, ask in asked if said_no else ():
        one.take(helper, Nack(ask.seq, True))
    if heard:
        (other,) = {node_id(number) for number in range(1, 6)} - {target, *(node for node, _ in asked)}
        one.take(other, Ping(ping.seq, ()))
    one.until(one.now + 1.02)
    assert one.core.health.score == score


def test_health_is_bounded_and_recovers():
    health = Health()
    for _ in range(50):
        health.worse(3)
    assert health.score == WORST
    for _ in range(WORST):
        health.better()
    assert health.factor == 1
    health.late(1e9)
    assert health.score == WORST
    health.late(-1.0)
    assert health.score == 0


# -- what is told on, and comparing --


def test_a_statement_is_told_a_logarithmic_number_of_times_and_the_newest_first():
    for nodes, times in ((9, 4), (10, 8), (99, 8), (1_000, 16)):
        rumours = Rumours()
        rumours.add(said(Word.ALIVE, ANN, 1))
        assert sum(len(rumours.take(5, nodes)) for _ in range(100)) == times
    rumours = Rumours()
    rumours.add(said(Word.ALIVE, ANN, 1))
    rumours.add(said(Word.ALIVE, BOB, 1))
    assert [one.node for one in rumours.take(1, 10)] == [BOB]
    rumours.add(said(Word.ALIVE, ANN, 2))
    assert [one.incarnation for one in rumours.take(9, 10) if one.node == ANN] == [2]


def test_a_suspicion_that_was_answered_is_told_no_more():
    one = One()
    one.take(ANN, Tell((suspect(BOB, ANN),)))
    ((_, ack),) = sends(one.take(EVE, Ping(1, ())), Ack)
    assert suspect(BOB, ANN) in ack.told
    one.take(ANN, Tell((said(Word.ALIVE, BOB, 2),)))
    ((_, ack),) = sends(one.take(EVE, Ping(2, ())), Ack)
    assert suspect(BOB, ANN) not in ack.told
    assert said(Word.ALIVE, BOB, 2) in ack.told


def test_what_is_told_on_is_bounded():
    rumours = Rumours()
    for number in range(MAX_RUMOURS.value + 100):
        rumours.add(Statement(Word.ALIVE, node_id(number), 1, node_id(number), b""))
    assert len(rumours) == MAX_RUMOURS.value


words = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 3), st.sampled_from(Word), st.integers(1, 9)), max_size=30
)


def believing(number, pool, told):
    """A core of node `number` that was told these."""
    me = node_id(number)
    world = World(
        sign=lambda data: sign(me, data), verify=verify, reach=lambda node: True, listen=lambda node: -math.inf,
        ignored=lambda now, node: False, vitals=lambda: VITALS,
    )  # fmt: skip
    core = Swim(me, NET, world, Random(number), now=0.0, incarnation=1)
    core.on_known(0.0, pool)
    for node, incarnation, word, author in told:
        author_id = node_id(author)
        if node_id(node) == me or (word is Word.SUSPECT and author == node):
            continue
        core.beliefs._renewed.clear()
        one = said(word, node_id(node), incarnation, author_id if word is Word.SUSPECT else None)
        core.on_message(0.0, author_id if author_id != me else node_id(1), Tell((one,)))
    core.beliefs._renewed.clear()
    return core


@given(words, words)
def test_two_that_have_compared_know_the_same_and_it_is_the_newest_of_both(mine, theirs):
    pool = [node_id(number) for number in range(1, 10)]
    a, b = believing(20, pool, mine), believing(21, pool, theirs)
    a.on_known(0.0, [b.me]), b.on_known(0.0, [a.me])
    best = {node: max(a.beliefs.newest(node), b.beliefs.newest(node)) for node in pool}
    queue = [(a, b, one.message) for one in a.on_linked(0.0, b.me, True) if isinstance(one, Send)]
    for _ in range(200):
        if not queue:
            break
        sender, to, message = queue.pop(0)
        for effect in to.on_message(0.0, sender.me, message):
            if isinstance(effect, Send) and effect.node == sender.me:
                queue.append((to, sender, effect.message))
    assert not queue
    for node in pool:
        assert a.beliefs.newest(node) == b.beliefs.newest(node) == best[node]


def test_pages_are_bounded_and_go_on_to_the_end():
    others = [node_id(number) for number in range(1, 700)]
    one = One(others)
    after, told, asked = FIRST, 0, 0
    while True:
        ((_, answer),) = sends(one.take(EVE, Sync(after, LAST, ())), Tell)
        assert len(answer.told) <= MAX_TOLD.value
        told, asked = told + len(answer.told), asked + 1
        if answer.more is None:
            break
        assert answer.more > after
        after = answer.more
    assert told == 700
    assert asked <= 12


def test_a_page_is_made_anew_when_anything_in_it_has_changed():
    one = One()

    def listed():
        rows = one.core.beliefs.rows(sorted([ME, ANN, BOB, DAN, EVE]), one.core.own)
        ((_, answer),) = sends(one.take(EVE, Sync(FIRST, LAST, rows)), Tell)
        return rows, answer

    old, answer = listed()
    assert answer == Tell(())
    one.take(ANN, Tell((suspect(BOB, ANN), suspect(ME, ANN))))
    ((_, answer),) = sends(one.take(EVE, Sync(FIRST, LAST, old)), Tell)
    assert set(answer.told) == {suspect(BOB, ANN), said(Word.ALIVE, ME, 2)}
    assert listed()[1] == Tell(())


def test_a_list_that_claims_to_know_more_gets_a_question_and_no_belief():
    one = One()
    rows = tuple(
        sorted(
            (Row(node, MAX_INCARNATION.value, Word.LEFT) for node in (ANN, BOB, node_id(88))),
            key=lambda row: row.node,
        )
    )
    effects = one.take(EVE, Sync(FIRST, LAST, rows))
    ((_, answer),) = sends(effects, Tell)
    assert set(answer.wants) == {ANN, BOB}
    assert Mentioned(node_id(88)) in effects
    assert one.core.state(ANN) is one.core.state(BOB) is State.ALIVE
