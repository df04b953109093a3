"""Networks of membership cores in virtual time. `python -m tests.sim.mesh` runs the same scenes at full size."""

import pytest

from pyrsia.mesh import beliefs
from pyrsia.mesh.liveness import State
from pyrsia.wire.membership import Ask, Ping, Relayed, Tell

from . import scenes
from .network import Network, Weather
from .swimmers import Pool

SEEDS = (1, 2, 3)


def test_messages_of_a_node_do_not_grow_with_the_network_and_hardly_anybody_is_doubted():
    """10 to 1,000 nodes, a virtual minute each, 1 % loss. What is counted is messages, not time."""
    seen = {count: scenes.quiet(1, count) for count in (10, 100, 1_000)}
    for count, quiet in seen.items():
        assert quiet.suspected < 0.001, count
        assert quiet.buried == 0, count
    messages = [quiet.messages for quiet in seen.values()]
    assert max(messages) < 1.25 * min(messages)
    assert max(messages) < 3.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [2, 3, 10, 60])
def test_all_know_of_a_crash_within_the_longest_wait_and_a_round_of_gossip(seed, count):
    assert scenes.crash(seed, count) < 3 * beliefs.LEAST_FACTOR * 2 + 10.0


def test_the_bytes_of_messages_carry_all_that_the_messages_do():
    assert scenes.crash(4, 20, coded=True) == scenes.crash(4, 20)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("leave", [False, True], ids=["crash", "goodbye"])
def test_who_comes_back_is_alive_for_all_soon(seed, leave):
    took, pool = scenes.restart(seed, 30, leave=leave)
    assert took < 10.0
    assert pool.false_dead == []
    assert not any(swimmer.scores.reason(node) for swimmer in pool.at.values() for node in pool.ids)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("for_s", [2.0, 10.0])
@pytest.mark.parametrize("count", [4, 40])
def test_a_node_that_stood_still_accuses_nobody(seed, for_s, count):
    accused, pool = scenes.stall(seed, count, for_s)
    assert accused == 0
    assert pool.agree()
    assert pool.false_dead == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [4, 40])
def test_a_network_that_was_cut_in_two_is_whole_again_soon_after_it_heals(seed, count):
    apart, whole = scenes.partition(seed, count)
    assert apart < 90.0
    assert whole < 60.0


@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_the_nodes_restart_at_a_fifth_of_messages_lost_and_it_converges(seed):
    took, pool = scenes.half_restarts(seed, 40)
    assert took < 60.0
    assert len(pool.false_dead) <= 2
    assert pool.net.lost["weather"] > 0.15 * pool.net.sent.total()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lie_is_answered_before_anybody_believes_it(seed):
    pool, liar = scenes.liar(seed, 20, every_s=2.0, for_s=30.0)
    assert liar.lies >= 10
    victim = pool.ids[1]
    assert [of for _, _, of in pool.false_dead if of == victim] == []
    assert any(of == victim for _, _, of in pool.false_suspects)  # it was looked at
    assert pool.states(victim).keys() <= {State.ALIVE, State.SUSPECT}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_liar_that_goes_on_loses_its_score_with_everybody_and_the_victim_is_left_alone(seed):
    pool, villain = scenes.liar(seed, 20, every_s=0.5, for_s=150.0)
    liar, victim = pool.ids[0], pool.ids[1]
    others = [swimmer for node, swimmer in pool.at.items() if node != victim]
    assert all(swimmer.scores.of(pool.net.now, liar) < -60.0 for swimmer in others)
    assert sum(swimmer.scores.ignored(pool.net.now, liar) for swimmer in others) > len(others) / 2
    assert {swimmer.scores.reason(liar) for swimmer in others} == {"suspected a node that was there"}
    assert pool.at[victim].core.own.incarnation < 80 < villain.lies
    assert all(swimmer.scores.of(pool.net.now, victim) == 0 for swimmer in pool.at.values())


def always_helped(pool, liars):
    """They say of everybody that it answered them, and accuse nobody."""

    def lying(swimmer):
        honest = swimmer.take

        def take(now, sender, message):
            if isinstance(message, Ask):
                pool.net.send(swimmer.node, sender, Relayed(message.seq))
            else:
                honest(now, sender, message)

        return take

    for node in liars:
        pool.at[node].take = lying(pool.at[node])
        pool.at[node].core._hearsay.accuse = lambda now, node: None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("members", "lying", "guests"), [(4, 1, 0), (5, 1, 0), (4, 0, 40), (8, 1, 16)])
def test_no_helpers_word_keeps_a_dead_member_alive(members, lying, guests, seed):
    """One member of four is always asked; and ids of guests are free."""
    named = set()
    pool = Pool(seed, members + guests, member=lambda node: node in named)
    named.update(pool.ids[:members])
    always_helped(pool, pool.ids[members - lying :])
    honest = pool.ids[1 : members - lying]
    pool.net.run(5.0)
    pool.crash(pool.ids[0])
    all_know = lambda: all(pool.at[one].core.state(pool.ids[0]) is State.DEAD for one in honest)  # noqa: E731
    assert pool.net.run_until(all_know, within=120.0) < 120.0


