"""The rules of a policy, parsed from policy.toml: strict, bounded, frozen. Evaluation is `evaluate`'s.

The section `[all]` speaks for every ecosystem; `[pip]`, `[maven]`, `[conan]` and `[oci]` override single keys of it,
but for `deny`, where what both say is denied. What neither says follows from the mode, else from `DEFAULTS`. A key
that nobody evaluates is refused: a rule that does nothing is worse than none.

Source: docs/policy.md.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.policy.modes import MODES, ModeName
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_POLICY_BYTES = Limit(256 << 10, "2,000 patterns of the usual length; nobody reads a longer policy")
MAX_GLOBS = Limit(1_000, "each is tried at each file: a thousand take about half a millisecond")
MAX_TRUSTED = Limit(1_000, "ten times the builders that one draw may name")

ECOSYSTEMS: Final = ("pip", "maven", "conan", "oci")
ALL: Final = "all"
OTHER: Final = "other"  # purls of no ecosystem that clients ask for here: `[all]`, in the mode verified
_OF_TYPE: Final = {"pypi": "pip", "maven": "maven", "conan": "conan", "docker": "oci"}

VERDICTS: Final = ("WITNESSED", "EQUIVALENT", "REPRODUCED")  # each worth more than those before it
CONTAINMENTS: Final = ("none", "partial", "full")
ISOLATIONS: Final = ("confined", "namespace")
RELATIONS: Final = ("identical", "equivalent", "different", "none")

_Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
_Globs = Annotated[tuple[_Glob, ...], msgspec.Meta(max_length=MAX_GLOBS.value)]
_Operator = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Node = Annotated[str, msgspec.Meta(pattern=r"\A[a-z2-7]{52}\Z")]
_Relation = Literal["identical", "equivalent", "different", "none"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says under one heading; every key may be left out. Their meaning: `KEYS`."""

    mode: ModeName | UnsetType = UNSET
    minimum: Literal["WITNESSED", "EQUIVALENT", "REPRODUCED"] | UnsetType = UNSET
    allow: _Globs | UnsetType = UNSET
    deny: _Globs | UnsetType = UNSET
    agreeing: Annotated[int, msgspec.Meta(ge=1, le=100)] | UnsetType = UNSET
    operators: Annotated[tuple[_Operator, ...], msgspec.Meta(max_length=MAX_TRUSTED.value)] | UnsetType = (
        UNSET
    )
    builders: Annotated[tuple[_Node, ...], msgspec.Meta(max_length=MAX_TRUSTED.value)] | UnsetType = UNSET
    isolation: Literal["confined", "namespace"] | UnsetType = UNSET
    containment: Literal["none", "partial", "full"] | UnsetType = UNSET
    upstream: Annotated[tuple[_Relation, ...], msgspec.Meta(min_length=1, max_length=4)] | UnsetType = UNSET
    min_age_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] | UnsetType = UNSET
    max_head_age_s: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] | UnsetType = UNSET
    max_proof_age_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] | UnsetType = UNSET


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    all: Section = Section()
    pip: Section = Section()
    maven: Section = Section()
    conan: Section = Section()
    oci: Section = Section()


