"""What is known of a package: how long one version with many advisories takes, and one of a large audit."""

from dataclasses import replace
from random import Random

from packaging.version import Version

from bench.harness import LONG, Timed, row
from pyrsia.knowledge.about import about
from pyrsia.knowledge.known import Known, Licence, Sbom
from pyrsia.knowledge.said import Said
from pyrsia.policy.evaluate import decide
from pyrsia.policy.facts import NETWORK, Agreeing, Facts
from pyrsia.policy.rules import Policy, parse

PURL = "pkg:pypi/idna"
SIZE, NOW_MS = 1_000_000, 1_000
RANGES = 3  # of an advisory: a package that keeps three release lines
ASKED = [f"2.{minor}.3" for minor in range(200)]


def ranges(random: Random) -> list[dict[str, str]]:
    def version(major: int) -> str:
        return f"{major}.{random.randrange(30)}.{random.randrange(20)}"

    return [{"introduced": version(2 * line), "fixed": version(2 * line + 1)} for line in range(RANGES)]


def advisories(count: int) -> list[Said]:
    """As OSV has them: no two alike, each with a vector."""
    random = Random(4)  # a fixed seed: every run asks about the same
    vector = "CVSS:3.1/AV:{}/AC:{}/PR:{}/UI:N/S:U/C:{}/I:{}/A:H"
    return [
        Said(
            leaf,
            0,
            f"{leaf:064x}",
            "issuer",
            {
                "advisory": f"CVE-2026-{leaf:04}",
                "aliases": [f"GHSA-{leaf:04}"],
                "cvss": vector.format(*map(random.choice, ("NALP", "LH", "NLH", "HLN", "HLN"))),
                "kind": "advisory",
                "range": ranges(random),
                "severity": "medium",
                "subject": PURL,
                "text": "a sentence about what goes wrong",
                "valid_from": 0,
            },
        )
        for leaf in range(count)
    ]


def told(facts: list[Said]) -> list[int]:
    """Advisories of each version asked about."""
    return [len(about(facts, f"{PURL}@{one}", "", NOW_MS, SIZE, True).advisories) for one in ASKED]


def compared(facts: list[Said]) -> list[int]:
    """The same by packaging alone: every bound of every range read before, and nothing told but how many."""
    versions = [Version(one) for one in ASKED]
    bounds = [
        [(Version(one["introduced"]), Version(one["fixed"])) for one in fact.body["range"]] for fact in facts
    ]
    return [sum(any(low <= one < high for low, high in lines) for lines in bounds) for one in versions]


@LONG
@row(
    "knowledge/about-200",
    "what is known of a version of a package with 200 advisories",
    unit="ms",
    clock="cpu",
    goal=5,
)
def test_many_advisories(measure):
    facts = advisories(200)
    assert told(facts) == compared(facts)
    measure(
        Timed(lambda: told(facts), len(ASKED)),
        {"ranges alone, packaging": Timed(lambda: compared(facts), len(ASKED))},
    )


@LONG
@row(
    "knowledge/about-5",
    "the same of a package with 5, as most in an audit have",
    unit="us",
    clock="cpu",
    goal=150,
)
def test_few_advisories(measure):
    facts = advisories(5)
    assert told(facts) == compared(facts)
    measure(
        Timed(lambda: told(facts), len(ASKED)),
        {"ranges alone, packaging": Timed(lambda: compared(facts), len(ASKED))},
    )


POLICY = parse(
    b"""
[all]
max_severity = "high"
licences_allow = ["MIT", "Apache-*", "BSD-*"]
licences_deny = ["AGPL-*"]
sbom = "required"
accept = [{ advisory = "CVE-2026-0003", until = 2026-12-31, reason = "we never call it" }]

[[rule]]
packages = ["pkg:pypi/inner-*"]
max_severity = "any"

[[rule]]
packages = ["pkg:maven/org.example/*"]
licences_deny = ["GPL-*"]
""",
    "the bench",
)
PLAIN = parse(b"", "the bench")


def files(known: Known) -> list[Facts]:
    agreeing = tuple(Agreeing(letter * 52, f"org {letter}", "namespace") for letter in "abc")
    return [
        Facts(
            f"{PURL}@{one}",
            NETWORK,
            f"idna-{one}.whl",
            "0" * 64,
            "REPRODUCED",
            agreeing,
            "full",
            "identical",
            1,
            known,
        )
        for one in ASKED
    ]


@row(
    "knowledge/policy-decision",
    "a policy's answer about a file: ceiling, acceptance, licences, SBOM, two rules for single packages",
    unit="us",
    clock="cpu",
    goal=200,
)
def test_a_decision(measure):
    found = about(advisories(200), f"{PURL}@2.1.3", "", NOW_MS, SIZE, True)
    known = replace(
        found,
        advisories=found.advisories[:5],
        licences=(Licence("MIT OR GPL-3.0-only", "issuer", 1),),
        sboms=(Sbom("spdx", "issuer", 1),),
    )
    asked, plain = files(known), files(known)

    def decided(policy: Policy, facts: list[Facts]) -> int:
        return sum(decide(policy, one, NOW_MS).allowed for one in facts)

    assert len(known.advisories) == 5
    measure(
        Timed(lambda: decided(POLICY, asked), len(asked)),
        {"rules that ask for nothing known": Timed(lambda: decided(PLAIN, plain), len(plain))},
    )