def leaves_alone(pool, victim):
    """Answers none of `victim`'s pings, nor those of its helpers, and refutes what it is suspected of."""
    villain = pool.at[pool.ids[0]]
    honest, deaf_s = villain.take, [-9.0]

    def take(now, sender, message):
        if isinstance(message, Ping) and sender == victim and now - deaf_s[0] > 2.0:
            deaf_s[0] = now
        if isinstance(message, Ping) and (sender == victim or now < deaf_s[0] + 1.7):
            for one in message.told:
                if one.node == villain.node:
                    honest(now, sender, Tell((one,)))
            return
        honest(now, sender, message)

    villain.take = take


@pytest.mark.parametrize("count", [4, 10])
def test_who_is_led_to_suspect_a_living_node_again_and_again_is_still_listened_to(count):
    pool = Pool(1, count)
    victim = pool.ids[1]
    leaves_alone(pool, victim)
    pool.net.run(900.0)
    others = [pool.at[node] for node in pool.ids[2:]]
    assert any(one.scores.reason(victim) for one in others)
    assert all(one.scores.of(pool.net.now, victim) > -30.0 for one in others)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [2, 5, 9])
def test_guests_that_come_and_go_leave_nothing_behind_and_cost_no_member_its_name(seed, count):
    came, pool = scenes.guests(seed, count, 90.0)
    assert came > 200
    assert pool.agree()
    assert pool.false_dead == []
    for one in pool.at.values():
        held = one.core.beliefs
        assert set(held.nodes()) == set(pool.ids) - {one.node}
        assert (held.present, held.gone()) == (count - 1, [])
        assert one.core.rumours <= 4 * count
        assert not any(map(one.scores.reason, pool.ids))


def test_a_node_that_only_two_can_reach_is_alive_for_all():
    pool = scenes.lonely(1, 12)
    assert pool.states(pool.ids[-1]).keys() == {State.ALIVE}
    assert pool.false_suspects == pool.false_dead == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [3, 5, 14])
def test_whatever_happened_all_know_who_is_there_soon_after_it_is_calm(seed, count):
    """Crashes, goodbyes, starts, stalls and partitions at 20 % loss. 600 seeds of 3 to 30 nodes took 37 s at most."""
    took, pool = scenes.chaos(seed, count)
    assert took < 60.0
    assert len(pool.at) >= count // 2


# -- the network itself --


class Echo:
    """Notes what comes and when, and its own ticks."""

    def __init__(self, wake_at=float("inf")):
        self.wake_at, self.log = wake_at, []

    def take(self, now, sender, message):
        self.log.append((now, sender, message))

    def tick(self, now):
        self.log.append((now, None, None))
        self.wake_at += 1.0


def sent(weather, seed=1, count=1_000):
    net = Network(seed, weather)
    net.start("b", echo := Echo())
    net.start("a", Echo())
    for number in range(count):
        net.send("a", "b", number)
    net.run(10.0)
    return echo.log, net


def test_weather_loses_doubles_delays_and_overtakes_and_a_seed_does_it_again():
    weather = Weather(loss=0.1, twice=0.1, late=0.1)
    log, net = sent(weather)
    assert 850 < len({message for _, _, message in log}) < 950
    assert net.lost["weather"] == 1_000 - len({message for _, _, message in log})
    assert len(log) > len({message for _, _, message in log}) + 50
    assert [message for _, _, message in log] != sorted(message for _, _, message in log)
    assert max(now for now, _, _ in log) > weather.most_s
    assert log == sent(weather)[0] != sent(weather, seed=2)[0]


def test_a_partition_a_cut_a_crash_and_a_stall_do_what_they_say():
    net = Network(1)
    echoes = {name: Echo() for name in "abc"}
    for name, echo in echoes.items():
        net.start(name, echo)
    net.partition("ab", "c")
    net.send("a", "b", 1), net.send("a", "c", 2)
    net.run(1.0)
    net.heal()
    net.cut("a", "b")
    net.send("a", "b", 3), net.send("b", "a", 4)
    net.run(2.0)
    net.heal()
    net.stall("c", 5.0)
    net.send("a", "c", 5)
    net.send("a", "b", 6)
    net.crash("b")
    net.run(10.0)
    seen = {name: [(message, round(now)) for now, _, message in echo.log] for name, echo in echoes.items()}
    assert seen == {"a": [(4, 1)], "b": [(1, 0)], "c": [(5, 7)]}
    assert net.lost == {"partition": 1, "cut": 1, "nobody": 1}


def test_a_stalled_nodes_own_time_comes_late_and_once():
    net = Network(1)
    net.start("a", echo := Echo(wake_at=1.0))
    net.run(2.5)
    net.stall("a", 4.0)
    net.run(8.9)
    assert [round(now, 1) for now, _, _ in echo.log][:3] == [1.0, 2.0, 6.5]