# Key -> (what holds where nothing is said, what it means). None: the mode says it.
KEYS: Final[Mapping[str, tuple[Any, str]]] = MappingProxyType({
    "mode": (None, "verified: what several builders rebuilt. verified+witnessed: also what several nodes only saw"
             " upstream. proxy: also what upstream has and nobody checked, marked as unverified."),
    "minimum": (None, "The least verdict: WITNESSED, EQUIVALENT or REPRODUCED. The mode says it if this key does not."),
    "deny": ((), "Packages that are refused whatever speaks for them. `*` is any text, `?` any character; with @ the"
             " pattern is about versions. What a node published under its own name is denied with the package itself."),
    "allow": (("*",), "Packages that may be used; all others are refused."),
    "agreeing": (2, "So many different operators, of those whose builders count, must have come to the same bytes."),
    "operators": ((), "Operators whose builders count. Neither these nor builders: all of the network's count."),
    "builders": ((), "Builders that count, by node id, beside those of the operators above."),
    "isolation": ("confined", "How a build must have been kept in to count: confined (any way) or namespace."),
    "containment": ("none", "How much of a file must stand in its source as it is: none, partial or full."),
    "upstream": (RELATIONS, "How a file may stand to upstream's: identical, equivalent, different, none (of both)."),
    "min_age_days": (0, "Days that a file must have been in the log, so that others find what is wrong with it."),
    "max_head_age_s": (600, "Seconds since the validators last signed the log's head, as this machine knows it: behind"
                       " an older one a withdrawal may hide. 0: any."),
    "max_proof_age_days": (365, "Days since the checkpoint of a proof file was signed. Only `pyrsia verify` asks."),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one ecosystem.

    Attributes:
        proxied: whether what upstream has and nobody checked may be given.
        origins: key -> where its value comes from ("[pip]", "[all]", "mode verified", "default").
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
    max_head_age_s: int
    max_proof_age_days: int
    origins: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Key -> value, as policy.toml would say it."""
        found: dict[str, Any] = {key: getattr(self, key) for key in KEYS}
        for key in ("allow", "deny"):
            found[key] = tuple(glob.pattern for glob in found[key])
        for key in ("operators", "builders"):
            found[key] = tuple(sorted(found[key]))
        return found


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules for every ecosystem, and for what belongs to none."""

    rules: Mapping[str, Rules]

    def of(self, ecosystem: str) -> Rules:
        return self.rules.get(ecosystem, self.rules[OTHER])

    @property
    def asks_isolation(self) -> bool:
        """Whether any rule asks how builds were kept in, which takes reading what each builder revealed."""
        return any(one.isolation != ISOLATIONS[0] for one in self.rules.values())


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
        Refusal: `config-invalid`, naming the file and the key.
    """
    if len(raw) > MAX_POLICY_BYTES.value:
        raise _invalid(where, f"it has {len(raw)} bytes, {MAX_POLICY_BYTES.value} are the most")
    try:
        said = msgspec.convert(tomllib.loads(raw.decode()), _File)
    except msgspec.ValidationError as error:
        raise _invalid(where, _readable(str(error))) from None
    except UnicodeDecodeError:
        raise _invalid(where, "it is not UTF-8 text") from None
    except RecursionError:
        raise _invalid(where, "its values are nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise _invalid(where, str(error)[:200]) from None
    except ValueError:  # Python reads no number with thousands of digits, and no date of year 0
        raise _invalid(where, "it holds a number or a date that nobody can read") from None
    globs: dict[str, PurlGlob] = {}
    return Policy(MappingProxyType({name: _rules(said, name, where, globs) for name in (*ECOSYSTEMS, OTHER)}))


def _rules(said: _File, ecosystem: str, where: str, globs: dict[str, PurlGlob]) -> Rules:
    """One ecosystem's rules: its own section, then `[all]`, then the mode, then the default.

    Args:
        globs: patterns that are compiled already, since most ecosystems have the same.
    """
    own: Section = Section() if ecosystem == OTHER else getattr(said, ecosystem)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, (default, _) in KEYS.items():
        values[key], origins[key] = default, "default"
        for section, name in ((said.all, ALL), (own, ecosystem)):
            value = getattr(section, key)
            if value is not UNSET:
                values[key], origins[key] = value, f"[{name}]"
    if values["mode"] is None:
        values["mode"] = "verified+witnessed" if ecosystem == "oci" else "verified"
    mode = MODES[values["mode"]]
    if values["minimum"] is None:
        values["minimum"], origins["minimum"] = mode.minimum, f"mode {mode.name}"
    common = said.all.deny if said.all.deny is not UNSET else ()
    if own.deny is not UNSET and common:
        values["deny"], origins["deny"] = (*common, *own.deny), f"[{ALL}] and [{ecosystem}]"
    for key in ("allow", "deny"):
        patterns = tuple(dict.fromkeys(values[key]))
        for one in patterns:
            if one not in globs:
                globs[one] = _glob(one, f"{origins[key]} {key}", where)
        values[key] = tuple(globs[one] for one in patterns)
    for key in ("operators", "builders"):
        values[key] = frozenset(values[key])
    return Rules(ecosystem=ecosystem, proxied=mode.proxied, origins=MappingProxyType(origins), **values)


def _glob(pattern: str, key: str, where: str) -> PurlGlob:
    """A pattern that can match something; one that never could is a mistake, and in `deny` a dangerous one."""
    try:
        glob = PurlGlob.parse(pattern)
    except Malformed as error:
        raise _invalid(where, f"{key}: {pattern!r}: {error}") from None
    name, _, version = pattern.partition("@")
    if re.search("[<>=|,]", version):
        raise _invalid(where, f"{key}: {pattern!r}: a version is matched by `*` and `?`, not by comparison")
    if not re.search("[*?]", name) and not glob.package:
        raise _invalid(where, f"{key}: {pattern!r} is no purl in its canonical spelling")
    if why := _nothing(name):
        raise _invalid(where, f"{key}: {pattern!r} matches nothing: {why}")
    return glob


_TYPES: Final = (*purls.BUILT, purls.GENERIC)
_HUB: Final = (
    "docker.io/",
    "index.docker.io/",
    "registry-1.docker.io/",
    "registry.hub.docker.com/",
    "dockerhub/",
)
# Of a type, what its names may have beside wildcards, and how they are said to people.
_NAMES: Final = {
    "pypi": (re.compile(r"[a-z0-9*?-]+"), "names of pypi are lower case with hyphens"),
    "maven": (re.compile(r"[A-Za-z0-9._*?-]+(?:/[A-Za-z0-9._*?-]+)?"), "names of maven are group/artifact"),
    "conan": (re.compile(r"(?:[a-z0-9_.*?-]|%2B)+(?:/(?:[a-z0-9_.*?-]|%2B)+){0,3}"), "names of conan are lower case"),
    "docker": (re.compile(r"[a-z0-9._*?-]+(?:/[a-z0-9._*?-]+)*"), "names of images are lower case, and tags follow @"),
}  # fmt: skip


def _nothing(name: str) -> str:
    """Why no package can have a name of this pattern; "" where one can. A wildcard may stand for anything."""
    kind, slash, rest = name.removeprefix("pkg:").partition("/")
    if not name.startswith("pkg:") or re.search("[*?]", kind):
        return ""
    if kind not in _TYPES or not slash:
        return f"the types of packages are {', '.join(_TYPES)}"
    if kind == "docker" and rest.startswith(_HUB):
        return "an image of Docker Hub has no host: write pkg:docker/alpine, pkg:docker/team/app"
    if kind in _NAMES and _NAMES[kind][0].fullmatch(rest) is None:
        return _NAMES[kind][1]
    return ""


def _readable(error: str) -> str:
    """msgspec's sentence with the key in front, as TOML spells it."""
    what, _, place = error.partition(" - at `$.")
    key = place.rstrip("`").replace("[...]", "")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL)
    if unknown is not None:
        return f"there is no key {f'{key}.' if key else ''}{unknown[1][:40]}"
    return f"{key}: {what}" if key else what


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what=f"the policy is not valid: {why}",
        who=where,
        do="correct it; `pyrsia policy init --print` shows every key with its meaning",
    )


def render() -> str:
    """policy.toml with every key, its meaning and its default, all of them commented out."""
    lines = [
        "# What this machine accepts from the log, and gives to package clients.",
        "# [all] speaks for every ecosystem; a section of its own overrides single keys for one ecosystem,",
        "# but for deny, where both lists count. A file without keys is the default policy.",
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
    return "\n".join(lines) + "\n"


def written(policy: Policy) -> str:
    """A policy.toml that says the same, key by key, without what people wrote beside it."""
    common = policy.of(OTHER).as_dict()
    lines = [f"[{ALL}]", *(f"{key} = {toml(value)}" for key, value in common.items())]
    for name in ECOSYSTEMS:
        lines.append(f"[{name}]")
        for key, value in policy.of(name).as_dict().items():
            if key == "deny":  # what `[all]` denies is denied here already
                value = tuple(one for one in value if one not in common[key])
            if value != common[key] and (key != "deny" or value):
                lines.append(f"{key} = {toml(value)}")
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
    return msgspec.json.encode(value).decode()
