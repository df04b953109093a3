"""`policy`: what a node or this user accepts, and why; other rules can be tried before they count.

A node is asked for its rules and for facts. The decisions come from the engine that the node itself uses: with
--policy over another file's rules, and nothing of that reaches the node.
"""

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.groups import Group
from pyrsia.cli.naming import with_names
from pyrsia.cli.tell import examples, json_option, node_option, tell, tell_refusal
from pyrsia.client import Client, typed
from pyrsia.errors import Refusal

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.cli.subjects import Subject
    from pyrsia.policy.facts import Decision, Facts
    from pyrsia.policy.rules import Policy
    from pyrsia.serve.desks.judging import FactsAnswer, Judged, PolicyAnswer, RuleRow

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_policy_option = click.option(
    "--policy",
    "tried",
    type=_file,
    help="Try the rules of this file instead of the node's; nothing is changed.",
)


_AWAY: Final = frozenset({"not-running", "unavailable"})


def _unknown_where_away(command: Callable[..., int]) -> Callable[..., int]:
    """Exit code 3 where no node answers: 1 says that something is refused, and this that nobody can say."""

    @functools.wraps(command)
    def asked(*, as_json: bool, **given: Any) -> int:
        try:
            return command(as_json=as_json, **given)
        except Refusal as refusal:
            if refusal.code not in _AWAY:
                raise
            tell_refusal(refusal, as_json=as_json)
            return 3

    return asked


@click.group(cls=Group)
def policy() -> None:
    """What a node gives to package clients, and what `verify` accepts: show, check, explain, begin a file.

    A node's rules stand in policy.toml in its data directory, a user's own in policy.toml of their configuration
    folder. docs/policy.md explains every rule.
    """


@policy.command(
    epilog=examples(
        "pyrsia policy check pkg:pypi/idna@3.10",
        "pyrsia policy check -r requirements.txt -r pom.xml",
        "pyrsia policy check --policy new.toml -r conan.lock   by other rules",
    )
)
@click.argument("subjects", nargs=-1, metavar="[PURL|FILE|sha256:HEX]...")
@click.option("-r", "--requirement", "lists", multiple=True, type=_file,
              help="A requirements*.txt, uv.lock, pom.xml or conan.lock.")  # fmt: skip
@_policy_option
@node_option
@json_option
@_unknown_where_away
def check(
    subjects: tuple[str, ...], lists: tuple[Path, ...], tried: Path | None, target: str | None, as_json: bool
) -> int:
    """Say of each package or file whether policy allows it.

    A version passes if it has files and none of them is refused; a package without a version, if one of its versions
    passes. Exit codes: 0 all pass, 1 one does not, 3 no node answers, so nobody can say.
    """
    import msgspec

    from pyrsia.cli.policy.tell import check_lines
    from pyrsia.cli.subjects import read
    from pyrsia.serve.desks.judging import Judged, judged

    named, skipped = read(subjects, lists)
    rows: list[tuple[str, bool, list[Judged]]] = []
    with Client(target) as node:
        rules = rules_of(node, tried)
        for one in named:
            found = facts_about(node, one)
            decided = [judged(facts, _decision(rules, facts, found)) for facts in found.files]
            rows.append((one.said, _passes(decided), decided))
    passed = all(allowed for _, allowed, _ in rows)
    told = [
        {"said": said, "allowed": allowed, "files": msgspec.to_builtins(files)}
        for said, allowed, files in rows
    ]
    tell(
        {"ok": passed, "checked": told, "skipped": skipped},
        as_json=as_json,
        text=lambda: with_names(node, [*(f"skipped: {one}" for one in skipped), *check_lines(rows, tried)]),
    )
    return 0 if passed else 1


