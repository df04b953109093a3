"""What a verifier found, for people and for scripts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyrsia.policy.facts import Agreeing


@dataclass(frozen=True, slots=True)
class Finding:
    """An accepted file.

    Attributes:
        claimed_by: name of the node under whose own name the purl stands, else an empty text.
        builders: names of the agreeing builders, with operator, as genesis vouches for them.
        uncounted: (name, why) of those that the log counts as agreeing and whose provenance is not sound.
        dissenting: (name, why) of those that disagreed.
        quorum: (validators that cosigned, validators in all) of the `epoch` in which the checkpoint lies.
        checkpoint_s: POSIX seconds of the newest cosignature that made the quorum.
        status: the artifact's at the checkpoint, and `status_ms` the block time that it is proven for.
        gone: agreeing builders that are no members any more.
        agreeing: the builders that count, as a policy asks for them.
        published_ms: block time of the record.
    """

    purl: str
    claimed_by: str
    file: str
    sha256: str
    verdict: str
    builders: tuple[str, ...]
    uncounted: tuple[tuple[str, str], ...]
    dissenting: tuple[tuple[str, str], ...]
    drawn: int
    network: str
    demo: bool
    index: int
    size: int
    root: str
    quorum: tuple[int, int]
    epoch: int
    checkpoint_s: int
    source_sha256: str
    source: str
    upstream: str
    containment: str
    isolation: str
    status: str
    status_ms: int
    gone: tuple[str, ...]
    agreeing: tuple[Agreeing, ...] = ()
    published_ms: int = 0

    def lines(self) -> Iterator[str]:
        """The purl first; then who, what, where in the log, and what is not claimed."""
        yield self.purl
        yield f"file:      {self.file} (sha256:{self.sha256})"
        did = "built by: " if self.rebuilt else "seen by:  "
        yield f"{did} {', '.join(self.builders)} ({len(self.builders)} of {self.drawn} drawn, {self.isolation})"
        yield from (f"uncounted: {name}: {why}" for name, why in self.uncounted)
        yield from (f"dissent:   {name}: {why}" for name, why in self.dissenting)
        if self.rebuilt:
            also = f"upstream's file: {self.upstream}; found in the source: {self.containment}"
            yield f"verdict:   {self.verdict}; {also}"
        else:
            yield f"verdict:   {self.verdict}: same bytes seen by {len(self.builders)} nodes, not rebuilt"
        yield f"source:    sha256:{self.source_sha256} ({self._source()})"
        yield f"log:       leaf {self.index} of {self.size} in {self.network}"
        signed, of = self.quorum
        yield f"quorum:    cosigned by {signed} of {of} validators of epoch {self.epoch}, {_moment(self.checkpoint_s)}"
        yield f"status:    {self.status}, neither withdrawn nor disputed as of {_moment(self.status_ms // 1000)}"
        yield from (f"gone:      {name} is no member any more" for name in self.gone)
        if self.demo:
            yield "demo: all operators are one person"

    @property
    def rebuilt(self) -> bool:
        """Whether anybody built it: what was witnessed was only fetched."""
        return self.verdict != "WITNESSED"

    def _source(self) -> str:
        if not self.claimed_by:
            return self.source
        how = "claimed source of" if self.source == "claimed" else f"{self.source}; under the own name of"
        return f"{how} {self.claimed_by}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": True,
            "purl": self.purl,
            "claimed_by": self.claimed_by,
            "rebuilt": self.rebuilt,
            "file": self.file,
            "sha256": self.sha256,
            "verdict": self.verdict,
            "builders": list(self.builders),
            "uncounted": [{"builder": name, "why": why} for name, why in self.uncounted],
            "dissenting": [{"builder": name, "why": why} for name, why in self.dissenting],
            "drawn": self.drawn,
            "network": self.network,
            "demo": self.demo,
            "log": {"index": self.index, "size": self.size, "root": self.root},
            "quorum": {"cosigned": self.quorum[0], "validators": self.quorum[1], "epoch": self.epoch},
            "checkpoint_s": self.checkpoint_s,
            "source": {"sha256": self.source_sha256, "by": self.source},
            "upstream": self.upstream,
            "containment": self.containment,
            "isolation": self.isolation,
            "status": {"is": self.status, "as_of_ms": self.status_ms, "gone": list(self.gone)},
        }


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
