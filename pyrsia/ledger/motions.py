"""Governance: a member proposes, validators approve, and with the q-th approval it is so.

Decides what a motion needs to be proposed, who may approve, and what each kind does in the block that
holds the approval that completes the quorum. Whoever is to validate accepts as well; what changes the validators
ends the epoch, and is the last entry of its block.

Source: docs/ledger.md, "Motions", "Epochs"; docs/adr/0026, 0037.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.ledger import roster, seats, standing, state
from pyrsia.ledger.bodies.motions import NUMBERS, ROTATED
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import MAX_MEMBERS, MIN_VALIDATORS, RULES, Member, check_keys, check_quorum
from pyrsia.ledger.state import Reads, View
from pyrsia.units import MAX_VALIDATORS, Limit
from pyrsia.wire.epochs import Validator
from pyrsia.wire.text import b32, unb32

MOTION_LIFE_MS = Limit(604_800_000, "a week: people on holiday read it, and nothing half approved lies about")
MEMBER_MOTIONS = Limit(
    1, "open motions of one member: with those of validators the list of all stays below 64 KB"
)
VALIDATOR_MOTIONS = Limit(4, "open motions of one validator, so that no crowd of members shuts them out")
LEAST_QUOTA: Final = 60  # entries an hour that network.set leaves a validator, or nobody could set it back

OPEN: Final = "open"
AWAITS_ACCEPTANCE: Final = "awaits-acceptance"  # by the member that is to validate; all else is there
ENACTED: Final = "enacted"
EXPIRED: Final = "expired"
LIVE: Final = (OPEN, AWAITS_ACCEPTANCE)

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of motion checks, when proposed and again when enacted, and then does.

    Attributes:
        check: raises NotApplied if it cannot be enacted now.
        enact: writes; `check` has passed on this state.
    """

    check: Callable[[Context, Body], None]
    enact: Callable[[Context, Body, int], None]


