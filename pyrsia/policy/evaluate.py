"""Whether a policy accepts a file: every rule is asked, and each says why, for or against.

Fails closed: what is unknown speaks against a file wherever a rule asks for it. Time comes in as an argument, and
`flips_at` says when it alone will change the answer.

Source: docs/policy.md, "What is asked".
"""

from collections.abc import Callable, Iterator
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.policy import weighing
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED, Decision, Facts, Reason
from pyrsia.policy.keys import BY_DIGEST, CONTAINMENTS, ISOLATIONS, VERDICTS
from pyrsia.policy.rules import Named, Policy, Rules
from pyrsia.wire.text import safe

NEVER_MS: Final = 1 << 52  # age of a head that there is not: older than all that a rule may allow
_DAY_MS: Final = 86_400_000
_MOST_WHAT: Final = 190  # of a refusal's sentence: it must fit into a reason phrase
_MOST_NAME: Final = 80  # of the file in it


def decide(
    policy: Policy, facts: Facts, now_ms: int, head_age_ms: int = 0, proof_age_ms: int | None = None
) -> Decision:
    """The policy's answer about one file, with the reason of every rule that was asked.

    Args:
        head_age_ms: since the newest head of the log that is known here was signed; `NEVER_MS` without one.
        proof_age_ms: of the file's proof, where that is what is judged by.
    """
    try:
        named = policy.named(facts.purl)
    except Malformed as error:
        return Decision(False, (Reason("purl", False, f"what it is called is no purl: {error}"),))
    reasons = tuple(_reasons(named, facts, now_ms, head_age_ms, proof_age_ms))
    return Decision(all(one.allows for one in reasons), reasons)


def _reasons(named: Named, facts: Facts, now_ms: int, head_ms: int, proof_ms: int | None) -> Iterator[Reason]:
    rules = named.rules
    yield _deny(named)
    yield _allow(named)
    if facts.origin == LOCAL:
        yield Reason("origin", True, "it was pushed to this node")
    elif facts.origin == PROXIED:
        yield _proxied(rules)
        yield _min_age(rules, facts, now_ms)
        yield from weighing.reasons(rules, facts, now_ms)
    elif facts.origin == NETWORK:
        yield from _fallen(rules, facts)
        yield from (rule(rules, facts) for rule in _OF_THE_LOG)
        yield _min_age(rules, facts, now_ms)
        yield from weighing.reasons(rules, facts, now_ms)
        yield _max_head_age(rules, head_ms)
        if proof_ms is not None:
            yield _max_proof_age(rules, proof_ms)
    else:
        yield Reason("origin", False, "nobody says where it comes from")


def flips_at(policy: Policy, facts: Facts, now_ms: int) -> int | None:
    """When the answer changes by time alone, the ages of head and proof aside; None if it does not."""
    try:
        rules = policy.at(facts.purl)
    except Malformed:
        return None
    if facts.origin not in (NETWORK, PROXIED):
        return None
    old_ms = (
        facts.published_ms + rules.min_age_days * _DAY_MS
        if rules.min_age_days and facts.published_ms > 0
        else 0
    )
    due = (old_ms, weighing.flips_at(rules, facts, now_ms))
    return min((one for one in due if one is not None and one > now_ms), default=None)


def stale_head(policy: Policy, ecosystem: str, head_age_ms: int) -> str:
    """Why files of the log are refused now, whatever speaks for them; "" while they are not."""
    said = _max_head_age(policy.of(ecosystem), head_age_ms)
    return "" if said.allows else said.what


# -- rules of every origin --


def _deny(named: Named) -> Reason:
    """A copy under a node's own name is denied with the package that it is of, and every spelling with each other."""
    if named.denied is not None:
        return Reason("deny", False, f"deny names it: {named.denied.pattern}", "take it out of `deny`")
    return Reason("deny", True, "deny does not name it")


