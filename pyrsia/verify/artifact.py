"""Judging a file: what the log proves about its digest, its name, its builders and its source.

What the record claims is computed again from the leaves that led to it: that the drawn were builders whom
the rules allow, that each reveal opens its commitment, that each builder signed its provenance, and the
verdict itself; then its status at the proof's head, so that what was withdrawn since is refused. One thing is
left out: which of the allowed builders the beacon chose; the log's quorum answers for that.

Source: docs/log.md, "What `pyrsia verify` checks"; docs/ledger.md, "The verdict".
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from pyrsia.builds import attest
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import entries, verdict
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import MIN_BUILDERS, check_quorum
from pyrsia.policy.facts import Agreeing
from pyrsia.policy.rules import Policy
from pyrsia.units import MAX_PROOF_AGE_S, Limit
from pyrsia.verify import accepting, evidence, standing, wheel
from pyrsia.verify.evidence import Evidence, invalid
from pyrsia.verify.finding import Finding
from pyrsia.verify.knowing import Learn
from pyrsia.verify.leaves import Proven, Verify
from pyrsia.verify.pins import Pin
from pyrsia.verify.roll import Roll
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32

_OF_REVEALS: Final = frozenset((
    "containment", "file", "manifest", "members", "metadata", "requires_python", "served", "sha256", "size", "source",
    "upstream", "verdict",
))  # fields of artifact.add that the reveals give  # fmt: skip
MAX_AHEAD_S = Limit(86_400, "a wrong time zone is forgiven; a day ahead, the age of a proof means nothing")


def judge(
    file: Path, proof: bytes, pins: Sequence[Pin], *, now_ms: int, expected: str | None, verify: Verify
) -> Finding:
    """What is proven about `file`.

    Args:
        proof: the proof file's bytes.
        now_ms: POSIX milliseconds, for the proof's age alone.
        expected: the purl that the file must be, or None.

    Raises:
        Refusal: `proof-invalid` or `not-found` (1), `not-pinned` or `too-old` (3).
    """
    found = evidence.read(proof, pins, verify)
    return judge_by(file, found, now_ms=now_ms, expected=expected, verify=verify)


def judge_by(
    file: Path,
    found: Evidence,
    *,
    now_ms: int,
    expected: str | None,
    verify: Verify,
    policy: Policy | None = None,
    current: bool = False,
    learn: Learn | None = None,
) -> Finding:
    """The same, with evidence that was read already.

    Args:
        policy: that must accept what is proven; None asks for a proof of at most a year, and for nothing else.
        current: the proof was made just now, by a node.
        learn: as `accepting.require` takes it.

    Raises:
        Refusal: as `judge`, or as `accepting.require`.
    """
    try:
        finding = _judge(_digest(file), file, found, expected, verify)
    except Malformed as error:
        raise invalid(str(error)) from None
    except OSError as error:
        raise Refusal(
            "not-found",
            what=f"the file cannot be read: {error.strerror}",
            who=str(file),
            do="name a file that you may read",
        ) from None
    return _accepted(finding, found, now_ms, policy, current, learn)


def judge_digest(
    digest: str,
    found: Evidence,
    *,
    now_ms: int,
    expected: str | None,
    verify: Verify,
    policy: Policy | None = None,
    current: bool = False,
    learn: Learn | None = None,
) -> Finding:
    """What is proven about bytes with this SHA-256, wherever they are; no file is opened.

    The finding's `file` is the name that the log has for them: what they are called here is the caller's business.

    Raises:
        Refusal: as `judge_by`.
    """
    try:
        finding = _judge(digest, None, found, expected, verify)
    except Malformed as error:
        raise invalid(str(error)) from None
    return _accepted(finding, found, now_ms, policy, current, learn)


def _accepted(
    finding: Finding, found: Evidence, now_ms: int, policy: Policy | None, current: bool, learn: Learn | None
) -> Finding:
    """Raises `Refusal` for what the policy refuses, and (`too-old`) for a checkpoint that says nothing about today."""
    age_s = now_ms // 1000 - finding.checkpoint_s
    if age_s < -MAX_AHEAD_S.value:
        raise Refusal(
            "too-old",
            what=f"the proof's checkpoint is {-age_s // 86_400} days ahead of this machine's clock",
            who="this machine's clock, or the validators'",
            do="set the clock and check again",
        )
    network = found.pin.digest
    if learn is not None:
        learn.heed(network, finding.purl, finding.sha256, finding.size)
    if policy is not None:
        accepting.require(policy, finding, now_ms=now_ms, current=current, network=network, learn=learn)
    elif age_s > MAX_PROOF_AGE_S.value:
        raise Refusal(
            "too-old",
            what=f"the proof's checkpoint is {age_s // 86_400} days old",
            who="the proof file",
            do="fetch a newer one from a node: <file url>.tlog-proof",
        )
    return finding


def _judge(digest: str, file: Path | None, found: Evidence, expected: str | None, verify: Verify) -> Finding:
    artifact = _only(found.of("artifact.add"), "artifact.add")
    if artifact.index != found.index:
        raise Malformed("the proof is about another leaf than its artifact")
    body = artifact.entry.body
    if digest != body["sha256"]:
        raise Malformed(f"the file's SHA-256 is {digest}, the log names {body['sha256']}")
    _check_name(file, body, expected)
    people = Roll(found.now)
    request = _request(found, body, people, verify)
    draw, reveals = _reveals(found, body, request, people, verify)
    _check_verdict(found, body, request, draw, reveals, people)
    unsound = _unsound(request.entry, reveals, body["agreeing"], draw, people, verify)
    status = standing.offered(found.now, digest, body["purl"])
    name = body["file"] if file is None else file.name
    return _finding(name, digest, found, body, draw, reveals, unsound, status)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _only(leaves: Sequence[Proven], kind: str) -> Proven:
    if len(leaves) != 1:
        raise Malformed(f"the proof carries {len(leaves)} leaves of type {kind}, one is needed")
    return leaves[0]


# -- the name -----------------------------------------------------------------------------------


def _check_name(file: Path | None, body: Mapping[str, Any], expected: str | None) -> None:
    """The purl and the file's own name are the log's; a wheel also says inside whose it is.

    Of other files the log's name for these bytes is all there is: nothing of theirs is opened here.
    """
    package = purls.parse(body["purl"]).package
    if expected is not None and expected != body["purl"]:
        raise Malformed(f"the file is {body['purl']}, not {expected}")
    if file is None:
        return
    if file.name not in (body["file"], body["file"].rpartition("~")[2]):
        raise Malformed(
            f"the file is called {file.name}; the log published {body['file']} for {body['purl']}"
        )
    if package.type != "pypi" or not file.name.endswith(".whl"):
        return
    name, version = wheel.name_and_version(file)
    stem = body["file"].split("-")
    for told, where in ((name, "METADATA"), (stem[0], "the file's name")):
        if purls.pypi_name(told) != package.name:
            raise Malformed(f"{where} says {told}, the log says {package.name}")
    for told, where in ((version, "METADATA"), (stem[1] if len(stem) > 1 else "", "the file's name")):
        if _normal(told) != package.version:
            raise Malformed(f"{where} says version {told}, the log says {package.version}")


def _normal(version: str) -> str:
    """PEP 440's normal form, or nothing: a build backend may write 1.00 where the log says 1.0."""
    try:
        return str(Version(version))
    except InvalidVersion:
        return ""


