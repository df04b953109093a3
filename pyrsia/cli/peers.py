"""`peers`, `list`: who else is in the network, how this node sees each, and what each has done to it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import examples, json_option, node_option, table, tell, width
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import look_first, seen_in_words, stands
from pyrsia.wire.text import safe

_UNITS: Final = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
# Column -> what goes first where a terminal is too narrow for all; 0 stays.
_COLUMNS: Final = {
    "id": 0, "name": 0, "role": 4, "state": 0, "round trip": 1, "in": 3, "out": 3, "version": 7, "log": 5,
    "score": 0, "last fault": 2, "address": 6,
}  # fmt: skip


@click.command(
    epilog=examples("pyrsia peers", "pyrsia peers amber", "pyrsia peers --json | jq '.peers[] | .state'")
)
@click.argument("peer", required=False)
@node_option
@json_option
def peers(peer: str | None, target: str | None, as_json: bool) -> None:
    """Every peer: whether it is there, how fast it answers, what it costs and gives.

    With PEER, a name or the beginning of an id: all that is known of one, and its faults.
    """
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/peers"), answers.Peers)
    if peer is not None:
        one = _one(answer["peers"], peer)
        tell(one, as_json=as_json, text=lambda: _details(one))
        return
    tell(answer, as_json=as_json, text=lambda: _table(answer["peers"], width()))


@click.command("list")
@node_option
@json_option
def list_peers(target: str | None, as_json: bool) -> None:
    """The ids of connected peers, one a line."""
    with Client(target) as node:
        answer = shaped(node.get("/peers"), list[str])
    tell(answer, as_json=as_json, text=lambda: answer)


def _one(found: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The peer that `wanted` names: its whole name, or the beginning of its id."""
    named = [
        one for one in found if one["name"] == wanted and one["role"] != "guest"
    ]  # guests name themselves
    named = named or [one for one in found if one["name"] == wanted]
    fitting = named or [one for one in found if one["node_id"].startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    several = f"{len(fitting)} peers are meant by {wanted!r}"
    raise Refusal(
        "not-found",
        what=several if fitting else f"no peer is called {wanted!r}, and no id begins so",
        who="your command",
        do="take a name or the beginning of an id from `pyrsia peers`",
    )


def _table(found: Sequence[dict[str, Any]], width: int) -> list[str]:
    """What wants a look stands above; as many columns as fit."""
    shown = sorted(
        found,
        key=lambda one: look_first(
            stands(one["state"], one["leaving"]), one["ignored"] or one["refused_until_ms"] > 0, one["name"]
        ),
    )
    cells = [_cells(peer) for peer in shown]
    columns = list(_COLUMNS)
    while True:
        lines = table([[row[name] for name in columns] for row in cells], columns)
        less = max(_COLUMNS[name] for name in columns)
        if not less or max(map(len, lines)) <= width:
            return lines
        columns = [name for name in columns if _COLUMNS[name] != less]


def _cells(peer: dict[str, Any]) -> dict[str, str]:
    return {
        "id": peer["node_id"][:8],
        "name": f"({peer['name']})" if peer["role"] == "guest" and peer["name"] else peer["name"],
        "role": peer["role"],
        "state": _state(peer),
        "round trip": f"{peer['rtt_ms']:.1f} ms" if _is_known(peer["rtt_ms"]) else "-",
        "in": _rate(peer["received_rate"]),
        "out": _rate(peer["sent_rate"]),
        "version": peer["version"] or "-",
        "log": f"{peer['log_size']:,}" if peer["log_size"] else "-",
        "score": f"{peer['score']:.0f}" + (" ignored" if peer["ignored"] else ""),
        "last fault": peer["reason"] or "-",
        "address": peer["address"] or "-",
    }


def _state(peer: dict[str, Any]) -> str:
    return seen_in_words(stands(peer["state"], peer["leaving"]), peer["connected"], peer["refused_until_ms"])


def _state_line(peer: dict[str, Any]) -> Iterator[str]:
    """How it stands, since when, and what that means where the word alone does not say it."""
    gone = f" for {_ago(peer['gone_s'])}" if _is_known(peer["gone_s"]) else ""
    heard = (
        f", heard {_ago(peer['heard_s'])} ago"
        if _is_known(peer["heard_s"])
        else ", not heard on a link of its own"
    )
    yield f"state:        {_state(peer)}{gone}{heard}"
    if peer["leaving"]:
        yield "leaving:      it hands over what it keeps, to be stopped then; by its own word"
    elif peer["state"] == "left":
        yield "left:         it said goodbye, as at every stop and restart"


def _rate(count: int) -> str:
    for unit, of in _UNITS:
        if count >= of:
            return f"{count / of:.1f} {unit}/s"
    return f"{count} B/s"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"


def _is_known(value: float | None) -> bool:
    """An older node writes a negative number for what it does not know."""
    return value is not None and value >= 0


def _details(peer: dict[str, Any]) -> Iterator[str]:
    yield f"{peer['name']} ({peer['node_id']})"
    yield f"roles:        {', '.join(peer['roles']) or ('none' if peer['role'] != 'guest' else 'guest')}"
    yield from _state_line(peer)
    if peer["suspected_by"]:
        yield f"suspected by: {', '.join(one[:8] for one in peer['suspected_by'])}"
    yield f"known by:     {', '.join(peer['known']) or 'nothing'}"
    yield f"address:      {peer['address'] or 'none'}"
    yield f"round trip:   {peer['rtt_ms']:.1f} ms" if _is_known(peer["rtt_ms"]) else "round trip:   unknown"
    yield f"link:         {peer['received_bytes']:,} bytes in, {peer['sent_bytes']:,} bytes out"
    yield f"rates:        {_rate(peer['received_rate'])} in, {_rate(peer['sent_rate'])} out"
    yield f"version:      {peer['version'] or 'unknown'}"
    yield f"log:          {peer['log_size']:,} entries, by its own word"
    yield (
        f"load:         {peer['load_ms']} ms late, by its own word"
        if _is_known(peer["load_ms"])
        else "load:         unknown"
    )
    ignored = "; what it tells unasked is not read" if peer["ignored"] else ""
    yield f"score:        {peer['score']:.1f}{ignored}"
    yield f"last fault:   {peer['reason'] or 'none'}"
    for reason, count in sorted(peer["faults"].items(), key=lambda item: (-item[1], item[0])):
        yield f"  {count:>6,} x  {safe(reason)}"
