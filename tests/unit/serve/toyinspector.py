"""An inspector that remembers what it was asked and answers out of a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyrsia.serve.desks.inspecting import InspectPage, InspectQuery, Record

NODE = "a" * 52


def record(leaf: int = 5, **fields: object) -> Record:
    told: dict[str, object] = {
        "id": f"{leaf:064x}",
        "package_type": "Docker",
        "package_specific_id": "alpine:3.16",
        "num_artifacts": 2,
        "package_specific_artifact_id": "alpine@sha256:" + "ab" * 32,
        "artifact_hash": "ab" * 32,
        "source_hash": "cd" * 32,
        "artifact_id": "ef" * 32,
        "source_id": "git:" + "12" * 20,
        "timestamp": 1_700_000_000,
        "operation": "AddArtifact",
        "node_id": NODE,
        "node_public_key": "34" * 32,
        "leaf": leaf,
        "time_ms": 1_700_000_000_123,
        "build_id": "56" * 32,
        "verdict": "REPRODUCED",
        "status": "REPRODUCED",
        "purl": "pkg:docker/alpine@3.16",
        "file": "manifest.json",
        "size": 100,
        "agreeing": (NODE, "b" * 52),
        "advisories": 0,
        **fields,
    }
    return Record(**told)  # type: ignore[arg-type]


@dataclass
class ToyInspector:
    """`pages`: what it answers, one after the other; the last one again and again."""

    pages: Sequence[tuple[Record, ...]] = ((record(),),)
    asked: list[InspectQuery] = field(default_factory=list)

    async def inspect(self, query: InspectQuery) -> InspectPage:
        self.asked.append(query)
        at = min(len(self.asked), len(self.pages)) - 1
        following = "" if at == len(self.pages) - 1 else f"100.{at}.0"
        return InspectPage(100, 1_700_000_000_123, tuple(self.pages[at]), following, 64)