# -- the chain from request to verdict ------------------------------------------------------------


def _authored(leaf: Proven, net: str, people: Roll, verify: Verify) -> str:
    """Node id text of the member that signed the leaf."""
    entry = leaf.entry
    if entry.author is None or entry.net != net or not entry.signature_holds(verify):
        raise Malformed(f"a {entry.kind} without its author's signature")
    return people.member(b32(entry.author)).text


def _request(found: Evidence, body: Mapping[str, Any], people: Roll, verify: Verify) -> Proven:
    request = _only(found.of("build.request"), "build.request")
    _authored(request, found.pin.genesis.net, people, verify)
    if request.entry.id.hex() != body["request"]:
        raise Malformed("the artifact came from another request")
    asked = request.entry.body
    if purls.parse(asked["purl"]).owner not in ("", asked["requester"]):
        raise Malformed("it stands under the own name of a node that did not ask for it")
    if asked["purl"] != body["purl"] or asked["source"]["sha256"] != body["source_sha256"]:
        raise Malformed("the request asked for another package or another source")
    return request


def _reveals(
    found: Evidence, body: Mapping[str, Any], request: Proven, people: Roll, verify: Verify
) -> tuple[Mapping[str, Any], dict[str, Mapping[str, Any]]]:
    """The last draw's body, and builder -> reveal body, each opened against its commitment."""
    draws = [leaf for leaf in found.of("build.draw") if leaf.entry.body["request"] == body["request"]]
    if not draws:
        raise Malformed("the proof carries no draw of builders")
    draw = draws[-1].entry.body
    _check_draw(draw, request, people)
    commits = _by_builder(found, "build.commit", draw, people, verify)
    opened: dict[str, Mapping[str, Any]] = {}
    for builder, leaf in _by_builder(found, "build.reveal", draw, people, verify).items():
        revealed = leaf.entry.body
        node = leaf.entry.author
        commit = commits.get(builder)
        if commit is None or node is None or commit.index > leaf.index:
            raise Malformed(f"builder {builder[:8]} revealed without a commitment")
        if entries.commitment(request.entry.id, node, revealed).hex() != commit.entry.body["commitment"]:
            raise Malformed(f"builder {builder[:8]}'s reveal does not open its commitment")
        opened[builder] = revealed
    return draw, opened


