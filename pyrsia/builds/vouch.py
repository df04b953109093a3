"""What agreeing builders sign together once the log has judged: a summary, and how the file stands to upstream's. Pure.

Both Statements are functions of the log alone, so that every builder signs the very same bytes and T signatures fit
into one envelope. A summary (VSA) is made for REPRODUCED only; the statement about upstream says "this rebuild and
that file are the same after stabilising", in the shape that OSS Rebuild gave it. Neither names an index, a host or a
path: coordinates and digests are enough.

Source: docs/attestations.md; SLSA verification summary v1 and its verified property SLSA_BUILD_REPRODUCED;
SLSA provenance v1; in-toto Statement v1.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pyrsia.builds.attest import PREDICATE_TYPE, STATEMENT_TYPE
from pyrsia.wire import canonical

VSA_TYPE: Final = "https://slsa.dev/verification_summary/v1"
EQUIVALENCE_TYPE: Final = "https://pyrsia.io/build/ArtifactEquivalence/v1"
LEVELS: Final = ("SLSA_BUILD_LEVEL_1", "SLSA_BUILD_REPRODUCED")
KINDS: Final = ("equivalence", "vsa")


@dataclass(frozen=True, slots=True)
class Judged:
    """One published file and what it was judged by, as the log has it.

    Attributes:
        network: base32 of the chain id.
        artifact, request, draw: bodies of its `artifact.add`, `build.request` and the last `build.draw`.
        request_id: hex.
        reveals: builder -> the body of its reveal, of every agreeing builder.
    """

    network: str
    artifact: Mapping[str, Any]
    request_id: str
    request: Mapping[str, Any]
    draw: Mapping[str, Any]
    reveals: Mapping[str, Mapping[str, Any]]

    @property
    def agreeing(self) -> tuple[str, ...]:
        return tuple(self.artifact["agreeing"])


def statements(judged: Judged) -> dict[str, bytes]:
    """The Statements that stand for this file, by kind; those that do not stand are absent."""
    made = {"equivalence": equivalence(judged), "vsa": vsa(judged)}
    return {kind: text for kind, text in made.items() if text is not None}


def vsa(judged: Judged) -> bytes | None:
    """The verification summary; None where the file was not REPRODUCED bit for bit."""
    artifact = judged.artifact
    if artifact["verdict"] != "REPRODUCED":
        return None
    rules: canonical.Json = {
        "agreeing": judged.draw["agreeing"],
        "builders": len(judged.draw["builders"]),
        "min_isolation": judged.draw["min_isolation"],
        "operators": 2,
    }
    inputs: list[canonical.Json] = [
        {
            "digest": {"sha256": hashlib.sha256(judged.reveals[builder]["attestation"].encode()).hexdigest()},
            "uri": f"https://pyrsia.io/builder/{builder}",
        }
        for builder in sorted(judged.agreeing)
    ]
    predicate: canonical.Json = {
        "inputAttestations": inputs,
        "policy": {
            "digest": {"sha256": hashlib.sha256(canonical.encode(rules)).hexdigest()},
            "uri": f"https://pyrsia.io/network/{judged.network}/verdict/v1",
        },
        "resourceUri": artifact["purl"],
        "timeVerified": _time(artifact["time_ms"]),
        "verificationResult": "PASSED",
        "verifiedLevels": list(LEVELS),
        "verifier": {"id": f"https://pyrsia.io/network/{judged.network}"},
    }
    return _statement(VSA_TYPE, artifact["file"], artifact["sha256"], predicate)


def equivalence(judged: Judged) -> bytes | None:
    """That the rebuild equals upstream's file, at once or after stabilising; None where nobody found that."""
    artifact = judged.artifact
    if artifact["upstream"] not in ("identical", "equivalent") or not judged.agreeing:
        return None
    output = _output(judged)
    candidate, name = output["raw"]["sha256"], artifact["file"]
    predicate: canonical.Json = {
        "buildDefinition": {
            "buildType": EQUIVALENCE_TYPE,
            "externalParameters": {"candidate": f"rebuild/{name}", "target": artifact["purl"]},
            "internalParameters": {
                "normaliser": judged.request["recipe"]["normaliser"],
                "relation": artifact["upstream"],
            },
            "resolvedDependencies": [
                {"digest": {"sha256": candidate}, "name": f"rebuild/{name}"},
                {"digest": {"sha256": artifact["sha256"]}, "name": f"upstream/{name}"},
            ],
        },
        "runDetails": {
            "builder": {"id": f"https://pyrsia.io/network/{judged.network}"},
            "byproducts": [{"digest": {"sha256": output["stable"]}, "name": f"stabilized/{name}"}],
            "metadata": {"invocationId": judged.request_id},
        },
    }
    return _statement(PREDICATE_TYPE, name, artifact["sha256"], predicate)


def _output(judged: Judged) -> Mapping[str, Any]:
    """The winning class's output of this file, as the agreeing builder that was drawn first revealed it.

    All of the class say the same of `canonical` and `stable`; of `raw` only where the verdict is REPRODUCED.
    """
    first = next(builder for builder in judged.draw["builders"] if builder in judged.reveals)
    found: Mapping[str, Any] = next(
        one for one in judged.reveals[first]["outputs"] if one["name"] == judged.artifact["file"]
    )
    return found


def _statement(kind: str, name: str, sha256: str, predicate: canonical.Json) -> bytes:
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": predicate,
            "predicateType": kind,
            "subject": [{"digest": {"sha256": sha256}, "name": name}],
        }
    )


def _time(ms: int) -> str:
    """RFC 3339, whole seconds: the block that published the file."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
