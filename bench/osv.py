"""OSV records as databases write them, made from a seed: what an import is measured and tested with.

Shapes, not contents, follow the public exports: GitHub's (ranges, a vector, a word), PyPA's (ranges and versions),
records with commits only, of other ecosystems, withdrawn ones, ones about several packages.
"""

import json
import random
import zipfile

PACKAGES = 10_000  # that 50,000 records are about
_V3 = "CVSS:3.1/AV:{}/AC:{}/PR:{}/UI:{}/S:{}/C:{}/I:{}/A:{}"
_V4 = "CVSS:4.0/AV:{}/AC:{}/AT:N/PR:{}/UI:N/VC:{}/VI:{}/VA:{}/SC:N/SI:N/SA:N"


def records(count, seed=8, packages=PACKAGES, foreign=0.02, prefix="GHSA"):
    """`count` records as dicts. `foreign`: share of those that are about no package of ours; `prefix`: of their ids."""
    dice = random.Random(seed)
    for number in range(count):
        yield record(dice, number, packages, foreign, prefix)


def record(dice, number, packages, foreign, prefix):
    day = f"20{dice.randrange(15, 26)}-{dice.randrange(1, 13):02}-{dice.randrange(1, 29):02}"
    kind = dice.choices(("PyPI", "Maven", "ConanCenter"), (70, 25, 5))[0]
    affected = [_affected(dice, kind, packages) for _ in range(dice.choices((1, 2, 3), (90, 8, 2))[0])]
    if dice.random() < foreign:
        affected = [{"package": {"ecosystem": "npm", "name": "left"}, "ranges": []}]
    made = {
        "schema_version": "1.7.0",
        "id": f"{prefix}-{number:04x}-{dice.randrange(1 << 16):04x}-{dice.randrange(1 << 16):04x}",
        "modified": f"{day}T12:34:56.{dice.randrange(1_000_000):06}Z",
        "published": f"{day}T08:00:00Z",
        "aliases": [f"CVE-{day[:4]}-{number + 1_000}"] if dice.random() < 0.9 else [],
        "summary": f"Improper handling of input number {number} lets a stranger in",
        "details": "### Impact\n\nA request is taken for another.\n\n"
        + "More words. " * dice.randrange(10, 80),
        "affected": affected,
        "references": [
            {"type": "WEB", "url": f"https://example.org/{number}/{one}"}
            for one in range(dice.randrange(2, 6))
        ],
        "database_specific": {
            "cwe_ids": ["CWE-79"],
            "severity": dice.choice(("LOW", "MODERATE", "HIGH", "CRITICAL")),
            "github_reviewed": True,
        },
    }
    vectors = _vectors(dice)
    if vectors:
        made["severity"] = vectors
    if dice.random() < 0.01:
        made["withdrawn"] = f"{day}T20:00:00Z"
    return made


def _vectors(dice):
    pick = dice.choice
    found = []
    if dice.random() < 0.8:
        score = _V3.format(
            pick("NALP"),
            pick("LH"),
            pick("NLH"),
            pick("NR"),
            pick("UC"),
            pick("NLH"),
            pick("NLH"),
            pick("NLH"),
        )
        found.append({"type": "CVSS_V3", "score": score})
    if dice.random() < 0.2:
        score = _V4.format(pick("NALP"), pick("LH"), pick("NLH"), pick("NLH"), pick("NLH"), pick("NLH"))
        found.append({"type": "CVSS_V4", "score": score})
    return found


def _affected(dice, kind, packages):
    number = dice.randrange(packages)
    name = f"org.example.g{number % 97}:artifact-{number}" if kind == "Maven" else f"package-{number}"
    package = {"ecosystem": kind, "name": name}
    made = {"package": package, "database_specific": {"source": f"https://example.org/{number}.json"}}
    lines = [
        [
            {"introduced": f"{line}.{dice.randrange(3)}" if line else "0"},
            {"fixed": f"{line}.{dice.randrange(4, 30)}.1"},
        ]
        for line in range(dice.choices((1, 2, 4), (70, 20, 10))[0])
    ]
    shape = dice.random()
    if shape < 0.03:
        made["ranges"] = [{"type": "GIT", "repo": "https://example.org/x", "events": [{"introduced": "0"}]}]
        made["versions"] = [f"1.{one}" for one in range(12)]
    elif shape < 0.06:
        made["ranges"] = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"last_affected": "3.2"}]}]
    else:
        made["ranges"] = [{"type": "ECOSYSTEM", "events": [event for line in lines for event in line]}]
        if kind == "PyPI":
            made["versions"] = [f"0.{one}" for one in range(dice.randrange(40))]
    return made


def export(path, count, **options):
    """A ZIP export of `count` records, as databases offer them; its path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in records(count, **options):
            archive.writestr(f"{one['id']}.json", json.dumps(one))
    return path