def propose(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`motion.propose`: what could be enacted now, by a member with no other motion open."""
    view, body = ctx.view, entry.body
    validates = ctx.epoch.index(entry.author or b"") is not None
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
        "phase": OPEN,
        "time_ms": ctx.now,
    }
    view.put(f"motion/{motion}", record)


def approve(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`motion.approve`: by a validator, or by the member that the motion makes one, while the motion is open.

    What completes the q approvals of present validators and the acceptance, in any order, enacts.
    """
    view, motion, node = ctx.view, entry.body["motion"], entry.author or b""
    record = view.get(f"motion/{motion}")
    if record is None:
        raise NotApplied("the log has no such motion", later=True)
    validates, newcomer = ctx.epoch.index(node) is not None, _newcomer(ctx, record["body"])
    if not validates and node != newcomer:
        raise NotApplied("only validators approve, and the member that the motion makes one")
    if record["phase"] not in LIVE:
        raise NotApplied(f"this motion is {record['phase']}")
    if ctx.now > record["deadline"]:
        raise NotApplied("this motion's time is over")
    new = _note(record, author, leaf, validates)
    enough = tally(ctx.epoch, record) >= ctx.epoch.q
    if enough and (newcomer is None or accepted(record, b32(newcomer))):
        # Also by one who has approved before: a quorum may have become smaller, or a rule hold again.
        _enact(ctx, motion, record, leaf)
    elif not new:
        raise NotApplied("its author has approved it already")
    else:
        record["phase"] = AWAITS_ACCEPTANCE if enough else OPEN
    _sweep(ctx)
    view.put(f"motion/{motion}", record)


def before(record: Body, size: int, epoch_of: Callable[[int], seats.Epoch]) -> Body:
    """The record of a motion as it was when the log had `size` leaves, of which one proposed it.

    Args:
        epoch_of: the epoch of the block that a leaf is in.
    """
    then = {**record, "approvals": [item for item in record["approvals"] if item["leaf"] < size]}
    if then.get("accepted", size) >= size:
        then.pop("accepted", None)
    if record.get("decided", size) < size:
        return then
    for later in ("decided", "epoch"):
        then.pop(later, None)
    said = [item["leaf"] for item in then["approvals"]] + [
        then[name] for name in ("accepted",) if name in then
    ]
    last = (
        epoch_of(max(said)) if said else None
    )  # what the last of them found: epochs that came later count nothing
    then["phase"] = OPEN if last is None or tally(last, then) < last.q else AWAITS_ACCEPTANCE
    return then


def tally(epoch: seats.Epoch, record: Body) -> int:
    """How many of the epoch's validators have approved."""
    return sum(1 for item in record["approvals"] if epoch.index(unb32(item["validator"])) is not None)


def accepted(record: Body, node: str) -> bool:
    """Whether the node that is to validate has said that it will, be it when it still validated."""
    return "accepted" in record or any(item["validator"] == node for item in record["approvals"])


def _note(record: Body, author: str, leaf: int, validates: bool) -> bool:
    """Write an approval or acceptance into the record; False if it stands there."""
    if not validates:
        return bool(record.setdefault("accepted", leaf) == leaf)
    if any(item["validator"] == author for item in record["approvals"]):
        return False
    record["approvals"].append({"leaf": leaf, "validator": author})
    return True


def _enact(ctx: Context, motion: str, record: Body, leaf: int) -> None:
    """What could be done when it was proposed may no longer be: then this approval does not stand."""
    body, kind = record["body"], _KINDS[record["body"]["kind"]]
    kind.check(ctx, body)
    successors = _successors(ctx, body)
    kind.enact(ctx, body, leaf)
    record["decided"] = leaf
    record["phase"] = ENACTED
    if successors != ctx.epoch.validators:
        ctx.successors = successors
        record["epoch"] = ctx.epoch.number + 1
    rows = ctx.view.get(state.MOTIONS, [])
    ctx.view.put(state.MOTIONS, [row for row in rows if row[2] != motion])


def check_known(reads: Reads, entry: Entry) -> None:
    """Whether this node can go on once a motion that `entry` proposes or approves is enacted.

    Asked at the door only: which rules a node's software knows must not decide whether a block is valid.

    Raises:
        NotApplied: it brings rules that are not known here.
    """
    body = entry.body
    if entry.kind == "motion.approve":
        body = View(reads).get(f"motion/{body['motion']}", {"body": {}})["body"]
    version = body["rules"]["version"] if body.get("kind") == "network.set" and "rules" in body else None
    if version is not None and version not in RULES:
        raise NotApplied(f"rules version {version} is not known to this node: install a newer one first")


def _sweep(ctx: Context) -> None:
    """Close what expired; all live equally long, so it is the head of the list."""
    view = ctx.view
    rows = view.get(state.MOTIONS, [])
    live = [row for row in rows if row[1] >= ctx.now]
    for _, _, motion in rows[: len(rows) - len(live)]:
        view.put(f"motion/{motion}", {**view.get(f"motion/{motion}"), "phase": EXPIRED})
    if len(live) != len(rows):
        view.put(state.MOTIONS, live)


# -- members --


def _present(ctx: Context, node: str) -> Body:
    fields = roster.fields(ctx.view, node)
    if fields is None:
        raise NotApplied("this node is not a member")
    return fields


def _fits(ctx: Context, told: Member, leaving: str = "") -> None:
    """Whether a member may have these fields beside the others, without the one that leaves."""
    view = ctx.view
    before = roster.member(view, told.node)
    others = [one for one in roster.members(view) if one.text not in (leaving, told.text)]
    if len(others) >= MAX_MEMBERS:
        raise NotApplied(f"the network has its {MAX_MEMBERS} members")
    if any(one.name == told.name for one in others):
        raise NotApplied("another member has this name")
    kept = _kept(told, before)
    if any(key not in kept and roster.taken(view, key) for key in told.keys):
        raise NotApplied("a key of it is or was somebody's in this network")


def _kept(told: Member, before: Member | None) -> frozenset[bytes]:
    """Keys that a changed member goes on using, each for what it used it for."""
    if before is None:
        return frozenset()
    same = (name for name in ("node", *ROTATED) if getattr(told, name) == getattr(before, name))
    return frozenset(getattr(told, name) for name in same)


def _check_add(ctx: Context, body: Body) -> None:
    told = Member.of(body["member"])
    if roster.member(ctx.view, told.node) is not None:
        raise NotApplied("this node is a member already")
    _fits(ctx, told)
    _check_seats(ctx, body)


def _add(view: View, body: Body, leaf: int) -> None:
    roster.admit(view, body["member"])


def _check_remove(ctx: Context, body: Body) -> None:
    _present(ctx, body["node"])
    _check_seats(ctx, body)


def _remove(view: View, body: Body, leaf: int) -> None:
    roster.dismiss(view, body["node"], leaf)


def _rotated(view: View, body: Body) -> Body:
    """The member's fields with its new keys."""
    return {**(roster.fields(view, body["node"]) or {}), **{n: body[n] for n in ROTATED if n in body}}


def _check_rotate(ctx: Context, body: Body) -> None:
    _present(ctx, body["node"])
    new = [bytes.fromhex(body[name]) for name in ROTATED if name in body]
    if any(roster.taken(ctx.view, key) for key in new):
        raise NotApplied("a new key is or was somebody's in this network")
    try:
        check_keys(Member.of(_rotated(ctx.view, body)))
    except Malformed as error:
        raise NotApplied(str(error)) from None


def _rotate(view: View, body: Body, leaf: int) -> None:
    roster.change(view, _rotated(view, body))


def _check_replace(ctx: Context, body: Body) -> None:
    _present(ctx, body["node"])
    _fits(ctx, Member.of(body["member"]), body["node"])
    _check_seats(ctx, body)


def _replace(view: View, body: Body, leaf: int) -> None:
    """One member in another's place, or the same with other roles, capabilities or keys.

    The other one may be a member already: then there is one less.
    """
    told = body["member"]
    if told["node"] != body["node"]:
        roster.dismiss(view, body["node"], leaf)
    if roster.fields(view, told["node"]) is None:
        roster.admit(view, told)
    else:
        roster.change(view, told)


_MEMBERS: Final[dict[str, Callable[[View, Body, int], None]]] = {
    "member.add": _add,
    "member.remove": _remove,
    "member.replace": _replace,
    "member.rotate": _rotate,
}


def change_members(view: View, body: Body, leaf: int) -> None:
    """What a motion that was enacted by `leaf` does to the members, which is nothing where it is about others."""
    change = _MEMBERS.get(body["kind"])
    if change is not None:
        change(view, body, leaf)


def _enact_members(ctx: Context, body: Body, leaf: int) -> None:
    change_members(ctx.view, body, leaf)


# -- who validates --


def _newcomer(ctx: Context, body: Body) -> bytes | None:
    """Node key of the one who would validate by this motion and does not now."""
    if "member" not in body or "validator" not in body["member"]["roles"]:
        return None
    node = unb32(body["member"]["node"])
    return node if ctx.epoch.index(node) is None else None


def _successors(ctx: Context, body: Body) -> tuple[Validator, ...]:
    """The validators once this motion is enacted, sorted by vote key. Asked before it is."""
    seated = {one.node: one for one in ctx.epoch.validators}
    if "node" in body:
        seated.pop(unb32(body["node"]), None)
    told = _rotated(ctx.view, body) if body["kind"] == "member.rotate" else body.get("member")
    if told is not None:
        one = Member.of(told)
        seated.pop(one.node, None)
        if one.seat is not None:
            seated[one.node] = one.seat
    return tuple(sorted(seated.values(), key=lambda one: one.vote))


def _check_seats(ctx: Context, body: Body) -> None:
    """One seat a motion, so that those who are left and know the log are always enough to go on."""
    before, after = frozenset(ctx.epoch.validators), frozenset(_successors(ctx, body))
    if len(before - after) > 1 or len(after - before) > 1:
        raise NotApplied("it changes two validators, and a motion may change one")
    if len(after) < MIN_VALIDATORS:
        raise NotApplied(f"it leaves {len(after)} validators, and {MIN_VALIDATORS} are needed")
    if len(after) > MAX_VALIDATORS.value:
        raise NotApplied(f"the network has its {MAX_VALIDATORS.value} validators")
    newcomer = _newcomer(ctx, body)
    if newcomer is not None and roster.member(ctx.view, newcomer) is None:
        raise NotApplied(
            "whoever is to validate is a member first: admit it without that role, then replace it by itself with it"
        )


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
        if not 0 <= body["rules"]["version"] - config["rules"] <= 1:
            raise NotApplied(f"rules {config['rules']} are in force, and the next version is one more")
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
    "member.add": _Kind(_check_add, _enact_members),
    "member.remove": _Kind(_check_remove, _enact_members),
    "member.replace": _Kind(_check_replace, _enact_members),
    "member.rotate": _Kind(_check_rotate, _enact_members),
    "network.set": _Kind(_check_numbers, _set_numbers),
}
