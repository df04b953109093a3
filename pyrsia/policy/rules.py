"""The rules of a policy, parsed from policy.toml: strict, bounded, frozen. Evaluation is `evaluate`'s.

The section `[all]` speaks for every ecosystem; `[pip]`, `[maven]`, `[conan]` and `[oci]` override single keys of it.
Of the `[[rule]]` tables the first whose patterns mean a package overrides keys for it. What is denied is denied by
whoever says so: denials of all headings add up, and a `[[rule]]` that only denies decides nothing else, so that one
more denial never lets anything in. What nobody says follows from the mode, else from `KEYS`. A key that nobody
evaluates is refused: a rule that does nothing is worse than none.

Source: docs/policy.md.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import UNSET

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.policy import dotted, lines, naming, patterns, wording
from pyrsia.policy.accepted import Accept, Acceptance, ends_ms, never_named
from pyrsia.policy.keys import ALL as ALL
from pyrsia.policy.keys import (
    ANY,
    BLOCK,
    DENIALS,
    SUMMED,
    Block,
    Common,
    File,
    Section,
    words_of,
)
from pyrsia.policy.keys import CONTAINMENTS as CONTAINMENTS
from pyrsia.policy.keys import ECOSYSTEMS as ECOSYSTEMS
from pyrsia.policy.keys import ISOLATIONS as ISOLATIONS
from pyrsia.policy.keys import KEYS as KEYS
from pyrsia.policy.keys import OTHER as OTHER
from pyrsia.policy.keys import RELATIONS as RELATIONS
from pyrsia.policy.keys import VERDICTS as VERDICTS
from pyrsia.policy.modes import MODES
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_NAMED = Limit(
    4_096, "packages whose rules are remembered, 1 KB each; a long policy is read in 5 ms for each"
)
MAX_POLICY_BYTES = Limit(256 << 10, "2,000 patterns of the usual length; nobody reads a longer policy")

_OF_TYPE: Final = {"pypi": "pip", "maven": "maven", "conan": "conan", "docker": "oci"}
_ACCEPT: Final = Accept.__struct_fields__
_SETS: Final = ("operators", "builders", "issuers", "vex_issuers")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one package, or for an ecosystem where no [[rule]] means the package.

    Attributes:
        proxied: whether what upstream has and nobody checked may be given.
        accept: of all headings that speak of it.
        origins: key -> where its value comes from ("[pip]", "[all]", "[[rule]] 2", "mode verified", "default").
        accepted: `accept` by the advisory that each names.
    """

    ecosystem: str
    mode: str
    proxied: bool
    minimum: str
    allow: tuple[PurlGlob, ...]
    deny: tuple[PurlGlob, ...]
    agreeing: int
    operators: frozenset[str]
    builders: frozenset[str]
    isolation: str
    containment: str
    upstream: tuple[str, ...]
    min_age_days: int
    max_severity: str
    accept: tuple[Acceptance, ...]
    issuers: frozenset[str]
    vex_issuers: frozenset[str]
    licences_allow: tuple[str, ...]
    licences_deny: tuple[str, ...]
    sbom: str
    withdrawn: str
    disputed: str
    max_head_age_s: int
    max_proof_age_days: int
    origins: Mapping[str, str]
    accepted: Mapping[str, tuple[Acceptance, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Acceptance]] = {}
        for one in self.accept:
            found.setdefault(one.said.advisory, []).append(one)
        object.__setattr__(self, "accepted", {name: tuple(those) for name, those in found.items()})

    @property
    def asks_licences(self) -> bool:
        return bool(self.licences_allow or self.licences_deny)

    @property
    def asks_knowledge(self) -> bool:
        """Whether any rule asks what facts of the log say."""
        return self.max_severity != ANY or self.sbom != ANY or self.asks_licences

    def as_dict(self) -> dict[str, Any]:
        """Key -> value, as policy.toml would say it."""
        found: dict[str, Any] = {key: getattr(self, key) for key in KEYS}
        for key in ("allow", "deny"):
            found[key] = tuple(glob.pattern for glob in found[key])
        for key in _SETS:
            found[key] = tuple(sorted(found[key]))
        return {**found, "accept": tuple(one.said.as_dict() for one in self.accept)}


