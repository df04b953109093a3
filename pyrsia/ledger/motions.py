"""Governance: a member proposes, validators approve, and with the q-th approval it is so.

Decides what a motion needs to be proposed, who may approve, and what each kind does in the block that
holds the approval that completes the quorum. What would change the set of validators waits for an epoch.

Source: docs/ledger.md, "Motions"; docs/adr/0026.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import roster, standing, state
from pyrsia.ledger.bodies.motions import NUMBERS, ROTATED
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import MAX_MEMBERS, RULES, Member, check_keys, check_quorum
from pyrsia.ledger.state import View
from pyrsia.units import Limit

MOTION_LIFE_MS = Limit(604_800_000, "a week: people on holiday read it, and nothing half approved lies about")
MEMBER_MOTIONS = Limit(
    1, "open motions of one member: with those of validators the list of all stays below 64 KB"
)
VALIDATOR_MOTIONS = Limit(4, "open motions of one validator, so that no crowd of members shuts them out")
LEAST_QUOTA: Final = 60  # entries an hour that network.set leaves a validator, or nobody could set it back

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of motion checks, when proposed and again when enacted, and then does.

    Attributes:
        check: raises NotApplied if it cannot be enacted now.
        enact: writes; `check` has passed on this state.
        waits: whether it changes the validators, which only an epoch may do.
    """

    check: Callable[[Context, Body], None]
    enact: Callable[[Context, Body, int], None]
    waits: Callable[[View, Body], bool] = lambda view, body: False


