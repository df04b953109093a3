"""Every run of the voting rules at once: honest validators, liars that sign everything for everybody, a few views.

No network and no code under test: this is docs/agreement.md's rules P1, P3 and V1 to V4 written a second time, as
guards over facts. A fact is a certificate. Liars have signed whatever there is to sign, so a certificate exists as
soon as q - f honest validators signed the same. Who has not heard of a fact is somebody who has not acted on it yet,
so "may act once the fact exists" covers every delay, loss, partition and order of messages. Anybody's block may be
voted on, with any parent, in as many variants as there are voters: that covers every honest and every lying leader.

`walk` takes the steps view by view. That leaves no interleaving out: a step of view v asks for certificates of views
below v and for the validator's own votes in v, and no certificate is ever lost, so every run can be sorted by view
and reaches the same certificates. `walk_straight` does not rely on that: it interleaves all steps of all views.

What both leave out is that validators move through views (P1): here each may sign in any view at any time, which is
more than they may. Only one trace of it stays, `Rules.fin_bars_not`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Block = tuple[int, "Block | None", int]  # view, parent, variant
GENESIS: Block = (0, None, 0)


class Ballot(NamedTuple):
    """What one honest validator signed in one view. Sorted tuples, so that equal is equal."""

    notarized: tuple[Block, ...] = ()
    nullified: bool = False
    finalized: tuple[Block, ...] = ()


class Facts(NamedTuple):
    """The certificates of one view."""

    notarized: frozenset[Block]
    nullified: bool
    finalized: frozenset[Block]


ALL_OF_GENESIS = Facts(frozenset((GENESIS,)), False, frozenset((GENESIS,)))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules under test; a mutant lacks one.

    Attributes:
        gap: P3, a block proves that every view between its parent's and its own was given up.
        one_not: P1, one NOT in a view.
        nul_bars_not: P1, no NOT after NUL. No lemma needs it.
        fin_bars_not: P1, no NOT after FIN: FIN needs a certificate, and who holds one has left the view.
        fin_bars_nul: no NUL after FIN.
        nul_bars_fin: V3, no FIN after NUL.
        one_fin: V4, one FIN in a view.
        certified: V1, FIN only for a block with a NOT certificate.
        own_block: V4, no FIN of another block than the one with our NOT.
        quorum_less: how far the quorum is below n - f.
        variants: blocks of one view on one parent; more than there are voters change nothing while `one_not` holds.
    """

    honest: int = 3
    liars: int = 1
    gap: bool = True
    one_not: bool = True
    nul_bars_not: bool = True
    fin_bars_not: bool = True
    fin_bars_nul: bool = True
    nul_bars_fin: bool = True
    one_fin: bool = True
    certified: bool = True
    own_block: bool = True
    quorum_less: int = 0
    variants: int = 3

    @property
    def enough(self) -> int:
        """Honest signatures that make a certificate: the liars have signed already."""
        return self.honest - self.liars - self.quorum_less


class Violation(Exception):
    """Certificates that must not exist together."""


# -- the rules -------------------------------------------------------------------------------------


def parents(rules: Rules, below: tuple[Facts, ...]) -> list[Block]:
    """Blocks on which a block of view len(below) may stand, as P3 says."""
    found: list[Block] = []
    for facts in reversed(below):
        found += sorted(facts.notarized | facts.finalized, key=repr)
        if rules.gap and not facts.nullified:
            break  # whoever stands on an older block must prove that this view was given up
    return found


def candidates(rules: Rules, view: int, stands: list[Block], ballots: tuple[Ballot, ...]) -> list[Block]:
    """Blocks of the view that somebody voted for, and one new variant on each parent (variants are alike)."""
    voted = sorted({block for ballot in ballots for block in ballot.notarized + ballot.finalized}, key=repr)
    fresh = [(view, parent, sum(block[1] == parent for block in voted)) for parent in stands]
    return voted + [block for block in fresh if block[2] < rules.variants]


def moves(rules: Rules, mine: Ballot, blocks: list[Block], facts: Facts) -> Iterator[Ballot]:
    """What a validator with this ballot may sign next in this view."""
    barred = (
        (rules.one_not and mine.notarized)
        or (rules.nul_bars_not and mine.nullified)
        or (rules.fin_bars_not and mine.finalized)
    )
    for block in () if barred else blocks:
        if block not in mine.notarized:
            yield mine._replace(notarized=_with(mine.notarized, block))
    if not mine.nullified and not (rules.fin_bars_nul and mine.finalized):
        yield mine._replace(nullified=True)
    if not (rules.one_fin and mine.finalized) and not (rules.nul_bars_fin and mine.nullified):
        for block in sorted(facts.notarized, key=repr) if rules.certified else blocks:
            strange = mine.notarized and block not in mine.notarized
            if block not in mine.finalized and not (rules.own_block and strange):
                yield mine._replace(finalized=_with(mine.finalized, block))


def facts_of(rules: Rules, ballots: tuple[Ballot, ...]) -> Facts:
    """The certificates that these ballots make, with the liars' signatures on all of them."""
    return Facts(
        _certified(rules, [block for ballot in ballots for block in ballot.notarized]),
        sum(ballot.nullified for ballot in ballots) >= rules.enough,
        _certified(rules, [block for ballot in ballots for block in ballot.finalized]),
    )


