"""A policy as text: the file that explains every key, and one that says the rules in force."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from pyrsia.policy.keys import ALL, BLOCK, ECOSYSTEMS, KEYS, OTHER, SUMMED
from pyrsia.policy.modes import MODES
from pyrsia.policy.rules import Policy

_EXAMPLE: Final = """
# Rules for single packages: of these tables the first whose patterns mean a package overrides keys for it. One that
# only denies (deny, licences_deny) adds its denials, and leaves the rest to those behind it.
# [[rule]]
# packages = ["pkg:pypi/internal-*"]
# max_severity = "high"
# min_age_days = 0
#
# [[rule]]
# packages = ["pkg:maven/org.example/*"]
# licences_deny = ["AGPL-*"]
"""


def render() -> str:
    """policy.toml with every key, its meaning and its default, all of them commented out."""
    lines = [
        "# What this machine accepts from the log, and gives to package clients.",
        "# [all] speaks for every ecosystem; a section of its own overrides single keys for one ecosystem,",
        "# but for deny, licences_deny and accept, where all lists count. A file without keys is the default policy.",
        "",
        f"[{ALL}]",
    ]
    for key, (default, why) in KEYS.items():
        if key != "mode":
            lines += [
                "",
                *_wrapped(why),
                f"# {key} = {toml(MODES['verified'].minimum if default is None else default)}",
            ]
    for ecosystem in ECOSYSTEMS:
        lines += ["", f"[{ecosystem}]"]
        if ecosystem == ECOSYSTEMS[0]:
            lines += _wrapped(KEYS["mode"][1])
        lines.append(f"# mode = {toml('verified+witnessed' if ecosystem == 'oci' else 'verified')}")
    return "\n".join(lines) + "\n" + _EXAMPLE


def written(policy: Policy) -> str:
    """A policy.toml that says the same, key by key, without what people wrote beside it."""
    common = policy.of(OTHER).as_dict()
    lines = [f"[{ALL}]", *(f"{key} = {toml(value)}" for key, value in common.items())]
    for name in ECOSYSTEMS:
        lines.append(f"[{name}]")
        for key, value in policy.of(name).as_dict().items():
            if key in SUMMED:  # what `[all]` says holds here already
                value = tuple(one for one in value if one not in common[key])
            if value != common[key] and (key not in SUMMED or value):
                lines.append(f"{key} = {toml(value)}")
    for one in policy.overrides:
        lines += [f"[[{BLOCK}]]", f"packages = {toml([glob.pattern for glob in one.packages])}"]
        lines += [f"{key} = {toml(value)}" for key, value in one.said.items()]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> Sequence[str]:
    lines = ["#"]
    for word in text.split():
        if len(lines[-1]) + len(word) > 98:
            lines.append("#")
        lines[-1] += f" {word}"
    return lines


def toml(value: object) -> str:
    """A value as TOML writes it: a basic string and a JSON string escape the same characters the same way."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, date):
        return value.isoformat()
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")  # which TOML escapes too
