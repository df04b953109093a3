"""What a package was built from, as a CycloneDX document: its files, and each file of its lock.

The same request and artifacts give the same bytes, whoever writes them and when: no clock, no random number. Inputs of
a build are not parts of its result; the document calls them `excluded`, which is CycloneDX's word for that.

Source: docs/knowledge.md, "What builders say"; CycloneDX 1.6.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pyrsia.errors import Malformed
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

FORMAT: Final = "cyclonedx"
_SPACE: Final = uuid.UUID("b1a3c3a0-58d4-5b0e-9f0c-7d2f6f1f7a55")  # of the serial numbers of these documents
_TYPES: Final = {"pip": "pypi", "maven": "maven", "conan": "conan"}


@dataclass(frozen=True, slots=True)
class Part:
    """One file. `purl`: "" where it has none."""

    file: str
    sha256: str
    name: str = ""
    version: str = ""
    purl: str = ""


def document(purl: str, request: str, files: Sequence[Part], inputs: Sequence[Part]) -> bytes:
    """CycloneDX 1.6 as JSON, keys and parts sorted.

    Args:
        request: id of the build request in hex.
    """
    of = purls.parse(purl)
    about: dict[str, Any] = {
        "bom-ref": purl,
        "components": [_file(one) for one in sorted(files, key=lambda one: (one.file, one.sha256))],
        "name": of.name,
        "purl": purl,
        "type": "container" if of.type == "docker" else "library",
        "version": of.version,
    }
    rows = sorted({one.sha256 + one.file: one for one in inputs}.values(), key=_order)
    told = {
        "bomFormat": "CycloneDX",
        "components": [_input(one) for one in rows],
        "metadata": {
            "component": about,
            "properties": [{"name": "pyrsia:request", "value": request}],
        },
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, request + purl)}",
        "specVersion": "1.6",
        "version": 1,
    }
    return msgspec.json.encode(told) + b"\n"


def part_of(ecosystem: str, line: Mapping[str, str]) -> Part:
    """A line of a lock (name, version, file, sha256) as a part; with a purl where its ecosystem gives one."""
    return Part(line["file"], line["sha256"], line["name"], line["version"], _purl(ecosystem, line))


def _purl(ecosystem: str, line: Mapping[str, str]) -> str:
    kind = _TYPES.get(ecosystem, "")
    above, name = "", line["name"]
    if kind == "maven":
        above, _, name = name.replace(":", "/").rpartition("/")
    try:
        return str(purls.parse(str(Purl(kind, above, name, line["version"])))) if kind else ""
    except (Malformed, ValueError):
        return ""


def _file(one: Part) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": one.sha256}], "name": one.file, "type": "file"}


def _input(one: Part) -> dict[str, Any]:
    row: dict[str, Any] = {"bom-ref": f"sha256:{one.sha256}:{one.file}"}
    row |= {"hashes": [{"alg": "SHA-256", "content": one.sha256}], "name": one.name or one.file}
    if one.purl:
        row["purl"] = one.purl
    row |= {"scope": "excluded", "type": "library" if one.name else "file"}
    if one.version:
        row["version"] = one.version
    return row


def _order(one: Part) -> tuple[str, str, str, str]:
    return one.name, one.version, one.file, one.sha256
