"""Which ecosystems the network knows: those whose versions are compared and whose packages are audited. No decisions.

The ledger takes a fact about a package of any type. But what shall decide about versions that nobody here reads would
be a word that counts for everything or for nothing; so a node says none, and an audit says that it compares none.

Source: docs/knowledge.md, "At a node".
"""

from typing import Final

from pyrsia.knowledge.said import ADVISORY, LICENCE, SBOM, VEX

KNOWN: Final = ("conan", "docker", "generic", "maven", "pypi")  # types of purls
DECIDING: Final = frozenset((ADVISORY, VEX, LICENCE, SBOM))  # kinds of facts that policies read


def strange(subject: str) -> str:
    """Why nothing about a canonical purl can decide here; "" where it can. A file is of no ecosystem."""
    if not subject.startswith("pkg:"):
        return ""
    kind = subject[len("pkg:") :].partition("/")[0]
    return "" if kind in KNOWN else f"unknown ecosystem {kind}: this network compares none of its versions"