def _certified(rules: Rules, signed: list[Block]) -> frozenset[Block]:
    return frozenset(block for block in signed if signed.count(block) >= rules.enough)


def _with(blocks: tuple[Block, ...], block: Block) -> tuple[Block, ...]:
    return tuple(sorted((*blocks, block), key=repr))


# -- what must hold --------------------------------------------------------------------------------


def agreement(history: tuple[Facts, ...]) -> None:
    """Certificates of views 0 and up that may exist together.

    Raises:
        Violation: two final blocks exclude each other.
    """
    final = [block for facts in history for block in facts.finalized]
    for one in final:
        for other in final:
            if not (_extends(one, other) or _extends(other, one)):
                raise Violation(f"agreement: {one} and {other} are both final")


def lemmas(history: tuple[Facts, ...]) -> None:
    """What the safety argument says on the way to agreement.

    Raises:
        Violation: the gravest: final blocks that exclude each other, two notarized blocks in a view, or a view that
            was both given up and made final.
    """
    agreement(history)
    for view, facts in enumerate(history):
        if facts.nullified and facts.finalized:
            raise Violation(f"view {view} was given up and made final")
        if len(facts.notarized) > 1:
            raise Violation(f"view {view} has two notarized blocks")


def _extends(block: Block, ancestor: Block) -> bool:
    at: Block | None = block
    while at is not None and at != ancestor:
        at = at[1]
    return at == ancestor


def blameless(ballot: Ballot) -> bool:
    """Whether no two signatures of this ballot are evidence against whoever made them."""
    return (
        len(ballot.notarized) <= 1
        and len(ballot.finalized) <= 1
        and not (ballot.nullified and ballot.finalized)
        and (not (ballot.notarized and ballot.finalized) or ballot.notarized == ballot.finalized)
    )


# -- walking ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """How much was walked: states kept apart after symmetry, steps taken from them, and states in which an honest
    validator has signed what convicts it."""

    states: int = 0
    steps: int = 0
    blamed: int = 0


Check = Callable[[tuple[Facts, ...]], None]


def walk(rules: Rules, views: int, check: Check = lemmas) -> tuple[set[tuple[Facts, ...]], Seen]:
    """The certificates of every state of `views` views, one view after the other.

    Raises:
        Violation: the first one that is met.
    """
    seen = Seen()
    histories = {(ALL_OF_GENESIS,)}
    for _ in range(views):
        ordered = sorted(histories, key=repr)
        histories = {(*below, facts) for below in ordered for facts in _view(rules, below, check, seen)}
    return histories, seen


def _view(rules: Rules, below: tuple[Facts, ...], check: Check, seen: Seen) -> set[Facts]:
    """The certificates that view len(below) can come to, standing on those below."""
    stands = parents(rules, below)
    start = (Ballot(),) * rules.honest
    known, todo, found = {start}, deque([start]), set[Facts]()
    while todo:
        ballots = todo.popleft()
        facts = facts_of(rules, ballots)
        if facts not in found:
            found.add(facts)
            check((*below, facts))  # at once: without its rules a view may have no end
        seen.states += 1
        seen.blamed += not all(map(blameless, ballots))
        blocks = candidates(rules, len(below), stands, ballots)
        for i, mine in enumerate(ballots):
            if mine in ballots[:i]:
                continue  # validators are alike: one of equals moves for all
            for moved in moves(rules, mine, blocks, facts):
                seen.steps += 1
                after = _alike((*ballots[:i], moved, *ballots[i + 1 :]))
                if after not in known:
                    known.add(after)
                    todo.append(after)
    return found


def _alike(ballots: tuple[Ballot, ...]) -> tuple[Ballot, ...]:
    return tuple(sorted(ballots, key=repr))


Joint = tuple[tuple[Ballot, ...], ...]  # by validator, then by view from 1


def walk_straight(rules: Rules, views: int) -> tuple[set[tuple[Facts, ...]], Seen]:
    """The certificates of every state of all views together, every step of every view interleaved."""
    seen = Seen()
    start: Joint = ((Ballot(),) * views,) * rules.honest
    known, todo, found = {start}, deque([start]), set[tuple[Facts, ...]]()
    while todo:
        joint = todo.popleft()
        columns = [tuple(ballots[view] for ballots in joint) for view in range(views)]
        history = (ALL_OF_GENESIS, *(facts_of(rules, column) for column in columns))
        found.add(history)
        seen.states += 1
        for view, column in enumerate(columns):
            blocks = candidates(rules, view + 1, parents(rules, history[: view + 1]), column)
            for i, ballots in enumerate(joint):
                for moved in moves(rules, ballots[view], blocks, history[view + 1]):
                    seen.steps += 1
                    mine = (*ballots[:view], moved, *ballots[view + 1 :])
                    after = tuple(sorted((*joint[:i], mine, *joint[i + 1 :]), key=repr))
                    if after not in known:
                        known.add(after)
                        todo.append(after)
    return found, seen