def _check_draw(draw: Mapping[str, Any], request: Proven, people: Roll) -> None:
    """K builders, each of another operator, none of the requester's; T as the rules allow it.

    Operators are those of the draw: who runs a member may have changed since.
    """
    drawn, agreeing, operators = draw["builders"], draw["agreeing"], set(draw["operators"])
    for node in (*drawn, request.entry.body["requester"]):
        people.member(node)
    if draw["excluded"] in operators:
        raise Malformed("a builder was drawn whose operator is the requester's")
    if len(operators) != len(drawn):
        raise Malformed("two builders of one operator were drawn")
    try:
        check_quorum(len(drawn), agreeing)
    except Malformed as error:
        raise Malformed(f"{agreeing} of {len(drawn)} builders: {error}") from None
    if len(drawn) < MIN_BUILDERS:
        raise Malformed(f"{len(drawn)} builders were drawn, {MIN_BUILDERS} is the least")


def _operators(draw: Mapping[str, Any]) -> dict[str, str]:
    """Drawn builder -> who ran it then."""
    return dict(zip(draw["builders"], draw["operators"], strict=True))


def _by_builder(
    found: Evidence, kind: str, draw: Mapping[str, Any], people: Roll, verify: Verify
) -> dict[str, Proven]:
    """The leaves of one type, by the drawn builder that signed each."""
    said: dict[str, Proven] = {}
    for leaf in found.of(kind):
        builder = _authored(leaf, found.pin.genesis.net, people, verify)
        if (
            leaf.entry.body["request"] != draw["request"]
            or builder not in draw["builders"]
            or builder in said
        ):
            raise Malformed(f"a {kind} that does not belong to this draw")
        said[builder] = leaf
    return said


def _check_verdict(
    found: Evidence,
    body: Mapping[str, Any],
    request: Proven,
    draw: Mapping[str, Any],
    reveals: Mapping[str, Mapping[str, Any]],
    people: Roll,
) -> None:
    """Decide again, with the ledger's own pure rule, and compare with what the log says."""
    outcome = verdict.decide(draw["builders"], reveals, verdict.Rules.of(request.entry.body, draw))
    said = _only(found.of("build.verdict"), "build.verdict").entry.body
    if said["request"] != body["request"] or said["verdict"] != outcome.verdict:
        raise Malformed("the verdict in the log is not what the reveals give")
    served = next((one for one in outcome.served if one["file"] == body["file"]), None)
    if served is None or {name: body[name] for name in body if name in _OF_REVEALS} != served:
        raise Malformed("the published record is not what the reveals give")
    if tuple(body["agreeing"]) != outcome.agreeing:
        raise Malformed("the agreeing builders in the record are not those of the reveals")
    if [(one["builder"], one["why"]) for one in body["dissenting"]] != list(outcome.dissenting):
        raise Malformed("the dissenting builders in the record are not those of the reveals")


