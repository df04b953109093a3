"""The pipeline plug-in: a build server of the operator's, spoken to as the original Pyrsia did.

The network agrees on the source as for any mapped package: the commit that the enacted mapping's tag leads to, looked
up by each builder. The pipeline is told repository and tag, and builds as it likes. How it isolates a build nobody here
can know, so its results are recorded with the weakest word that the log has, and count nowhere where the network asks
for `namespace`.

Source: docs/builds-how.md, "An HTTP pipeline".
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import unbuilt
from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.model import (
    Built,
    Inputs,
    Output,
    PhaseFailed,
    Planned,
    Progress,
    SourceMapping,
    Want,
    keep,
)
from pyrsia.builds.pipeline.contract import Artifact, Pipeline
from pyrsia.builds.recipe import cutoff_of, disagreement
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitArchive
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_WORKER_RESULT_BYTES
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

ECOSYSTEM: Final = "pipeline"
BACKEND: Final = "pipeline@1"
LOCK: Final = b"pyrsia lock pipeline v1\n"  # what the pipeline uses it does not tell
ISOLATION: Final = "confined"  # the weakest word that the log has: what the pipeline does is unknown
PROGRAM: Final = Program("builds/pipeline/worker.py")
# purl type -> what the original called it
KINDS: Final = {"docker": "Docker", "maven": "Maven2"}


class PipelinePlugin:
    """Has packages built by the pipeline of `shop.pipeline_url`."""

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop, target: Mapping[str, str]) -> None:
        self._shop = shop
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._results = Results(shop.results, ISOLATION)
        self._target = {name: target[name] for name in ("arch", "libc", "os")}

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The request for one mapped package.

        Args:
            want: its name is a versionless purl, or `group:artifact`.

        Raises:
            Refusal: `bad-request` without a version or of another type, `package-unknown` without a mapping,
                `version-unknown`, `source-unreachable`.
        """
        package = _package(want)
        progress(f"looking up the source of {package}")
        source = await self._source(package)
        coordinates = {"name": package.name, "version": package.version}
        if package.namespace:
            coordinates["namespace"] = package.namespace
        return (
            Planned(
                purl=str(package),
                coordinates=coordinates,
                source=source.as_source(),
                recipe=self._recipe(source),
                lock=LOCK,
                target=dict(self._target),
                ecosystem=ECOSYSTEM,
            ),
        )

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """
        Raises:
            Refusal: `digest-mismatch` for another source than the mapping's, `lock-mismatch` for another recipe.
        """
        source = await self._source(purls.parse(request["purl"]))
        if source.as_source() != request["source"]:
            raise Refusal(
                "digest-mismatch",
                what=f"the mapping leads to the commit {source.commit[:12]} here, not to the request's",
                who="the repository or the request",
                do="compare both",
            )
        theirs = request["recipe"]
        mine = {**self._recipe(source), "environment": theirs["environment"]}
        why = disagreement(mine, theirs)
        if why:
            raise PhaseFailed("lock-mismatch", why, who="the request", do="ask again", code="lock-mismatch")
        return LOCK

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        source = await self._source(purls.parse(request["purl"]))
        return Inputs(source.file, (), {}, hashlib.sha256(locked).hexdigest())

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """Have it built there, and look at what came out in the sandbox.

        Raises:
            Unavailable: the disk said no.
        """

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            try:
                made = await self._made(request, progress)
                outputs = await self._outputs(request, made, folder)
            except PhaseFailed:
                raise
            except Refusal as error:  # what the pipeline answers is a matter of the package, too
                raise PhaseFailed("build", error.what, who=error.who, do=error.do) from error
            log += f"built by an HTTP pipeline, whose isolation is its own: {len(made)} files\n".encode()
            return outputs

        return await self._results.of(request, inputs, "mapping", make)

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        environment = self._environment()
        return await self._results.failed(
            error, lock_sha256, phase, source="mapping", environment=environment
        )

    async def _made(self, request: Mapping[str, Any], progress: Progress) -> list[Artifact]:
        package = purls.parse(request["purl"])
        mapping = self._mapping(package)
        async with Pipeline(self._shop.pipeline_url, self._shop.cache) as pipeline:
            build = await pipeline.start(_told(package, mapping, request["source"]))
            addresses = await pipeline.finished(build, self._shop.limits.wall_s, progress)
            found = [await pipeline.fetch(address) for address in addresses]
        if len({one.name for one in found}) != len(found):
            raise Refusal(
                "build-failed",
                what="the pipeline made two files of one name",
                who="the build pipeline",
                do="have it name each differently",
            )
        return sorted(found, key=lambda one: one.name)

    async def _outputs(
        self, request: Mapping[str, Any], made: Sequence[Artifact], folder: Path
    ) -> tuple[Output, ...]:
        names = [{"name": one.name, "file": f"file-{number}"} for number, one in enumerate(made)]
        files = {name["file"]: one.path for name, one in zip(names, made, strict=True)}
        job = {"operation": "inspect", "files": names}
        async with self._inside.run(job, files, phase="normalise", who=request["purl"]) as answer:
            return await trio.to_thread.run_sync(_collected, answer, made, folder)

    # -- the rules --

    def _mapping(self, package: Purl) -> SourceMapping:
        mapping = self._shop.mapping(str(package.versionless))
        if mapping is None:
            raise Refusal(
                "package-unknown",
                what=f"no enacted mapping says where the source of {package.versionless} is",
                who="the network's members",
                do="propose one with `pyrsia package map`",
            )
        return mapping

    async def _source(self, package: Purl) -> GitArchive:
        mapping = self._mapping(package)
        return await self._shop.git.mapped(mapping, name=package.name, version=package.version)

    def _environment(self) -> str:
        """Nothing of ours runs in it; a request must name one that its network admits."""
        return str(next(iter(self._shop.admitted()), ""))

    def _recipe(self, source: GitArchive) -> dict[str, Any]:
        return {
            "backend": BACKEND,
            "cutoff_ms": cutoff_of(source.time_s),
            "environment": self._environment(),
            "isolation": "none",
            "normaliser": unbuilt.BYTES,
            "sde": max(EARLIEST, source.time_s),
            "v": 1,
        }