def _allow(named: Named) -> Reason:
    if named.allowed is not None:
        return Reason("allow", True, f"allow names it: {named.allowed.pattern}")
    return Reason("allow", False, "allow does not name it", "add it to `allow`")


def _min_age(rules: Rules, facts: Facts, now_ms: int) -> Reason:
    least = rules.min_age_days
    if not least:
        return Reason("min_age_days", True, "it may be of any age")
    if facts.published_ms <= 0:
        return Reason("min_age_days", False, "nobody knows how old it is", "set `min_age_days` to 0")
    age_ms = now_ms - facts.published_ms
    what = f"it is {_span(age_ms)} old, {_days(least)} {'is' if least == 1 else 'are'} the least"
    if age_ms >= least * _DAY_MS:
        return Reason("min_age_days", True, what)
    wait = _span(least * _DAY_MS - age_ms, up=True)
    return Reason("min_age_days", False, what, f"wait for {wait}, or lower `min_age_days`")


def _proxied(rules: Rules) -> Reason:
    if rules.proxied:
        return Reason("mode", True, "it is upstream's and unverified, as mode proxy allows")
    do = f'ask for a build, or set `mode = "proxy"` in [{rules.ecosystem}]'
    return Reason("mode", False, f"it is upstream's and unverified, the mode is {rules.mode}", do)


# -- rules of what the log publishes --


def _fallen(rules: Rules, facts: Facts) -> Iterator[Reason]:
    """Of what is withdrawn or disputed: whether it is given to who names its digest. Its verdict is asked for too."""
    key = _FALLEN.get(facts.status)
    if key is None:
        return
    given, what = (
        getattr(rules, key) == BY_DIGEST,
        f"its status is {facts.status}{f': {facts.why}' if facts.why else ''}",
    )
    if given and facts.by_digest:
        yield Reason(key, True, f"{what}, and it is given by its digest")
    elif given:
        yield Reason(key, False, what, "use another version; who must have this one names its digest")
    else:
        yield Reason(key, False, what, "use another version, or read its history: pyrsia log history")


def _verdict(facts: Facts) -> str:
    """What it is, or what it was published as before it fell."""
    return facts.verdict if facts.status in _FALLEN else facts.status


def _minimum(rules: Rules, facts: Facts) -> Reason:
    verdict = _verdict(facts)
    if verdict not in VERDICTS:
        known = facts.status and facts.status not in _FALLEN
        what = f"its status is {facts.status}" if known else "it has no verdict"
        return Reason("minimum", False, what, "read its history: pyrsia log history")
    what = f"it {'was' if facts.status in _FALLEN else 'is'} {verdict}, {rules.minimum} is the least"
    if VERDICTS.index(verdict) >= VERDICTS.index(rules.minimum):
        return Reason("minimum", True, what)
    return Reason("minimum", False, what, "ask for a build: pyrsia build request, or lower `minimum`")


def _agreeing(rules: Rules, facts: Facts) -> Reason:
    """One vote an operator, however many builders it runs (DESIGN 10)."""
    counted = {
        one.operator
        for one in facts.agreeing
        if _is_trusted(rules, one.node, one.operator) and _is_isolated(rules, facts, one.isolation)
    }
    whose = "trusted operators" if rules.operators or rules.builders else "operators"
    what = f"{len(counted)} {whose} agree, {rules.agreeing} must"
    if len(counted) >= rules.agreeing:
        return Reason("agreeing", True, what)
    do = "lower `agreeing`, or trust more `operators`" + (
        " or another `isolation`" if rules.isolation != ISOLATIONS[0] else ""
    )
    return Reason("agreeing", False, what, do)


def _is_trusted(rules: Rules, node: str, operator: str) -> bool:
    return not (rules.operators or rules.builders) or operator in rules.operators or node in rules.builders


def _is_isolated(rules: Rules, facts: Facts, isolation: str) -> bool:
    """What was only seen was not built, and so needs no keeping in."""
    if _verdict(facts) == VERDICTS[0] or rules.isolation == ISOLATIONS[0]:
        return True
    return isolation in ISOLATIONS and ISOLATIONS.index(isolation) >= ISOLATIONS.index(rules.isolation)