def propose(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`motion.propose`: what could be enacted now, by a member with no other motion open."""
    view, body = ctx.view, entry.body
    validates = roster.validator(view, entry.author or b"") is not None
    most = (VALIDATOR_MOTIONS if validates else MEMBER_MOTIONS).value
    opened = [row for row in view.get(state.MOTIONS, []) if row[1] >= ctx.now]
    if sum(1 for row in opened if row[0] == author) >= most:
        raise NotApplied(f"its author has {most} motions open already", later=True, code="busy")
    _KINDS[body["kind"]].check(ctx, body)
    motion, deadline = entry.id.hex(), ctx.now + MOTION_LIFE_MS.value
    _sweep(ctx)
    view.put(state.MOTIONS, [*opened, [author, deadline, motion]])
    record = {
        "approvals": [],
        "author": author,
        "body": body,
        "deadline": deadline,
        "leaf": leaf,
        "phase": "open",
        "time_ms": ctx.now,
    }
    view.put(f"motion/{motion}", record)


def approve(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`motion.approve`: once a validator, while the motion is open; the q-th enacts it."""
    view, motion = ctx.view, entry.body["motion"]
    if roster.validator(view, entry.author or b"") is None:
        raise NotApplied("only validators approve")
    record = view.get(f"motion/{motion}")
    if record is None:
        raise NotApplied("the log has no such motion", later=True)
    if record["phase"] != "open":
        raise NotApplied(f"this motion is {record['phase']}")
    if ctx.now > record["deadline"]:
        raise NotApplied("this motion's time is over")
    if any(item["validator"] == author for item in record["approvals"]):
        raise NotApplied("this validator has approved it already")
    record["approvals"].append({"leaf": leaf, "validator": author})
    if len(record["approvals"]) >= ctx.genesis.q:
        _enact(ctx, motion, record, leaf)
    _sweep(ctx)
    view.put(f"motion/{motion}", record)


def _enact(ctx: Context, motion: str, record: Body, leaf: int) -> None:
    """What could be done when it was proposed may no longer be: then this approval does not stand."""
    body, kind = record["body"], _KINDS[record["body"]["kind"]]
    kind.check(ctx, body)
    record["decided"] = leaf
    if kind.waits(ctx.view, body):
        record["phase"] = "awaits-epoch"
    else:
        record["phase"] = "enacted"
        kind.enact(ctx, body, leaf)
    rows = ctx.view.get(state.MOTIONS, [])
    ctx.view.put(state.MOTIONS, [row for row in rows if row[2] != motion])


def _sweep(ctx: Context) -> None:
    """Close what expired; all live equally long, so it is the head of the list."""
    view = ctx.view
    rows = view.get(state.MOTIONS, [])
    live = [row for row in rows if row[1] >= ctx.now]
    for _, _, motion in rows[: len(rows) - len(live)]:
        view.put(f"motion/{motion}", {**view.get(f"motion/{motion}"), "phase": "expired"})
    if len(live) != len(rows):
        view.put(state.MOTIONS, live)


# -- members --


def _present(ctx: Context, node: str) -> Body:
    fields = roster.fields(ctx.view, node)
    if fields is None:
        raise NotApplied("this node is not a member")
    return fields


def _fits(ctx: Context, newcomer: Member, instead_of: Member | None) -> None:
    """Whether a member with these fields may stand beside the others, one of whom it may replace."""
    view = ctx.view
    others = [one for one in roster.members(view) if instead_of is None or one.node != instead_of.node]
    if len(others) >= MAX_MEMBERS:
        raise NotApplied(f"the network has its {MAX_MEMBERS} members")
    if any(one.name == newcomer.name for one in others):
        raise NotApplied("another member has this name")
    kept = _kept(newcomer, instead_of)
    if any(key not in kept and roster.taken(view, key) for key in newcomer.keys):
        raise NotApplied("a key of it is or was somebody's in this network")


def _kept(newcomer: Member, instead_of: Member | None) -> frozenset[bytes]:
    """Keys that a changed member goes on using, each for what it used it for."""
    if instead_of is None or instead_of.node != newcomer.node:
        return frozenset()
    same = (name for name in ("node", *ROTATED) if getattr(newcomer, name) == getattr(instead_of, name))
    return frozenset(getattr(newcomer, name) for name in same)


def _check_add(ctx: Context, body: Body) -> None:
    _fits(ctx, Member.of(body["member"]), None)


def _add(ctx: Context, body: Body, leaf: int) -> None:
    roster.admit(ctx.view, body["member"])


def _check_remove(ctx: Context, body: Body) -> None:
    _present(ctx, body["node"])


def _remove(ctx: Context, body: Body, leaf: int) -> None:
    roster.dismiss(ctx.view, body["node"], leaf)


def _rotated(view: View, body: Body) -> Body:
    """The member's fields with its new keys."""
    return {**_plain(roster.fields(view, body["node"])), **{n: body[n] for n in ROTATED if n in body}}


def _check_rotate(ctx: Context, body: Body) -> None:
    _present(ctx, body["node"])
    new = [bytes.fromhex(body[name]) for name in ROTATED if name in body]
    if any(roster.taken(ctx.view, key) for key in new):
        raise NotApplied("a new key is or was somebody's in this network")
    try:
        check_keys(Member.of(_rotated(ctx.view, body)))
    except Malformed as error:
        raise NotApplied(str(error)) from None


def _rotate(ctx: Context, body: Body, leaf: int) -> None:
    index = _present(ctx, body["node"])["index"]
    roster.change(ctx.view, _rotated(ctx.view, body), index)


def _check_replace(ctx: Context, body: Body) -> None:
    old = Member.of(_present(ctx, body["node"]))
    _fits(ctx, Member.of(body["member"]), old)


def _replace(ctx: Context, body: Body, leaf: int) -> None:
    """One member in another's place, or the same with other roles, capabilities or keys."""
    index = _present(ctx, body["node"])["index"]
    if body["member"]["node"] == body["node"]:
        roster.change(ctx.view, body["member"], index)
        return
    roster.dismiss(ctx.view, body["node"], leaf)
    roster.admit(ctx.view, body["member"], index)


def _plain(fields: Body | None) -> Body:
    return {name: value for name, value in (fields or {}).items() if name != "index"}


def _as_validator(member: Member | None) -> tuple[bytes, ...]:
    """What the other validators know of one: it is what an epoch agrees on. Empty for others."""
    if member is None or "validator" not in member.roles:
        return ()
    return member.node, member.vote, member.log, member.cosign, member.chain_end


def _changes_validators(view: View, body: Body) -> bool:
    old = roster.fields(view, body["node"]) if "node" in body else None
    before = Member.of(old) if old is not None else None
    if body["kind"] == "member.remove":
        after = None
    elif body["kind"] == "member.rotate":
        after = Member.of(_rotated(view, body))
    else:
        after = Member.of(body["member"])
    return _as_validator(before) != _as_validator(after)


# -- packages and artifacts --


def _check_mapping(ctx: Context, body: Body) -> None:
    version = ctx.view.get(f"mapping/{body['purl']}", {"version": 0})["version"]
    if body["replaces"] != version:
        raise NotApplied(f"it replaces version {body['replaces']} of this mapping, {version} is in force")
    environment = body["recipe"].get("environment")
    if environment is not None and environment not in ctx.numbers.environments:
        raise NotApplied("its environment is not admitted by this network")


def _set_mapping(ctx: Context, body: Body, leaf: int) -> None:
    fields = {name: body[name] for name in ("keys", "recipe", "repository", "tag")}
    ctx.view.put(f"mapping/{body['purl']}", {**fields, "leaf": leaf, "version": body["replaces"] + 1})


def _check_withdraw(ctx: Context, body: Body) -> None:
    standing.check_withdraw(ctx.view, body)


def _withdraw(ctx: Context, body: Body, leaf: int) -> None:
    standing.withdraw(ctx.view, body, leaf)


def _check_resolve(ctx: Context, body: Body) -> None:
    standing.check_resolve(ctx.view, body)


def _resolve(ctx: Context, body: Body, leaf: int) -> None:
    standing.resolve(ctx.view, body, leaf)


# -- the network's numbers --


def _check_numbers(ctx: Context, body: Body) -> None:
    config = _config(ctx, body)
    try:
        check_quorum(config["builders"], config["agreeing"])
    except Malformed as error:
        raise NotApplied(str(error)) from None
    limits = dict(config["limits"])
    if max(limits.get("validator", 0), limits.get(roster.EVERY_MEMBER, 0)) < LEAST_QUOTA:
        raise NotApplied(f"with under {LEAST_QUOTA} entries an hour validators could not undo it")
    if "rules" in body:
        if body["rules"]["version"] not in RULES:
            raise NotApplied(f"rules version {body['rules']['version']} is not known here")
        if body["rules"]["height"] <= ctx.height:
            raise NotApplied("its rules begin at a height that has passed")


def _set_numbers(ctx: Context, body: Body, leaf: int) -> None:
    """Written now, read by the next block: `Context.numbers` are those from before this one."""
    ctx.view.put(state.CONFIG, _config(ctx, body))


def _config(ctx: Context, body: Body) -> Body:
    """The newest configuration with the motion's numbers in it."""
    config: Body = ctx.view.get(state.CONFIG)
    following = config.get("next_rules")
    if following is not None and following["height"] <= ctx.height:
        config = {name: value for name, value in config.items() if name != "next_rules"}
        config["rules"] = following["version"]
    changed: Body = {name: body[name] for name in NUMBERS if name in body and name != "rules"}
    if "rules" in body:
        changed["next_rules"] = body["rules"]
    return {**config, **changed}


_KINDS: Final[dict[str, _Kind]] = {
    "artifact.withdraw": _Kind(_check_withdraw, _withdraw),
    "dispute.resolve": _Kind(_check_resolve, _resolve),
    "mapping.set": _Kind(_check_mapping, _set_mapping),
    "member.add": _Kind(_check_add, _add, _changes_validators),
    "member.remove": _Kind(_check_remove, _remove, _changes_validators),
    "member.replace": _Kind(_check_replace, _replace, _changes_validators),
    "member.rotate": _Kind(_check_rotate, _rotate, _changes_validators),
    "network.set": _Kind(_check_numbers, _set_numbers),
}
