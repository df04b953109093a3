"""The policy as slowly and plainly as possible: what the TOML says, read again for every question."""

import fnmatch
import re
import tomllib
from datetime import UTC, datetime, timedelta
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

    itself, any_meaning = meant_by(facts.purl), {facts.purl, *meant_by(package_of(facts.purl))}
    blocks = said.get("rule", [])
    fitting = [
        one for one in blocks if any(matches(it, name) for it in one["packages"] for name in any_meaning)
    ]
    deciding = [
        one
        for one in blocks
        if set(one) - {"packages", "deny", "licences_deny"}
        and any(matches(it, name) for it in one["packages"] for name in itself)
    ]
    first = deciding[0] if deciding else {}

    def value(key: str, otherwise: Any) -> Any:
        return first.get(key, own.get(key, common.get(key, otherwise)))

    def summed(key: str, blocks: list[dict[str, Any]]) -> list[Any]:
        return [item for one in (common, own, *blocks) for item in one.get(key, [])]

    mode = value("mode", "verified+witnessed" if ecosystem == "oci" else "verified")
    for pattern in summed("deny", fitting):
        if any(matches(pattern, one) for one in any_meaning):
            return False
    if not any(matches(pattern, facts.purl) for pattern in value("allow", ["*"])):
        return False
    if facts.origin == "local":
        return True
    days = value("min_age_days", 0)
    if days and (facts.published_ms <= 0 or facts.published_ms + days * DAY_MS > now_ms):
        return False
    if not knows_enough(value, summed, fitting, [first], facts, now_ms):
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


BAD = ["none", "low", "medium", "high", "critical"]


def knows_enough(
    value: Any, summed: Any, fitting: list[Any], first: list[Any], facts: Any, now_ms: int
) -> bool:
    """What is known of it, as far as rules ask."""
    ceiling, known = value("max_severity", "any"), facts.known
    wanted, unwanted = value("licences_allow", []), summed("licences_deny", fitting)
    if ceiling == "any" and not wanted and not unwanted and value("sbom", "any") == "any":
        return True
    if known is None or not known.whole:
        return False

    def counts(issuer: str) -> bool:
        return issuer in (value("issuers", []) or [issuer])

    if ceiling != "any":
        accepted = summed("accept", first)
        if any(
            counts(one.issuer) and stops(one, ceiling, value, accepted, facts, now_ms)
            for one in known.advisories
        ):
            return False
    licences = [one.expression for one in known.licences if counts(one.issuer)]
    if wanted or unwanted:
        if not licences or not all(licensed(one, wanted, unwanted) for one in licences):
            return False
    return value("sbom", "any") == "any" or any(counts(one.issuer) for one in known.sboms)


def stops(one: Any, ceiling: str, value: Any, accepted: list[Any], facts: Any, now_ms: int) -> bool:
    if one.sure and one.severity in BAD[: BAD.index(ceiling) + 1]:
        return False
    words = [outcome for issuer, outcome, _ in one.vex if issuer in value("vex_issuers", [])]
    if words and set(words) <= {"fixed", "not-affected"}:
        return False
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    for it in accepted:
        ends = datetime(it["until"].year, it["until"].month, it["until"].day, tzinfo=UTC) + timedelta(days=1)
        named = it["advisory"] in [one.id, *one.aliases]
        if named and now < ends and any(matches(glob, facts.purl) for glob in it.get("packages", ["*"])):
            return False
    return True


def licensed(expression: str, wanted: list[str], unwanted: list[str]) -> bool:
    """`A OR B AND C`, without parentheses."""

    def means(pattern: str, licence: str) -> bool:
        return fnmatch.fnmatchcase(licence.lower(), pattern.lower())

    def good(licence: str) -> bool:
        allowed = not wanted or any(means(one, licence) for one in wanted)
        return allowed and not any(means(one, licence) for one in unwanted)

    parts = [one.split(" AND ") for one in expression.split(" OR ")] if expression else []
    return any(all(good(licence) for licence in one) for one in parts)