def _package(want: Want) -> Purl:
    """
    Raises:
        Refusal: `bad-request`.
    """
    text = want.name
    if not text.startswith("pkg:"):
        group, colon, name = text.partition(":")
        text = f"pkg:maven/{group}/{name}" if colon else f"pkg:docker/{text}"
    try:
        found = purls.parse(text)
    except Malformed as error:
        raise _no(f"{text[:120]!r} is no package: {error}") from None
    if found.type not in KINDS:
        raise _no(f"a pipeline builds {' and '.join(sorted(KINDS))} packages")
    version = want.version or found.version
    if not version:
        raise _no(f"{text[:120]} is asked for without a version")
    return Purl(found.type, found.namespace, found.name, version)


def _no(what: str) -> Refusal:
    return Refusal("bad-request", what=what, who="your request", do="write pkg:maven/group/artifact@version")


def _told(package: Purl, mapping: SourceMapping, source: Mapping[str, Any]) -> dict[str, Any]:
    """The original's MappingInfo; the tag is the one that every builder looked up, and `commit` says where it led."""
    separator = ":" if package.type == "maven" else "/"
    named = f"{package.namespace}{separator}{package.name}" if package.namespace else package.name
    git = source["git"]
    return {
        "package_type": KINDS[package.type],
        "package_specific_id": f"{named}:{package.version}",
        "source_repository": {"Git": {"url": mapping.repository, "tag": git["tag"], "commit": git["commit"]}},
        "build_spec_url": None,
    }


def _collected(answer: Answer, made: Sequence[Artifact], folder: Path) -> tuple[Output, ...]:
    """The files as outputs, with the lists that the sandbox made of them."""
    outputs = []
    told = answer.value.get("files")
    for number, one in enumerate(made):
        members = read_plain(answer.work / f"{number}.members", MAX_WORKER_RESULT_BYTES.value)
        if members is None or not isinstance(told, list) or len(told) != len(made):
            raise PhaseFailed("normalise", f"no list of {one.name}", who="this node", do="try again")
        plain = unbuilt.as_it_is(folder, one.name, one.path)
        listed = replace(plain.raw, members=keep(folder, f"members-{one.name}", members))
        outputs.append(replace(plain, raw=listed, canonical=listed, stable=str(told[number]["stable"])))
    return tuple(outputs)


def made_from(shop: Shop, target: Mapping[str, str]) -> tuple[PipelinePlugin, ...]:
    """The plug-in of a node, if its operator configured a pipeline."""
    return (PipelinePlugin(shop, target),) if shop.pipeline_url else ()
