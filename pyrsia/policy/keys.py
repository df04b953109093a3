"""The keys of policy.toml: their forms, their meanings, and what holds where nothing is said.

Source: docs/policy.md, "Rules".
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from pyrsia.knowledge import severities
from pyrsia.policy.accepted import Accept
from pyrsia.policy.modes import ModeName
from pyrsia.units import Limit

MAX_GLOBS = Limit(1_000, "each is tried at each file: a thousand take about half a millisecond")
MAX_TRUSTED = Limit(1_000, "ten times the builders that one draw may name")
MAX_ACCEPTED = Limit(1_000, "each needs a person's reason; who accepts more wants a higher ceiling")
MAX_LICENCES = Limit(1_000, "more than SPDX has ids")
MAX_BLOCKS = Limit(100, "[[rule]] tables: the first that fits decides, and nobody follows a longer list")

ECOSYSTEMS: Final = ("pip", "maven", "conan", "oci")
ALL: Final = "all"
OTHER: Final = "other"  # purls of no ecosystem that clients ask for here: `[all]`, in the mode verified
BLOCK: Final = "rule"

VERDICTS: Final = ("WITNESSED", "EQUIVALENT", "REPRODUCED")  # each worth more than those before it
CONTAINMENTS: Final = ("none", "partial", "full")
ISOLATIONS: Final = ("confined", "namespace")
RELATIONS: Final = ("identical", "equivalent", "different", "none")
SEVERITIES: Final = severities.WORDS  # each worse than those before it
ANY: Final = "any"  # no ceiling; no document asked for
BY_DIGEST: Final = "by-digest"
REFUSED: Final = "refused"

_Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
_Globs = Annotated[tuple[_Glob, ...], msgspec.Meta(max_length=MAX_GLOBS.value)]
_Operator = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Operators = Annotated[tuple[_Operator, ...], msgspec.Meta(max_length=MAX_TRUSTED.value)]
_Node = Annotated[str, msgspec.Meta(pattern=r"\A[a-z2-7]{52}\Z")]
_Nodes = Annotated[tuple[_Node, ...], msgspec.Meta(max_length=MAX_TRUSTED.value)]
_Relation = Literal["identical", "equivalent", "different", "none"]
_Licence = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Licences = Annotated[tuple[_Licence, ...], msgspec.Meta(max_length=MAX_LICENCES.value)]


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys that a section and a [[rule]] may say; every one may be left out. Their meaning: `KEYS`."""

    minimum: Literal["WITNESSED", "EQUIVALENT", "REPRODUCED"] | UnsetType = UNSET
    allow: _Globs | UnsetType = UNSET
    deny: _Globs | UnsetType = UNSET
    agreeing: Annotated[int, msgspec.Meta(ge=1, le=100)] | UnsetType = UNSET
    operators: _Operators | UnsetType = UNSET
    builders: _Nodes | UnsetType = UNSET
    isolation: Literal["confined", "namespace"] | UnsetType = UNSET
    containment: Literal["none", "partial", "full"] | UnsetType = UNSET
    upstream: Annotated[tuple[_Relation, ...], msgspec.Meta(min_length=1, max_length=4)] | UnsetType = UNSET
    min_age_days: Annotated[int, msgspec.Meta(ge=0, le=3_650)] | UnsetType = UNSET
    max_severity: Literal["none", "low", "medium", "high", "critical", "any"] | UnsetType = UNSET
    accept: Annotated[tuple[Accept, ...], msgspec.Meta(max_length=MAX_ACCEPTED.value)] | UnsetType = UNSET
    issuers: _Nodes | UnsetType = UNSET
    vex_issuers: _Nodes | UnsetType = UNSET
    licences_allow: _Licences | UnsetType = UNSET
    licences_deny: _Licences | UnsetType = UNSET
    sbom: Literal["any", "required"] | UnsetType = UNSET
    withdrawn: Literal["by-digest", "refused"] | UnsetType = UNSET
    disputed: Literal["by-digest", "refused"] | UnsetType = UNSET


def words_of(key: str) -> tuple[str, ...]:
    """The words that a key may have, in their order; none for a key that takes no words of ours."""
    return tuple(_words(get_type_hints(Section).get(key)))


def _words(of: Any) -> Iterator[str]:
    if get_origin(of) is Literal:
        yield from get_args(of)
    else:
        for one in get_args(of):
            yield from _words(one)


class Section(Common, frozen=True, forbid_unknown_fields=True):
    """What a file says under one heading: also what holds for an ecosystem as a whole."""

    mode: ModeName | UnsetType = UNSET
    max_head_age_s: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] | UnsetType = UNSET
    max_proof_age_days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] | UnsetType = UNSET


class Block(Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A [[rule]]: keys for the packages that its patterns name."""

    packages: Annotated[tuple[_Glob, ...], msgspec.Meta(min_length=1, max_length=MAX_GLOBS.value)]


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole policy.toml."""

    all: Section = Section()
    pip: Section = Section()
    maven: Section = Section()
    conan: Section = Section()
    oci: Section = Section()
    rule: Annotated[tuple[Block, ...], msgspec.Meta(max_length=MAX_BLOCKS.value)] = ()


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
    "max_severity": (ANY, "The worst known weakness that a version may have: none, low, medium, high, critical;"
                     " any asks for nothing. One whose severity nobody knows is refused under every ceiling."),
    "accept": ((), "Advisories that you live with, each with its last day and a reason:"
               " { advisory = \"CVE-2026-1\", until = 2026-12-31, reason = \"we never call it\" };"
               " with packages = [\"pkg:pypi/idna@3.*\"] only there. Behind the last day it counts no more."),
    "issuers": ((), "Members whose facts count (advisories, licences, SBOMs), by node id. None named: everybody's."),
    "vex_issuers": ((), "Members whose VEX statement (not affected, fixed) lifts an advisory. None named: nobody's."),
    "licences_allow": ((), "SPDX licence ids, `*` for any text: a licence must be chosen from these. None: not asked."),
    "licences_deny": ((), "SPDX licence ids that are refused, unless the package may be had under another one too."),
    "sbom": (ANY, "required: somebody whose facts count must have given a list of what is inside. any: not asked."),
    "withdrawn": (BY_DIGEST, "What its members withdrew: by-digest (whoever names its digest gets it) or refused."),
    "disputed": (REFUSED, "What builders no longer agree on: refused, or by-digest."),
    "max_head_age_s": (600, "Seconds since the validators last signed the log's head, as this machine knows it: behind"
                       " an older one a withdrawal may hide. 0: any."),
    "max_proof_age_days": (365, "Days since the checkpoint of a proof file was signed. Only `pyrsia verify` asks."),
})  # fmt: skip
SUMMED: Final = (
    "deny",
    "licences_deny",
    "accept",
)  # what every heading says counts, no one overrides another
DENIALS: Final = ("deny", "licences_deny")