def _unsound(
    request: Entry,
    reveals: Mapping[str, Mapping[str, Any]],
    agreeing: Sequence[str],
    draw: Mapping[str, Any],
    people: Roll,
    verify: Verify,
) -> dict[str, str]:
    """Agreeing builders without sound provenance, and why: they do not count here.

    The log admits a reveal without looking into its envelope, so one drawn liar could otherwise make a
    published file fail everywhere. Enough others must be left: T of the draw, over two operators.

    Raises:
        Malformed: too few are left.
    """
    unsound: dict[str, str] = {}
    for builder in agreeing:
        try:
            _check_provenance(request, reveals[builder], people.build_keys(builder), verify)
        except Malformed as error:
            unsound[builder] = str(error)
    sound = [builder for builder in agreeing if builder not in unsound]
    least, operators = draw["agreeing"], _operators(draw)
    if len(sound) < least or len({operators[builder] for builder in sound}) < 2:
        builder, why = next(iter(unsound.items()))
        raise Malformed(
            f"{len(sound)} builders signed sound provenance, {least} of two operators are needed;"
            f" {builder[:8]}: {why}"
        )
    return unsound


def _opened(envelope: str, keys: Sequence[bytes], verify: Verify) -> dict[str, Any]:
    """The statement of an envelope that one of `keys` signed."""
    failed = Malformed("its builder has no key that signs provenance")
    for key in keys:
        try:
            return attest.open_envelope(envelope, key, verify)
        except Malformed as error:
            failed = error
    raise failed


def _check_provenance(
    request: Entry, revealed: Mapping[str, Any], keys: Sequence[bytes], verify: Verify
) -> None:
    """The envelope in a reveal is its builder's and speaks of its outputs, this request and its source."""
    statement = _opened(revealed["attestation"], keys, verify)
    try:
        subjects = {(str(one["name"]), str(one["digest"]["sha256"])) for one in statement["subject"]}
        predicate = statement["predicate"]
        run = predicate["runDetails"]["metadata"]["invocationId"]
        inputs = predicate["buildDefinition"]["resolvedDependencies"]
        sources = {str(one["digest"]["sha256"]) for one in inputs}
    except (KeyError, TypeError):
        raise Malformed("the provenance lacks what SLSA asks for") from None
    if subjects != {(output["name"], output["raw"]["sha256"]) for output in revealed["outputs"]}:
        raise Malformed("the provenance is about another file")
    if run != request.id.hex() or request.body["source"]["sha256"] not in sources:
        raise Malformed("the provenance is about another request or source")


def _finding(
    name: str,
    digest: str,
    found: Evidence,
    body: Mapping[str, Any],
    draw: Mapping[str, Any],
    reveals: Mapping[str, Mapping[str, Any]],
    unsound: Mapping[str, str],
    status: str,
) -> Finding:
    genesis, people = found.pin.genesis, Roll(found.now)
    operators = _operators(draw)
    counted = [one for one in body["agreeing"] if one not in unsound]
    names = {builder: f"{people.member(builder).name} ({operators[builder]})" for builder in draw["builders"]}
    isolation = min(
        (reveals[one]["isolation"] for one in counted),
        key=("confined", "namespace").index,
    )
    owner = purls.parse(body["purl"]).owner
    return Finding(
        purl=body["purl"],
        claimed_by=people.member(owner).name if owner else "",
        file=name,
        sha256=digest,
        verdict=body["verdict"],
        builders=tuple(names[one] for one in counted),
        uncounted=tuple((names[one], why) for one, why in unsound.items()),
        dissenting=tuple((names[one["builder"]], one["why"]) for one in body["dissenting"]),
        drawn=len(draw["builders"]),
        network=genesis.name,
        demo=genesis.demo,
        index=found.index,
        size=found.head.checkpoint.size,
        root=found.head.checkpoint.root.hex(),
        quorum=(len(found.head.cosigners), len(found.head.of)),
        epoch=found.line.epoch_of(found.head),
        checkpoint_s=found.head.time_s,
        source_sha256=body["source_sha256"],
        source=body["source"],
        upstream=body["upstream"],
        containment=body["containment"],
        isolation=isolation,
        status=status,
        status_ms=found.now.time_ms,
        gone=tuple(names[one] for one in body["agreeing"] if people.left(one)),
        agreeing=tuple(Agreeing(one, operators[one], reveals[one]["isolation"]) for one in counted),
        published_ms=body["time_ms"],
    )