@dataclass(frozen=True, slots=True)
class Override:
    """One [[rule]].

    Attributes:
        number: from 1, as people count.
        packages: whose patterns say what it is about.
        said: its keys, as policy.toml says them.
        rules: by ecosystem, what holds where it decides; empty for one that only denies.
        denials: `deny` and `licences_deny`, which count wherever its patterns mean a package.
    """

    number: int
    packages: tuple[PurlGlob, ...]
    said: Mapping[str, Any]
    rules: Mapping[str, Rules]
    denials: tuple[tuple[PurlGlob, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Named:
    """What a policy says to the name of one package and version.

    Attributes:
        denied: the pattern that denies it, `allowed`: the one that allows it; None for none.
    """

    rules: Rules
    denied: PurlGlob | None
    allowed: PurlGlob | None


@dataclass(frozen=True)
class Policy:
    """Rules for every ecosystem, for what belongs to none, and for single packages."""

    rules: Mapping[str, Rules]
    overrides: tuple[Override, ...] = ()

    def of(self, ecosystem: str) -> Rules:
        """What holds for an ecosystem, whatever a [[rule]] says of single packages."""
        return self.rules.get(ecosystem, self.rules[OTHER])

    def at(self, purl: str) -> Rules:
        """What holds for one package.

        Raises:
            Malformed: not a purl.
        """
        return self.named(purl).rules

    def named(self, purl: str) -> Named:
        """The same, and which patterns deny and allow it. Remembered: thousands of patterns take milliseconds.

        Raises:
            Malformed: not a purl.
        """
        found = self._named.get(purl)
        if found is None:
            rules, meant = self._at(purl), naming.named(purl).any_meaning
            denied = next((glob for glob in rules.deny if meant(glob)), None)
            allowed = next((glob for glob in rules.allow if glob.matches(purl)), None)
            if len(self._named) >= MAX_NAMED.value:
                self._named.clear()
            found = self._named[purl] = Named(rules, denied, allowed)
        return found

    @cached_property
    def _named(self) -> dict[str, Named]:
        return {}

    def _at(self, purl: str) -> Rules:
        ecosystem = ecosystem_of(purl)
        found = self.of(ecosystem)
        if not self.overrides:
            return found
        named = naming.named(purl)
        decided = False
        deny: list[PurlGlob] = []
        licences: list[str] = []
        for one in self.overrides:
            if not any(map(named.any_meaning, one.packages)):
                continue
            deny += one.denials[0]
            licences += one.denials[1]
            if one.rules and not decided and any(map(named.itself, one.packages)):
                found, decided = one.rules[ecosystem], True
        if not (deny or licences):
            return found
        return replace(
            found,
            deny=(*found.deny, *deny),
            licences_deny=(*found.licences_deny, *licences),
        )

    @cached_property
    def every(self) -> tuple[Rules, ...]:
        """All that may hold for some package, but for denials."""
        return (*self.rules.values(), *(found for one in self.overrides for found in one.rules.values()))

    @cached_property
    def asks_isolation(self) -> bool:
        """Whether any rule asks how builds were kept in, which takes reading what each builder revealed."""
        return any(one.isolation != ISOLATIONS[0] for one in self.every)

    @cached_property
    def asks_knowledge(self) -> bool:
        """Whether any rule asks what facts of the log say."""
        return any(one.asks_knowledge for one in self.every) or any(one.denials[1] for one in self.overrides)


def ecosystem_of(purl: str) -> str:
    """Whose rules a purl falls under; what stands under a node's own name is of the ecosystem that it is for.

    Raises:
        Malformed: not a purl.
    """
    return _OF_TYPE.get(purls.parse(purl).package.type, OTHER)


def parse(raw: bytes, where: str) -> Policy:
    """The policy that the TOML text `raw` says.

    Args:
        where: the file's name, for the refusal.

    Raises:
        Refusal: `config-invalid`, naming the file, the line and the key.
    """
    if len(raw) > MAX_POLICY_BYTES.value:
        raise _invalid(where, f"it has {len(raw)} bytes, {MAX_POLICY_BYTES.value} are the most")
    try:
        text = raw.decode()
        document = dotted.read(text)
    except UnicodeDecodeError:
        raise _invalid(where, "it is not UTF-8 text") from None
    except RecursionError:
        raise _invalid(where, "its values are nested too deeply") from None
    except dotted.TooManyParts as error:
        raise _invalid(where, str(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise _invalid(where, wording.of_syntax(str(error)[:200])) from None
    except ValueError:  # Python reads no number with thousands of digits, and no date of year 0
        raise _invalid(where, "it holds a number or a date that nobody can read") from None
    try:
        return _Reader(msgspec.convert(document, File)).policy()
    except msgspec.ValidationError as error:
        place, why = wording.readable(
            str(error), words_of, (*KEYS, *ECOSYSTEMS, ALL, BLOCK, "packages", *_ACCEPT)
        )
    except _Wrong as error:
        place, why = error.place, str(error)
    line = lines.line_of(text, place)
    raise _invalid(where, f"line {line}: {why}" if line else why)


class _Wrong(Exception):
    """A value that has its form and cannot be meant. `place`: where it stands."""

    def __init__(self, place: lines.Place, why: str) -> None:
        super().__init__(why)
        self.place = place


class _Reader:
    """From what a file says to the rules that hold; patterns are compiled once, since most headings have the same."""

    def __init__(self, said: File) -> None:
        self._said = said
        self._globs: dict[str, PurlGlob] = {}

    def policy(self) -> Policy:
        rules = {name: self._of_ecosystem(name) for name in (*ECOSYSTEMS, OTHER)}
        overrides = tuple(
            self._override(number, one, rules) for number, one in enumerate(self._said.rule, start=1)
        )
        return Policy(MappingProxyType(rules), overrides)

    def _of_ecosystem(self, ecosystem: str) -> Rules:
        """Its own section, then `[all]`, then the mode, then the default."""
        own = Section() if ecosystem == OTHER else getattr(self._said, ecosystem)
        values: dict[str, Any] = {key: self._ready(key, default, ()) for key, (default, _) in KEYS.items()}
        origins = dict.fromkeys(KEYS, "default")
        for section, name in ((self._said.all, ALL), (own, ecosystem)):
            self._add(values, origins, section, (name,), f"[{name}]")
        if values["mode"] is None:
            values["mode"] = "verified+witnessed" if ecosystem == "oci" else "verified"
        mode = MODES[values["mode"]]
        if values["minimum"] is None:
            values["minimum"], origins["minimum"] = mode.minimum, f"mode {mode.name}"
        return Rules(ecosystem=ecosystem, proxied=mode.proxied, origins=MappingProxyType(origins), **values)

    def _override(self, number: int, block: Block, rules: Mapping[str, Rules]) -> Override:
        place: lines.Place = (BLOCK, number - 1)
        said = dict(_said(block))
        packages = self._ready("packages", block.packages, (*place, "packages"))
        if not said:
            raise _Wrong(place, f"[[{BLOCK}]] {number} says nothing of its packages")
        denials = tuple(self._ready(key, said.get(key, ()), (*place, key)) for key in DENIALS)
        found = {}
        for ecosystem, base in rules.items() if set(said) - set(DENIALS) else ():
            values = {key: getattr(base, key) for key in KEYS}
            origins = dict(base.origins)
            kept = {key: value for key, value in said.items() if key not in DENIALS}
            self._add(values, origins, kept, place, f"[[{BLOCK}]] {number}")
            found[ecosystem] = replace(base, **values, origins=MappingProxyType(origins))
        if "accept" in said:
            said["accept"] = tuple(one.as_dict() for one in said["accept"])
        return Override(number, packages, MappingProxyType(said), found, (denials[0], denials[1]))

    def _add(
        self,
        values: dict[str, Any],
        origins: dict[str, str],
        said: Common | Mapping[str, Any],
        place: lines.Place,
        origin: str,
    ) -> None:
        for key, value in _said(said) if isinstance(said, Common) else said.items():
            ready = self._ready(key, value, (*place, key))
            if key in SUMMED and values[key]:
                ready = tuple(dict.fromkeys((*values[key], *ready)))
                origins[key] = origin if origins[key] == "default" else f"{origins[key]} and {origin}"
            else:
                origins[key] = origin
            values[key] = ready

    def _ready(self, key: str, value: Any, place: lines.Place) -> Any:
        if key in ("allow", "deny", "packages"):
            globs = (self._glob(one, key, (*place, at)) for at, one in enumerate(value))
            return tuple(dict.fromkeys(globs))
        if key in ("licences_allow", "licences_deny"):
            named = (self._licence(one, key, (*place, at)) for at, one in enumerate(value))
            return tuple(dict.fromkeys(named))
        if key == "accept":
            accepted = (self._acceptance(one, (*place, at)) for at, one in enumerate(value))
            return tuple(dict.fromkeys(accepted))
        return frozenset(value) if key in _SETS else value

    def _acceptance(self, said: Accept, place: lines.Place) -> Acceptance:
        named = enumerate(said.packages)
        globs = tuple(self._glob(one, "accept.packages", (*place, "packages", at)) for at, one in named)
        if why := never_named(said.advisory):
            raise _Wrong((*place, "advisory"), f"{_heading(place)} accept.advisory: {said.advisory!r}: {why}")
        return Acceptance(said, globs, ends_ms(said.until))

    def _glob(self, pattern: str, key: str, place: lines.Place) -> PurlGlob:
        if pattern not in self._globs:
            try:
                self._globs[pattern] = patterns.glob(pattern)
            except Malformed as error:
                raise _Wrong(place, f"{_heading(place)} {key}: {pattern!r}: {error}") from None
        return self._globs[pattern]

    def _licence(self, pattern: str, key: str, place: lines.Place) -> str:
        try:
            return patterns.licence(pattern)
        except Malformed as error:
            raise _Wrong(place, f"{_heading(place)} {key}: {pattern!r}: {error}") from None


def _said(section: Common) -> Iterator[tuple[str, Any]]:
    for key in section.__struct_fields__:
        value = getattr(section, key)
        if value is not UNSET and key in KEYS:
            yield key, value


def _heading(place: lines.Place) -> str:
    return f"[[{BLOCK}]] {int(place[1]) + 1}" if place[0] == BLOCK else f"[{place[0]}]"


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"the policy is not valid: {why}",
        who=where,
        do="correct it; `pyrsia policy init --print` shows every key with its meaning",
    )
