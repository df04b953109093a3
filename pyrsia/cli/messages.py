"""`broadcast`, `listen`, `send`, `inbox`: what nodes and their people say to each other.

Whoever is named was named by the log or is shown by his id; what he wrote is neutralised line by line.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.log import when
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal, usage
from pyrsia.mesh import mail
from pyrsia.serve.desks.messages import (
    Deleted,
    HeardPage,
    InboxPage,
    SaidStatus,
    SentPage,
    SentStatus,
)
from pyrsia.units import MAX_MAIL_BYTES, MAX_PAYLOAD_BYTES, Limit
from pyrsia.wire.envelopes import is_topic
from pyrsia.wire.text import safe

WAIT_S: Final = 20  # for the next message, in one request
AGAIN_S: Final = 2.0  # after a node that does not answer
MAX_STDIN_BYTES = Limit(65_536, "more than any message may have; the node says how much")
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@click.command(
    epilog=examples(
        "pyrsia broadcast news/ 'version 2 of our mirror is up'",
        "make check 2>&1 | tail -3 | pyrsia broadcast builds/",
    )
)
@click.argument("topic", metavar="TOPIC")
@click.argument("text", metavar="[MSG]", required=False)
@node_option
@json_option
def broadcast(topic: str, text: str | None, target: str | None, as_json: bool) -> None:
    """Say something to all nodes of the network.

    TOPIC is a word with a slash behind it, such as news/; MSG has at most 4 KiB and is read from standard input where
    it is left out. Nodes keep it for ten minutes, so that one that was away hears it too. How many it goes to is how
    many nodes this one is linked with; those pass it on.
    """
    named, said_text = _topic(topic), _text(text, "a broadcast", MAX_PAYLOAD_BYTES.value)
    with Client(target) as node:
        said = shaped(node.post("/api/v1/broadcasts", {"topic": named, "text": said_text}), SaidStatus)
    tell(
        said,
        as_json=as_json,
        text=lambda: [
            f"said under {said['topic']}; linked nodes: {said['linked']};"
            f" kept until {when.told(said['expires_ms'])}"
        ],
    )
    if not said["linked"]:
        click.echo("this node has no link to any other: who links until then hears it, nobody else", err=True)


@click.command(
    epilog=examples("pyrsia listen", "pyrsia listen news/ --follow", "pyrsia listen --follow --json")
)
@click.argument("topic", metavar="[TOPIC]", required=False)
@click.option("--follow", is_flag=True, help="Stay, and show what comes.")
@node_option
@json_option
def listen(topic: str | None, follow: bool, target: str | None, as_json: bool) -> None:
    """What was said to all nodes lately, and by whom.

    Without TOPIC of all topics. With --json and --follow each message is a line of its own.
    """
    query = {"topic": _topic(topic)} if topic else {}
    with Client(target) as node:
        if follow:
            _follow(node, "/api/v1/broadcasts", query, HeardPage, _heard_lines, as_json=as_json)
        page = shaped(node.get("/api/v1/broadcasts", **query), HeardPage)
    none = f"nothing was said{f' under {_topic(topic)}' if topic else ''} in the last ten minutes"
    tell(page, as_json=as_json, text=lambda: _all(page["messages"], _heard_lines, none))


@click.command(
    epilog=examples(
        "pyrsia send --to builder-2 'please look at your disk'",
        "pyrsia send --to builder-2 --seal --keep --expires 2d < letter",
    )
)
@click.argument("text", metavar="[MSG]", required=False)
@click.option(
    "--to", "recipient", metavar="NODE", required=True, help="A member's name, or the start of a node id."
)
@click.option("--seal", is_flag=True, help="So that only the recipient can read it, whoever carries it.")
@click.option("--keep", is_flag=True, help="Have the node try again until the message expires.")
@click.option(
    "--expires",
    metavar="SPAN",
    default="1h",
    show_default=True,
    help="As in 90s, 30m, 12h or 7d; 7d at most.",
)
@node_option
@json_option
def send(
    text: str | None, recipient: str, seal: bool, keep: bool, expires: str, target: str | None, as_json: bool
) -> None:
    """Write to the people of one node.

    The recipient's node signs a receipt once the message is on its disk; without one this command says why, and fails.
    Where there is no link to it, a member that says it has one may carry the message, and can read it unless it is
    sealed; if that one brings no receipt, another one is tried. What is sealed others than members carry too. MSG has
    at most 32 KiB and is read from standard input where it is left out.
    """
    order = {
        "to": recipient,
        "text": _text(text, "a message", MAX_MAIL_BYTES.value),
        "seal": seal,
        "keep": keep,
        "expires_s": _seconds(expires),
    }
    with Client(target) as node:
        sent = shaped(node.post("/api/v1/messages", order), SentStatus)
    tell(sent, as_json=as_json, text=lambda: _sent_summary(sent))


@click.command(epilog=examples("pyrsia inbox --follow", "pyrsia inbox --sent", "pyrsia inbox --delete 12"))
@click.option("--follow", is_flag=True, help="Stay, and show what comes.")
@click.option("--sent", is_flag=True, help="What this node wrote, and what became of it.")
@click.option("--delete", "number", type=click.IntRange(min=1), metavar="NUMBER", help="Delete one message.")
@node_option
@json_option
def inbox(follow: bool, sent: bool, number: int | None, target: str | None, as_json: bool) -> None:
    """Messages to this node, oldest first.

    They stay until they are deleted. With --json and --follow each message is a line of its own.
    """
    if follow and (sent or number is not None):
        raise click.UsageError("--follow shows what comes; it goes with neither --sent nor --delete")
    path = "/api/v1/messages/sent" if sent else "/api/v1/messages"
    with Client(target) as node:
        if number is not None:
            gone = shaped(node.post(f"{path}/{number}/delete", {}), Deleted)
            tell(gone, as_json=as_json, text=lambda: [f"message {gone['number']} is deleted"])
        elif sent:
            written = shaped(node.get(path), SentPage)
            none = "this node has written to nobody"
            tell(written, as_json=as_json, text=lambda: _all(written["messages"], _sent_lines, none))
        elif follow:
            _follow(node, path, {}, InboxPage, _letter_lines, as_json=as_json)
        else:
            _all_letters(node, path, as_json=as_json)


def _all_letters(node: Client, path: str, *, as_json: bool) -> None:
    """Every page of the inbox, as one answer."""
    page = shaped(node.get(path), InboxPage)
    found, more = page["messages"], page
    while len(found) < page["count"] and more["messages"]:
        more = shaped(node.get(path, after=more["next"]), InboxPage)
        found = [*found, *more["messages"]]
    whole = page | {"messages": found, "next": more["next"]}
    tell(whole, as_json=as_json, text=lambda: _all(found, _letter_lines, "the inbox is empty"))


# -- following --


def _follow(
    node: Client,
    path: str,
    query: dict[str, str],
    shape: Any,
    lines: Callable[[dict[str, Any]], Iterator[str]],
    *,
    as_json: bool,
) -> None:
    """Show what comes, until interrupted. A node that restarts is waited for."""
    after, away, answered = 0, False, False
    while True:
        try:
            page = shaped(node.get(path, **query, after=after, wait_s=WAIT_S), shape)
        except Refusal as refusal:
            if refusal.code != "not-running" or not answered:
                raise
            if not away:
                click.echo("the node does not answer; waiting for it", err=True)
            away = True
            time.sleep(AGAIN_S)
            continue
        away, answered = False, True
        if page.get("lost"):
            click.echo(f"{page['lost']} messages came and went before they could be shown", err=True)
        for message in page["messages"]:
            if as_json:
                click.echo(json.dumps(message, sort_keys=True))
            else:
                for line in lines(message):
                    click.echo(safe(line))
        sys.stdout.flush()
        after = page["next"]


def _all(
    messages: list[dict[str, Any]], lines: Callable[[dict[str, Any]], Iterator[str]], none: str
) -> Iterator[str]:
    for message in messages:
        yield from lines(message)
    if not messages:
        yield none


# -- what people read --


def _heard_lines(message: dict[str, Any]) -> Iterator[str]:
    head = f"{when.told(message['heard_ms'])} {message['topic']} {_by(message['name'], message['origin'])}:"
    yield from _under(head, message["text"])


def _letter_lines(message: dict[str, Any]) -> Iterator[str]:
    how = ", sealed" if message["sealed"] else ""
    how += f", carried by {message['via']}" if message["via"] else ""
    head = f"{message['number']}  {when.told(message['received_ms'])} {_by(message['name'], message['origin'])}{how}:"
    yield from _under(head, message["text"])


def _sent_lines(message: dict[str, Any]) -> Iterator[str]:
    head = f"{message['number']}  {when.told(message['sent_ms'])} to {_by(message['name'], message['to'])}"
    yield f"{head}: {_standing(message)}"
    yield from (f"    {line}" for line in message["text"].splitlines())


def _sent_summary(message: dict[str, Any]) -> Iterator[str]:
    yield f"to {_by(message['name'], message['to'])}: {_standing(message)}"
    if message["state"] == "waiting":
        yield "the node tries again; see `pyrsia inbox --sent`"
    if message["via"] and not message["sealed"]:
        yield f"{message['via']} carried it and could read it: --seal keeps it from carriers"


def _standing(message: dict[str, Any]) -> str:
    if message["state"] == "delivered":
        by = f", carried by {message['via']}" if message["via"] else ""
        return f"delivered {when.told(message['delivered_ms'])}{by}"
    why = f": {message['why']}" if message["why"] else ""
    until = f" until {when.told(message['expires_ms'])}" if message["state"] == "waiting" else ""
    return f"{message['state']}{until}{why}"


def _by(name: str, node: str) -> str:
    return f"{name} ({node[:8]})" if name else f"no member ({node[:12]})"


def _under(head: str, text: str) -> Iterator[str]:
    """One line stands beside its head, more stand below it."""
    lines = text.splitlines() or [""]
    if len(lines) == 1:
        yield f"{head} {lines[0]}"
        return
    yield head
    yield from (f"    {line}" for line in lines)


# -- what people write --


def _topic(text: str) -> str:
    """
    Raises:
        Refusal: `usage`.
    """
    topic = text if text.endswith("/") else f"{text}/"
    if not is_topic(topic):
        raise usage(
            f"{text[:80]} is no topic: that is a word of a-z, 0-9, dot and hyphen with a slash behind it",
            "write it like builds/ or team-a/",
        )
    return topic


def _text(text: str | None, what: str, most: int) -> str:
    """What is to be said: counted in bytes, as nodes count it, and never changed on the way.

    Raises:
        Refusal: `usage`.
    """
    if text is None or text == "-":
        raw = sys.stdin.buffer.read(MAX_STDIN_BYTES.value + 1)
        if len(raw) > MAX_STDIN_BYTES.value:
            raise usage(
                f"standard input is longer than any message: {what} has at most {most:,} bytes",
                "put it where others can fetch it, and say where that is",
            )
        raw = raw.rstrip(b"\n")
    else:
        raw = text.encode("utf-8", "surrogateescape")
    try:
        said = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise usage(
            f"this is not UTF-8 from byte {error.start + 1:,} on, and others would read something else",
            "encode it: base64, for what is no text",
        ) from None
    if len(raw) > most:
        raise usage(
            f"{what} has at most {most:,} bytes, and this one {len(raw):,}",
            "put it where others can fetch it, and say where that is",
        )
    if not said:
        raise usage("there is nothing to say", "write it behind the options, or to standard input")
    return said


def _seconds(text: str) -> int:
    """
    Raises:
        Refusal: `usage`.
    """
    match = _SPAN.fullmatch(text)
    found = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < found * 1000 <= mail.MAX_LIFE_MS.value:
        raise usage(
            f"{text} is not how long a message may live", "write a number and s, m, h or d, 7d at most"
        )
    return found
