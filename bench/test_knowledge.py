"""What is known of a package: how long one version with many advisories takes, and one of a large audit."""

from random import Random

from packaging.version import Version

from bench.harness import Timed, row
from pyrsia.knowledge.about import about
from pyrsia.knowledge.said import Said

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
