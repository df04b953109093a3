"""One leaf of the log as records: what was added or removed by it, in the original's fields and ours.

Only what stands below the size asked about shapes a record, so that the same question about the past has one answer.

Source: docs/inspect.md, "Fields".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from pyrsia.ledger import entries, glance, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.state import load
from pyrsia.ledger.views import Placed
from pyrsia.node.inspecting.past import Log, enacted
from pyrsia.node.log import times
from pyrsia.serve.desks.inspecting import (
    ADD_ARTIFACT,
    ADD_NODE,
    CHANGE_NODE,
    PACKAGE_TYPES,
    REMOVE_ARTIFACT,
    REMOVE_NODE,
    REQUEST_BUILD,
    Record,
    What,
)
from pyrsia.serve.inspecting.names import artifact_id, package_id
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32, unb32

MAX_LOOKED = Limit(20_000, "files of a package among which the one that was withdrawn is looked for")

# Types of leaves that may be records, by what is asked for.
KINDS: Final[Mapping[What, frozenset[str]]] = {
    "artifacts": frozenset(("artifact.add", "artifact.withdraw", "motion.approve")),
    "nodes": frozenset(("network.genesis", "motion.approve")),
    "builds": frozenset(("build.request",)),
}
KEYS: Final = ("build", "chain_end", "cosign", "log", "node", "vote")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Why:
    """The motion by which something came about, and its author's reason."""

    motion: str = ""
    reason: str = ""


NOBODYS: Final = Why()