def _containment(rules: Rules, facts: Facts) -> Reason:
    least, has = rules.containment, facts.containment or "none"
    what = f"{_SHARES.get(has, has)} of it stands in its source"
    if least != CONTAINMENTS[0]:
        what += f", {_SHARES[least]} must"
    if has in CONTAINMENTS and CONTAINMENTS.index(has) >= CONTAINMENTS.index(least):
        return Reason("containment", True, what)
    return Reason("containment", False, what, "lower `containment`")


def _upstream(rules: Rules, facts: Facts) -> Reason:
    words = {"none": "upstream has no such file, or nobody compared", "different": "upstream's file differs"}
    what = words.get(facts.upstream, f"upstream's file is {facts.upstream}")
    if facts.upstream in rules.upstream:
        return Reason("upstream", True, what)
    return Reason("upstream", False, what, f'add "{facts.upstream}" to `upstream`')


_FALLEN: Final = {"WITHDRAWN": "withdrawn", "DISPUTED": "disputed"}
_SHARES: Final = {"none": "nothing", "partial": "a part", "full": "all"}
_OF_THE_LOG: Final[tuple[Callable[[Rules, Facts], Reason], ...]] = (
    _minimum,
    _agreeing,
    _containment,
    _upstream,
)


# -- ages of what the log's word rests on --


def _max_head_age(rules: Rules, age_ms: int) -> Reason:
    most = rules.max_head_age_s
    if not most:
        return Reason("max_head_age_s", True, "the log's head may be of any age")
    has = (
        "there is no signed head of the log"
        if age_ms >= NEVER_MS
        else f"the log's head is {_span(age_ms)} old"
    )
    what = f"{has}, {_span(most * 1_000)} at most"
    if age_ms <= most * 1_000:
        return Reason("max_head_age_s", True, what)
    do = "connect the node to the network (pyrsia peers), or raise `max_head_age_s`"
    return Reason("max_head_age_s", False, what, do)


def _max_proof_age(rules: Rules, age_ms: int) -> Reason:
    what = f"its proof is {_span(age_ms)} old, {_days(rules.max_proof_age_days)} at most"
    if age_ms <= rules.max_proof_age_days * _DAY_MS:
        return Reason("max_proof_age_days", True, what)
    return Reason("max_proof_age_days", False, what, "fetch a newer proof from a node")


# -- how it is told --


def refusal(facts: Facts, decision: Decision, *, who: str = "this node's policy") -> Refusal:
    """What a client is told about a file that is refused: `what` fits into a reason phrase, `do` says the rest."""
    against = [one for one in decision.reasons if not one.allows]
    said = [safe(one.what) for one in against]
    name = safe(facts.purl or facts.file)
    short = name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 3]}..."
    what, shown = f"policy refuses {short}: {said[0] if said else 'it is refused'}", 1
    while shown < len(said) and len(what) + len(said[shown]) + 2 <= _MOST_WHAT:
        what, shown = f"{what}; {said[shown]}", shown + 1
    if len(what) > _MOST_WHAT:  # a long pattern: `do` says it whole
        what, shown = f"{what[: _MOST_WHAT - 3]}...", 0
    ways = list(dict.fromkeys(safe(one.do) for one in against if one.do)) or ["use another package"]
    rest = [f"also, {one}" for one in said[shown:]]
    do = "; ".join([*ways, *rest, f"all reasons: pyrsia policy explain {name}"])
    return Refusal("denied", what=what, who=who, do=do)


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _span(ms: int, *, up: bool = False) -> str:
    """A time in its largest unit, rounded down or `up`; less than none is none."""
    seconds = (max(0, ms) + (999 if up else 0)) // 1_000
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            count = (seconds + (size - 1 if up else 0)) // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