@policy.command(
    epilog=examples(
        "pyrsia policy explain pkg:maven/commons-io/commons-io@2.16.1",
        "pyrsia policy explain idna-3.10-py3-none-any.whl   by its digest",
    )
)
@click.argument("subject", metavar="PURL|FILE|sha256:HEX")
@_policy_option
@node_option
@json_option
@_unknown_where_away
def explain(subject: str, tried: Path | None, target: str | None, as_json: bool) -> int:
    """Every rule that is asked about a package or file: its value, the facts, its answer, what would change it.

    Exit codes: 0 all of its files are allowed, 1 one is not, 3 no node answers, so nobody can say.
    """
    import dataclasses

    from pyrsia.cli.policy.tell import explain_lines
    from pyrsia.cli.subjects import read
    from pyrsia.policy.facts import LOCAL

    (named,), _ = read([subject])
    with Client(target) as node:
        rules, rows = _rules_and_rows(node, tried)
        found = facts_about(node, named)
    if not found.files:
        raise Refusal(
            "not-found",
            what=f"the log holds no {subject}, and policy gives nothing of it",
            who="the log, or the name",
            do=_how_to_get(subject, local=found.owner == LOCAL),
        )
    said = [(facts, _decision(rules, facts, found)) for facts in found.files]
    shown = [{**dataclasses.asdict(facts), **dataclasses.asdict(decision)} for facts, decision in said]
    tell(
        {"ok": all(one.allowed for _, one in said), "files": shown},
        as_json=as_json,
        text=lambda: with_names(
            node,
            (
                line
                for at, (facts, one) in enumerate(said)
                for line in (*([""] if at else []), *explain_lines(facts, one, _rules_at(rules, facts, rows)))
            ),
        ),
    )
    return 0 if all(one.allowed for _, one in said) else 1


@policy.command(
    epilog=examples(
        "pyrsia policy show          what the node gives",
        "pyrsia policy show --user   what your `pyrsia verify` accepts",
    )
)
@click.option("--policy", "shown", type=_file, help="Show the rules of this file.")
@click.option("--user", is_flag=True, help="Show the rules by which your `pyrsia verify` judges.")
@node_option
@json_option
def show(shown: Path | None, user: bool, target: str | None, as_json: bool) -> None:
    """The rules in force for every ecosystem, and where each comes from: a section, its mode, or the default."""
    import msgspec

    from pyrsia.cli.policy.tell import rule_lines

    answer = _of_file(shown, user) if shown or user else _answer(target)
    tell(msgspec.to_builtins(answer), as_json=as_json, text=lambda: rule_lines(answer))


@policy.command(
    epilog=examples(
        "pyrsia policy init --print   look at it, write nothing",
        "pyrsia policy init           for the node of this machine",
        "pyrsia policy init --user    for your own `pyrsia verify`",
    )
)
@click.option("--user", is_flag=True, help="Your own, for `pyrsia verify`, instead of a node's.")
@click.option("--print", "printed", is_flag=True, help="Print it, and write nothing.")
@click.option("--node", "target", metavar="DIR", help="The node's data directory.")
@json_option
def init(user: bool, printed: bool, target: str | None, as_json: bool) -> None:
    """Write a policy.toml that names every rule with its meaning and default, all of it commented out.

    A node takes a changed file over within seconds; one that is not valid changes nothing, and its status says so.
    """
    from pyrsia.cli.config import data_folder
    from pyrsia.files import write_whole
    from pyrsia.policy.writing import render
    from pyrsia.verify.accepting import user_policy

    text = render()
    if printed:
        tell({"text": text}, as_json=as_json, text=lambda: text.splitlines())
        return
    path = user_policy() if user else data_folder(target) / "policy.toml"
    if path.exists():
        raise Refusal(
            "conflict",
            what="the file is there already",
            who=str(path),
            do="edit it, or add --print to see a new one",
        )
    if user:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise Refusal("not-found", what="there is no node", who=str(path.parent), do="make one: pyrsia init")
    write_whole(path, text.encode(), 0o644)
    tell({"file": str(path)}, as_json=as_json, text=lambda: [str(path)])


@policy.command(
    epilog=examples(
        "pyrsia policy test policy_test.toml --policy policy.toml   in CI, beside the rules",
        "pyrsia policy test policy_test.toml                        by the rules of the node",
    )
)
@click.argument("file", type=_file)
@click.option("--policy", "tried", type=_file, help="The rules of this file instead of the node's.")
@node_option
@json_option
def test(file: Path, tried: Path | None, target: str | None, as_json: bool) -> int:
    """Check that rules decide cases as you expect: a TOML or JSON file of them, each with purl, facts and answer.

    Exit codes: 0 all of them, 1 one is decided otherwise, 2 the file is not valid.
    """
    import time

    from pyrsia.cli.policy import cases
    from pyrsia.cli.policy.tell import case_dict, case_lines
    from pyrsia.verify.accepting import of_file

    if tried is not None:
        rules = of_file(tried)
    else:
        with Client(target) as node:
            rules = rules_of(node, None)
    results = cases.run(file, rules, int(time.time() * 1_000))
    passed = all(one.passed for one in results)
    tell(
        {"ok": passed, "cases": [case_dict(one) for one in results]},
        as_json=as_json,
        text=lambda: case_lines(results, file.name),
    )
    return 0 if passed else 1


