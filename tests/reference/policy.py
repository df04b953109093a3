"""The policy as slowly and plainly as possible: what the TOML says, read again for every question."""

import fnmatch
import re
import tomllib
from typing import Any

from packaging.utils import canonicalize_version

DAY_MS = 86_400_000
WORTH = {"WITNESSED": 1, "EQUIVALENT": 2, "REPRODUCED": 3}
SHARE = {"none": 0, "partial": 1, "full": 2}
TYPES = {"pypi": "pip", "maven": "maven", "conan": "conan", "docker": "oci"}


def package_of(purl: str) -> str:
    """`pkg:generic/<node>/pypi/x@1` is `pkg:pypi/x@1` of that node."""
    own = re.fullmatch(r"pkg:generic/[a-z2-7]{52}/(pypi|maven|conan|docker)/(.*)", purl)
    return purl if own is None else f"pkg:{own[1]}/{own[2]}"


def matches(pattern: str, purl: str) -> bool:
    name, _, version = purl.partition("@")
    want, at, want_version = pattern.partition("@")
    # (No sets of characters: `[` means itself.)
    if not fnmatch.fnmatchcase(name, want.replace("[", "[[]")):
        return False
    return not at or not version or fnmatch.fnmatchcase(version, want_version.replace("[", "[[]"))


def meant_by(purl: str) -> set[str]:
    """What a client may write for it: with or without `library/`, with zeros that a Python version does not need."""
    name, at, version = purl.partition("@")
    names = {name}
    if image := re.fullmatch(r"pkg:docker/(?:library/)?([^/]+)", name):
        names |= {f"pkg:docker/{image[1]}", f"pkg:docker/library/{image[1]}"}
    versions = {version}
    if name.startswith("pkg:pypi/") and version:
        short = canonicalize_version(version)
        head, rest = re.fullmatch(r"([0-9!.]*[0-9])(.*)", short).groups()
        versions |= {head + ".0" * more + rest for more in range(6 - head.count("."))}
    return {f"{one}{at}{which}" for one in names for which in versions}


def allows(text: str, facts: Any, now_ms: int, head_age_ms: int = 0) -> bool:
    said = tomllib.loads(text)
    kind = package_of(facts.purl).partition("/")[0].removeprefix("pkg:")
    ecosystem = TYPES.get(kind, "other")
    common, own = said.get("all", {}), said.get(ecosystem, {})

    def value(key: str, otherwise: Any) -> Any:
        return own.get(key, common.get(key, otherwise))

    mode = value("mode", "verified+witnessed" if ecosystem == "oci" else "verified")
    for pattern in [*common.get("deny", []), *own.get("deny", [])]:
        if any(matches(pattern, one) for one in {facts.purl, *meant_by(package_of(facts.purl))}):
            return False
    if not any(matches(pattern, facts.purl) for pattern in value("allow", ["*"])):
        return False
    if facts.origin == "local":
        return True
    days = value("min_age_days", 0)
    if days and (facts.published_ms <= 0 or facts.published_ms + days * DAY_MS > now_ms):
        return False
    if facts.origin == "proxied":
        return bool(mode == "proxy")
    if facts.origin != "network":
        return False
    verdict = facts.status
    if facts.status in ("WITHDRAWN", "DISPUTED"):
        usual = {"WITHDRAWN": "by-digest", "DISPUTED": "refused"}[facts.status]
        if not facts.by_digest or value(facts.status.lower(), usual) != "by-digest":
            return False
        verdict = facts.verdict
    if verdict not in WORTH:
        return False
    least = value("minimum", "EQUIVALENT" if mode == "verified" else "WITNESSED")
    if WORTH[verdict] < WORTH[least]:
        return False
    operators, builders = value("operators", []), value("builders", [])
    votes = set()
    for one in facts.agreeing:
        if (operators or builders) and one.operator not in operators and one.node not in builders:
            continue
        if value("isolation", "confined") == "namespace" and verdict != "WITNESSED":
            if one.isolation != "namespace":
                continue
        votes.add(one.operator)
    if len(votes) < value("agreeing", 2):
        return False
    if SHARE[facts.containment or "none"] < SHARE[value("containment", "none")]:
        return False
    if facts.upstream not in value("upstream", ["identical", "equivalent", "different", "none"]):
        return False
    most = value("max_head_age_s", 600)
    return not most or head_age_ms <= most * 1000
