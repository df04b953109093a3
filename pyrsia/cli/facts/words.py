"""How people name what a fact is about, and how a fact reads in a line."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from pyrsia.cli.log.when import told
from pyrsia.errors import Malformed

DIGEST = "sha256:"


def subject_of(text: str) -> str:
    """A package, a version or a file as the log spells it.

    Raises:
        click.BadParameter: it names none.
    """
    from pyrsia.consumers.documents.purls import canonical
    from pyrsia.ledger.bodies.facts import about

    if text.startswith(DIGEST):
        try:
            about(text.lower())
        except Malformed as error:
            raise click.BadParameter(f"{text} names no file: {error}") from None
        return text.lower()
    found = canonical(text)
    if not found:
        raise click.BadParameter(
            f"{text} is no purl; write pkg:pypi/NAME, pkg:maven/GROUP/NAME@VERSION, or sha256:HEX"
        )
    return found


def what(row: Mapping[str, Any]) -> str:
    """What a fact says, in a line: the fields of its kind, then its words; of what is taken back what that said."""
    if takes_back(row):
        of = row.get("ended") or {"text": "what is not here"}
        return "taken back: " + what({"kind": row["kind"], "text": of.get("text", ""), "body": of})
    body = row["body"]
    parts = [part for part in _fields(row["kind"], body) if part]
    words = row["text"]
    return "; ".join([" ".join(parts), words] if parts and words else [" ".join(parts) or words])


def takes_back(row: Mapping[str, Any]) -> bool:
    """Whether a row is no fact, but the word that takes one back."""
    return "withdrawn" in row["body"]


def _fields(kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    match kind:
        case "advisory":
            yield from (str(body.get("advisory", "")), str(body.get("severity", "")))
            yield versions(body)
        case "vex":
            yield from (str(body.get(name, "")) for name in ("advisory", "outcome"))
            yield f"({body['justification']})" if "justification" in body else ""
        case "licence":
            yield str(body.get("expression", ""))
        case "description":
            yield ", ".join(map(str, body.get("tags", ())))
            yield str(body.get("homepage", ""))
            yield f"namespace {body['namespace']}" if "namespace" in body else ""
            yield f"json of {len(str(body['json'])):,} bytes" if "json" in body else ""
        case "sbom":
            count = body.get("components")
            yield str(body.get("format", ""))
            yield "" if count is None else f"{count:,} component{'s' * (count != 1)}"
        case "review":
            named = ("rating", "outcome", "thoroughness", "understanding")
            yield ", ".join(f"{name} {body[name]}" for name in named if name in body)
        case "commit-signature":
            yield f"{'good' if body.get('good') else 'bad'} by {body.get('key', '')}"
        case _:
            yield str(body.get("outcome", ""))


def about(subject: str, body: Mapping[str, Any]) -> str:
    """What of a package a fact is about, in a column: versions, one version, or one file."""
    if subject.startswith(DIGEST):
        return f"file {subject[len(DIGEST) :][:8]}"
    _, _, version = subject.partition("@")
    return version or versions(body) or "every version"


def files_of(subjects: Iterable[str]) -> Iterator[str]:
    """The whole digests of what `about` calls by eight letters."""
    for one in dict.fromkeys(subjects):
        if one.startswith(DIGEST):
            yield f"file {one[len(DIGEST) :][:8]} is {one}"


def day(ms: Any) -> str:
    """When something begins: people name a day, which is then enough to say."""
    return told(ms if isinstance(ms, int) else 0).removesuffix(" 00:00:00")


def state(row: Mapping[str, Any]) -> str:
    """What became of a fact, and by which leaf, or when it comes; of a word that takes one back, which."""
    if row["state"] == "to-come":
        return f"to-come {day(row['body'].get('valid_from'))}"
    if takes_back(row):
        return f"ends {row['ends']}" if row["ends"] >= 0 else str(row["state"])
    return str(row["state"]) + (f" by {row['by']}" if row["by"] >= 0 else "")


def versions(body: Mapping[str, Any]) -> str:
    """Which versions a fact of a whole package means: [1.0, 1.3) and those it names; "" for every one."""
    ranges = [_range(one) for one in body.get("range", ())]
    named = [str(one) for one in body.get("versions", ())]
    shown = [*ranges, *named]
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return ", ".join(shown[:4]) + more


def _range(one: Mapping[str, Any]) -> str:
    if "fixed" in one:
        return f"[{one.get('introduced', '')}, {one['fixed']})"
    return (
        f"[{one.get('introduced', '')}, {one['last']}]"
        if "last" in one
        else f"[{one.get('introduced', '')}, ...)"
    )