@dataclass(slots=True)
class Records:
    """Makes the records of one answer. `size`: of the log that is spoken of."""

    log: Log
    genesis: Genesis
    size: int
    _requests: dict[str, Body] = field(default_factory=dict)

    def of(self, what: What, index: int, leaf: bytes) -> list[Record]:
        """The records of the leaf, none for most; without `advisories`, and files without `status`."""
        kind = glance.kind(leaf)
        if kind not in KINDS[what]:
            return []
        entry = entries.parse(leaf)
        told, body = entry.id.hex(), entry.body
        if kind == "artifact.add":
            return [self._artifact(told, index, body, Placed(index, body), ADD_ARTIFACT, body["agreeing"][0])]
        if kind == "artifact.withdraw":
            return self._removed(told, index, body, b32(entry.author or b""), "")
        if kind == "build.request":
            return self._build(told, index)
        if kind == "network.genesis":
            return [self._node(told, 0, ADD_NODE, one) for one in body["members"]]
        return self._decided(what, told, index, body["motion"])

    # -- files --

    def _artifact(
        self,
        told: str,
        index: int,
        event: Body,
        placed: Placed,
        operation: str,
        node: str,
        why: Why = NOBODYS,
    ) -> Record:
        """`event`: the body that has the time; `placed`: the artifact.add of the file."""
        body = placed.body
        request = self._request(body["request"])
        time_ms = event["time_ms"] if "time_ms" in event else times.time_of(self.log, index)
        return Record(
            id=told,
            package_type=_type(body["purl"]),
            package_specific_id=package_id(body["purl"]),
            num_artifacts=self._published(request),
            package_specific_artifact_id=artifact_id(body["purl"], body["file"], body["sha256"]),
            artifact_hash=body["sha256"],
            source_hash=body["source_sha256"],
            artifact_id=body["manifest"],
            source_id=_source(request),
            timestamp=time_ms // 1000,
            operation=operation,
            node_id=node,
            node_public_key=_key(node),
            leaf=index,
            time_ms=time_ms,
            build_id=body["request"],
            verdict=body["verdict"],
            purl=body["purl"],
            file=body["file"],
            size=body["size"],
            agreeing=tuple(body["agreeing"]),
            dissenting=tuple(one["builder"] for one in body["dissenting"]),
            motion=why.motion,
            reason=why.reason,
        )

    def _removed(self, told: str, index: int, body: Body, node: str, motion: str) -> list[Record]:
        placed = self._counted(body["sha256"], body["purl"], index)
        if placed is None:
            return []
        return [self._artifact(told, index, {}, placed, REMOVE_ARTIFACT, node, Why(motion, body["reason"]))]

    def _counted(self, sha256: str, purl: str, before: int) -> Placed | None:
        """The artifact.add by which these bytes counted under this purl when the log had `before` leaves."""
        found = views.artifact(self.log.state, sha256, purl)
        if found is None or found.leaf < before:
            return found
        package = str(purls.parse(purl).versionless)
        history = islice(views.project_history(self.log.state, package), MAX_LOOKED.value)
        placed = (one for one, _ in history if one.leaf < before)
        same = (one for one in placed if (one.body["sha256"], one.body["purl"]) == (sha256, purl))
        return next(same, None)

    # -- builds --

    def _build(self, told: str, index: int) -> list[Record]:
        request = self._request(told)
        if not request:
            return []
        body, time_ms, verdict = request["body"], request["time_ms"], self._verdict(request)
        said: Body = verdict["body"] if verdict else {"verdict": "", "agreeing": (), "dissenting": ()}
        record = Record(
            id=told,
            package_type=_type(body["purl"]),
            package_specific_id=package_id(body["purl"]),
            num_artifacts=self._published(request),
            package_specific_artifact_id="",
            artifact_hash="",
            source_hash=body["source"]["sha256"],
            artifact_id="",
            source_id=_source(request),
            timestamp=time_ms // 1000,
            operation=REQUEST_BUILD,
            node_id=request["author"],
            node_public_key=_key(request["author"]),
            leaf=index,
            time_ms=time_ms,
            build_id=told,
            verdict=said["verdict"],
            status=self._phase(request),
            purl=body["purl"],
            agreeing=tuple(said["agreeing"]),
            dissenting=tuple(one["builder"] for one in said["dissenting"]),
        )
        return [record]

    def _phase(self, request: Body) -> str:
        if self._verdict(request) is not None:
            return "done"
        if "cancel" in request and request["cancel"]["leaf"] < self.size:
            return "cancelled"
        return "drawn" if any(one["leaf"] < self.size for one in request["draws"]) else "open"

    def _verdict(self, request: Body) -> Body | None:
        found: Body | None = request.get("verdict")
        return None if found is None or found["leaf"] >= self.size else found

    def _published(self, request: Body) -> int:
        """Files of the build; their entries stand right behind the verdict's."""
        verdict = self._verdict(request)
        if verdict is None:
            return 0
        return min(len(request.get("artifacts", ())), self.size - int(verdict["leaf"]) - 1)

    def _request(self, told: str) -> Body:
        """The state's record of a request, without its reveals, which are large."""
        if told not in self._requests:
            self._requests[told] = load(self.log.state(f"request/{told}".encode()), {})
        return self._requests[told]

    # -- members --

    def _decided(self, what: What, told: str, index: int, motion: str) -> list[Record]:
        """What the motion did that this approval enacted."""
        record = enacted(self.log.state, index, motion)
        if record is None:
            return []
        body, kind = record["body"], record["body"]["kind"]
        if what == "artifacts":
            removes = kind == "artifact.withdraw"
            return self._removed(told, index, body, record["author"], motion) if removes else []
        why = Why(motion, body["reason"])
        if kind == "member.add":
            return [self._node(told, index, ADD_NODE, body["member"], why)]
        if kind == "member.remove":
            return [self._left(told, index, body["node"], why)]
        if kind == "member.rotate":
            return [self._rotated(told, index, body, why)]
        if kind == "member.replace":
            return self._replaced(told, index, body, why)
        return []

    def _replaced(self, told: str, index: int, body: Body, why: Why) -> list[Record]:
        """The old one goes and the new one comes, also where it was a member already: it takes the other's place."""
        if body["member"]["node"] == body["node"]:
            return [self._node(told, index, CHANGE_NODE, body["member"], why)]
        left = self._left(told, index, body["node"], why)
        return [left, self._node(told, index, ADD_NODE, body["member"], why)]

    def _left(self, told: str, index: int, node: str, why: Why) -> Record:
        """Who has left never changes again, so the state still has it as it was when it left."""
        fields = load(self.log.state(f"member/{node}".encode()), {})
        return self._node(told, index, REMOVE_NODE, {**fields, "node": node}, why)

    def _rotated(self, told: str, index: int, body: Body, why: Why) -> Record:
        """What it is called may have changed since, so only genesis can say it; its keys are the new ones alone."""
        names = {one.text: one.name for one in self.genesis.members}
        fields = {**body, "name": names.get(body["node"], "")}
        return self._node(told, index, CHANGE_NODE, fields, why)

    def _node(self, told: str, index: int, operation: str, fields: Body, why: Why = NOBODYS) -> Record:
        node = fields["node"]
        time_ms = times.time_of(self.log, index)
        keys = {name: fields[name] for name in KEYS if name != "node" and fields.get(name)}
        return Record(
            id=told,
            package_type=None,
            package_specific_id="",
            num_artifacts=0,
            package_specific_artifact_id="",
            artifact_hash="",
            source_hash="",
            artifact_id="",
            source_id="",
            timestamp=time_ms // 1000,
            operation=operation,
            node_id=node,
            node_public_key=_key(node),
            leaf=index,
            time_ms=time_ms,
            status=self._member(node),
            node_name=fields.get("name", ""),
            operator=fields.get("operator", ""),
            roles=tuple(fields.get("roles", ())),
            keys={"node": _key(node), **keys},
            motion=why.motion,
            reason=why.reason,
        )

    def _member(self, node: str) -> str:
        left = load(self.log.state(f"member/{node}".encode()), {}).get("left", self.size)
        return "left" if left < self.size else "member"


def _type(purl: str) -> str | None:
    return PACKAGE_TYPES.get(purls.parse(purl).package.type)


def _key(node: str) -> str:
    """Node ids are the keys themselves, written otherwise."""
    return unb32(node).hex()


def _source(request: Body) -> str:
    source = request.get("body", {}).get("source", {})
    if "git" in source:
        return f"git:{source['git']['commit']}"
    return f"file:{source['file']}" if source else ""