@policy.command(
    "dry-run",
    epilog=examples(
        "pyrsia policy dry-run --policy new.toml               the files of the last 30 days",
        "pyrsia policy dry-run --policy new.toml --last 365d",
        "pyrsia policy dry-run                                 what your rules change of the defaults",
    ),
)
@click.option(
    "--policy", "tried", type=_file, help="Rules that are tried [those in force, against the defaults]."
)
@click.option("--last", default="30d", metavar="SPAN", help="How far back: 12h, 30d, 8w, or a date [30d].")
@node_option
@json_option
def dry_run(tried: Path | None, last: str, target: str | None, as_json: bool) -> None:
    """What other rules would change: over all that the log published lately, and nothing is changed."""
    import time

    from pyrsia.cli.log.when import past
    from pyrsia.cli.policy import dry
    from pyrsia.cli.policy.tell import outcome_dict, outcome_lines
    from pyrsia.policy.rules import parse
    from pyrsia.verify.accepting import of_file

    since_ms = past(last)
    if time.time() * 1_000 - since_ms < 1_000:
        raise click.BadParameter(
            f"{last} is no time in which anything can be published; write 12h, 30d or a date"
        )
    with Client(target) as node:
        in_force = rules_of(node, None)
        before, after = (in_force, of_file(tried)) if tried else (parse(b"", "the defaults"), in_force)
        found = dry.run(node, since_ms, before, after)
    whose = (str(tried), "the rules in force") if tried else ("the rules in force", "the defaults")
    tell(
        outcome_dict(found, since_ms),
        as_json=as_json,
        text=lambda: outcome_lines(found, since_ms, *whose),
    )


# -- what the commands have in common --


def _answer(target: str | None) -> "PolicyAnswer":
    from pyrsia.serve.desks.judging import PolicyAnswer

    with Client(target) as node:
        return typed(node.get("/api/v1/policy"), PolicyAnswer)


def _of_file(path: Path | None, user: bool) -> "PolicyAnswer":
    from pyrsia.policy.writing import written
    from pyrsia.serve.desks.judging import PolicyAnswer, told, told_blocks
    from pyrsia.verify.accepting import of_file, of_user, user_policy

    there = path or (user_policy() if user_policy().exists() else None)
    rules = of_user() if user else of_file(there or Path())
    return PolicyAnswer(str(there or ""), written(rules), "", 0, told(rules), told_blocks(rules))


def rules_of(node: Client, tried: Path | None) -> "Policy":
    """The rules of a file, or those that the node says it has."""
    return _rules_and_rows(node, tried)[0]


def _rules_and_rows(node: Client, tried: Path | None) -> "tuple[Policy, dict[str, tuple[RuleRow, ...]]]":
    """The same, and for people where each comes from."""
    from pyrsia.policy.rules import parse
    from pyrsia.serve.desks.judging import PolicyAnswer, told

    if tried is not None:
        from pyrsia.verify.accepting import of_file  # a third of a second, which a node's rules do not need

        rules = of_file(tried)
        return rules, told(rules)
    said = typed(node.get("/api/v1/policy"), PolicyAnswer)
    return parse(said.text.encode(), f"the policy of {node.target}"), said.rules


def facts_about(node: Client, subject: "Subject") -> "FactsAnswer":
    from pyrsia.serve.desks.judging import FactsAnswer

    return typed(node.get(f"/api/v1/policy/facts?{subject.query}"), FactsAnswer)


def _decision(rules: "Policy", facts: "Facts", found: "FactsAnswer") -> "Decision":
    from pyrsia.policy.evaluate import decide

    return decide(rules, facts, found.now_ms, found.head_age_ms)


def _how_to_get(subject: str, *, local: bool) -> str:
    if local:  # to ask the network for it would tell everybody its name
        return "check the version: the package was pushed to this node, and has no such one here"
    if subject.startswith("pkg:"):
        return f"check the name, or ask for it: pyrsia build request {shlex.quote(subject)}"
    return "check the digest; its package can be asked for: pyrsia build request"


def _passes(files: "list[Judged]") -> bool:
    versions: dict[str, bool] = {}
    for one in files:
        versions[one.purl] = versions.get(one.purl, True) and one.allowed
    return any(versions.values())


def _rules_at(
    rules: "Policy", facts: "Facts", rows: "dict[str, tuple[RuleRow, ...]]"
) -> "tuple[RuleRow, ...]":
    from pyrsia.errors import Malformed
    from pyrsia.policy.rules import OTHER
    from pyrsia.serve.desks.judging import told_at

    try:
        return told_at(rules, facts.purl, rows)
    except Malformed:  # a node that names no package; the decision says so
        return rows.get(OTHER, ())
