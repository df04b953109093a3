"""The oci plug-in: plan, relock, prefetch and build of one image from a Dockerfile that runs nothing.

The source is an archive that somebody gave along, or the repository of an enacted mapping. What is copied from
elsewhere, and every base, is named by digest in the Dockerfile and must be published by this network, or be a root
that is on this machine. Archives open only inside the sandbox; here they are names, digests and copies.

Source: docs/builds-oci.md; docs/adr/0043-images-without-an-engine.md.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from pyrsia.builds import members
from pyrsia.builds import recipe as recipes
from pyrsia.builds.environments import ROOTFS, Environment
from pyrsia.builds.inside import Inside, Program, read_plain
from pyrsia.builds.members import Difference
from pyrsia.builds.model import (
    Built,
    Inputs,
    NamedFile,
    Output,
    Packed,
    PhaseFailed,
    Planned,
    Progress,
    Want,
    file_out,
    keep,
)
from pyrsia.builds.oci import bases, lock, names, outputs, rules
from pyrsia.builds.oci.bases import Based
from pyrsia.builds.oci.lock import Locked
from pyrsia.builds.recipe import disagreement
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources import git
from pyrsia.errors import Refusal
from pyrsia.units import MAX_OUTPUTS, MAX_WORKER_RESULT_BYTES
from pyrsia.wire.purl import Purl, parse

ECOSYSTEM: Final = "oci"
PROGRAM: Final = Program(
    "builds/oci/worker.py",
    modules=(
        "builds/environments/tarball.py",
        "builds/environments/tree.py",
        "builds/oci/compose.py",
        "builds/oci/dockerfile.py",
        "builds/oci/documents.py",
        "builds/oci/layer.py",
    ),
    hostile=frozenset({"compose", "inspect", "normalise"}),
)
_PHASE: Final = "metadata"


class Source(NamedTuple):
    """A source that is here. `body`: as a request says it."""

    kind: str
    file: NamedFile
    body: Mapping[str, Any]
    parameters: Mapping[str, str]


class OciPlugin:
    """Composes images; nothing of what goes into them is run."""

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._results = Results(shop.results, self._inside.isolation)

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The request for one image.

        Raises:
            Refusal: `bad-request` for a name, a parameter or a line of the Dockerfile; `not-found` for a digest that
                nobody published; `no-environment`.
        """
        purl = names.purl(want.name, want.version)
        source = await self._wanted(want, purl)
        environment = await self._environment(want)
        progress(f"reading the Dockerfile of {want.name}")
        read = await self._read(source, environment, str(purl))
        lines = sorted({line for row in await self._inputs(read) for line in row.lines})
        linked = ((one.file, self._shop.verified(one.sha256)) for one in lines)
        return (
            Planned(
                purl=str(purl),
                coordinates=names.coordinates(purl),
                source=dict(source.body),
                recipe=rules.recipe(environment, read, source.parameters),
                lock=lock.encode(lines),
                target=rules.target(environment),
                ecosystem=ECOSYSTEM,
                linked=tuple((file, leaf) for file, leaf in linked if leaf is not None),
            ),
        )

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `lock-mismatch` when the recipe is not what the rules give; as `plan`.
        """
        theirs = request["recipe"]
        environment = await self._shop.environments.get(theirs["environment"])
        source = await self._source(request)
        read = await self._read(source, environment, request["purl"])
        mine = rules.recipe(environment, read, source.parameters)
        why = disagreement(mine, theirs) or disagreement(rules.target(environment), dict(request["target"]))
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not what the rules give: {why}",
                who="the request",
                do="ask for the image again from a node with the same environment",
                code="lock-mismatch",
            )
        return lock.encode(line for row in await self._inputs(read) for line in row.lines)

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """The source, and every file of the lock by its digest, from here or from peers.

        Raises:
            Refusal: `digest-mismatch`, `no-environment`, or as peers say.
        """
        source = await self._source(request)
        lines = lock.decode(locked)
        files = [NamedFile(one.file, await self._bring(one)) for one in lines]
        digest = hashlib.sha256(locked).hexdigest()
        return Inputs(source.file, tuple(files), {}, digest, tuple((one.file, one.sha256) for one in lines))

    async def _bring(self, line: Locked) -> Path:
        if line.name == lock.ROOTFS:
            archive = (await self._shop.environments.get(ROOTFS + line.sha256)).archive
            if archive is None:
                raise bases.no_archive(line.sha256)
            return archive
        return await self._shop.bring(line.sha256)

    # -- build --

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """Compose and inspect the image in two sandboxes. A build that fails is an answer, not an exception.

        Raises:
            Unavailable: this machine could not build.
        """

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            progress(f"composing {request['purl']}")
            return await self._composed(request, inputs, folder, log, vary)

        return await self._results.of(request, inputs, _kind(request), make)

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`."""
        return await self._results.failed(error, lock_sha256, phase, source="claimed")

    # -- source and Dockerfile --

    async def _wanted(self, want: Want, purl: Purl) -> Source:
        if want.source is not None:
            given = want.source
            body = {
                "file": given.file,
                "sha256": given.sha256,
                "size": given.size,
                "manifest": given.manifest,
            }
            return Source(
                "claimed", NamedFile(given.file, given.path), body, rules.parameters(want.parameters)
            )
        mapping = want.mapping or self._shop.mapping(str(purl.versionless))
        if mapping is None:
            raise Refusal(
                "not-found",
                what=f"nothing says where the source of {purl} is",
                who="your request",
                do="give the source along (`--source DIR --as oci`), or have the image mapped (`pyrsia package map`)",
            )
        found = await self._shop.git.mapped(mapping, name=purl.name, version=purl.version)
        return Source(
            "mapping", found.file, found.as_source(), rules.parameters(recipes.parameters(mapping.recipe))
        )

    async def _source(self, request: Mapping[str, Any]) -> Source:
        """The source of a request, as this node gets it.

        Raises:
            Refusal: `digest-mismatch`, `lock-mismatch`.
        """
        body = request["source"]
        if _kind(request) == "claimed":
            path = await self._shop.claimed(request)
            return Source(
                "claimed",
                NamedFile(body["file"], path),
                body,
                rules.parameters(recipes.parameters(request["recipe"])),
            )
        purl = parse(request["purl"])
        mapping = self._shop.mapping(str(purl.versionless))
        if mapping is None:
            raise Refusal(
                "lock-mismatch",
                what=f"no mapping says where the source of {request['purl']} is",
                who="the request",
                do="have the image mapped first (`pyrsia package map`)",
            )
        found = await self._shop.git.mapped(mapping, name=purl.name, version=purl.version)
        git.same(body, found)
        return Source("mapping", found.file, body, rules.parameters(recipes.parameters(mapping.recipe)))

    async def _environment(self, want: Want) -> Environment:
        mapped = want.mapping.recipe.get("environment", "") if want.mapping else ""
        named = str(mapped or want.environment)
        if named:
            return await self._shop.environments.get(named)
        return self._shop.environments.chosen(self._shop.admitted(), "python", pure=True)

    async def _read(self, source: Source, environment: Environment, who: str) -> rules.Read:
        """
        Raises:
            Refusal: `bad-request`, naming the line of the Dockerfile and what to do instead.
        """
        native = names.native(environment.facts.get("arch", ""))
        platforms = tuple(source.parameters.get("platforms", native).split(","))
        file = source.parameters.get("dockerfile", "Dockerfile")
        job = {
            "operation": "read",
            "source": names.inner(source.file.name),
            "dockerfile": file,
            "platforms": platforms,
        }
        files = {names.inner(source.file.name): source.file.path}
        async with self._inside.run(job, files, phase=_PHASE, who=who, environment=environment) as answer:
            _refuse(answer.value, file)
            return rules.Read(int(answer.value["newest"]), platforms, tuple(answer.value["recipes"]))

    async def _inputs(self, read: rules.Read) -> list[Based]:
        """For each platform its base, and every line of the lock that it needs.

        Raises:
            Refusal: `not-found`, `no-environment`, `bad-request`.
        """
        found = []
        for platform, row in zip(read.platforms, read.rows, strict=True):
            base = await bases.of(self._shop, row["base"], platform, row["line"])
            found.append(base.with_lines(bases.published(self._shop, digest) for digest in row["origins"]))
        return found

    # -- composing --

    async def _composed(
        self, request: Mapping[str, Any], inputs: Inputs, folder: Path, log: bytearray, vary: bool
    ) -> tuple[Output, ...]:
        recipe, who = request["recipe"], request["purl"]
        environment = await self._shop.environments.get(recipe["environment"])
        source = Source("", inputs.source, {}, rules.parameters(recipes.parameters(recipe)))
        read = await self._read(source, environment, who)
        paths = {sha256: one.path for (_, sha256), one in zip(inputs.tools, inputs.files, strict=True)}
        based = await self._inputs(read)
        origins = {digest for row in read.rows for digest in row["origins"]}
        artifacts = {line.sha256: line.file for row in based for line in row.lines if line.sha256 in origins}
        inner = names.inner(inputs.source.name)
        files = {inner: inputs.source.path} | {sha256: paths[sha256] for sha256 in artifacts}
        job = {
            "operation": "compose",
            "artifacts": artifacts,
            "bases": {where: row.told for where, row in zip(read.platforms, based, strict=True)},
            "dockerfile": source.parameters.get("dockerfile", "Dockerfile"),
            "platforms": read.platforms,
            "sde": recipe["sde"],
            "source": inner,
            "vary": vary,
        }
        async with self._inside.run(
            job, files, phase="build", who=who, epoch=recipe["sde"], environment=environment
        ) as answer:
            log += answer.log
            if "dockerfile" in answer.value:
                told = answer.value["dockerfile"]
                raise PhaseFailed("build", str(told["what"])[:300], who=who, do=str(told["do"])[:300])
            made = answer.value
            for digest in {*made["blobs"], *made["manifests"], made["top"]}:
                await trio.to_thread.run_sync(outputs.take, answer.work / "out", folder, digest, who)
        layers = {one: folder / one for one, kind in made["blobs"].items() if kind == "layer"}
        inspected = await self._inspected(job, files, layers, who, environment, folder, log)
        found = [
            outputs.document(folder, f"sha256~{one}", one)
            for one, kind in made["blobs"].items()
            if kind == "config"
        ]
        found += [outputs.layer(folder, one, inspected[one]) for one in layers]
        below = {one.sha256 for row in based for one in row.told["layers"]} - set(layers)
        for digest in below:
            await trio.to_thread.run_sync(shutil.copyfile, paths[digest], folder / digest)
            found.append(outputs.document(folder, f"sha256~{digest}", digest))
        tag = request["coordinates"]["version"].replace(":", "~")
        found.append(outputs.document(folder, f"manifest~{tag}", made["top"]))
        others = (one for one in made["manifests"] if one != made["top"])
        found += [outputs.document(folder, f"manifest~sha256~{one}", one) for one in others]
        if len(found) > MAX_OUTPUTS.value:
            raise PhaseFailed("build", f"an image of {len(found)} blobs", who=who, do="use fewer COPY lines")
        return tuple(sorted(found, key=lambda one: one.name))

    async def _inspected(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        layers: Mapping[str, Path],
        who: str,
        environment: Environment,
        folder: Path,
        log: bytearray,
    ) -> Mapping[str, Mapping[str, Any]]:
        """Look at every layer in a sandbox that holds nothing of the one that made it."""
        asked = {key: job[key] for key in ("artifacts", "sde", "source")}
        asked |= {"operation": "inspect", "layers": sorted(layers)}
        async with self._inside.run(
            asked, {**files, **layers}, phase="normalise", who=who, environment=environment
        ) as answer:
            log += answer.log
            for digest in layers:
                data = read_plain(answer.work / f"members-{digest}", MAX_WORKER_RESULT_BYTES.value)
                if data is None:
                    raise PhaseFailed(
                        "normalise", "the inspection left no member list", who=who, do=outputs.AUTHOR
                    )
                keep(folder, f"members-{digest}", data)
            found: Mapping[str, Mapping[str, Any]] = answer.value["layers"]
            return found

    # -- normalise, compare, containment --

    async def normalise(self, blob: Path, sde: int, into: Path) -> tuple[Packed, str, tuple[str, ...]]:
        """The canonical form of any layer, plain or compressed, copied into `into`: file, stable digest, notes.

        Raises:
            PhaseFailed: it holds something that no image of ours may hold.
        """
        job = {"operation": "normalise", "sde": sde}
        async with self._inside.run(job, {"layer": blob}, phase="normalise", who="the layer") as answer:
            for name in ("canonical", "members"):
                await trio.to_thread.run_sync(outputs.copy, answer.work / name, into / name, "the layer")
            packed = Packed(file_out(into / "canonical"), file_out(into / "members"))
            return packed, str(answer.value["stable"]), tuple(answer.value["normalised"])

    async def containment(self, blob: Path, source: NamedFile) -> str:
        """`full`, `partial` or `none`: any node can ask this alone, trusting no builder."""
        inner = names.inner(source.name)
        job = {"operation": "normalise", "sde": 0, "source": inner, "artifacts": {}}
        files = {"layer": blob, inner: source.path}
        async with self._inside.run(job, files, phase="normalise", who="the layer") as answer:
            return str(answer.value["containment"])

    @staticmethod
    def compare(first: bytes, second: bytes) -> Difference:
        """Name the members in which two layers differ, from their published member lists.

        Raises:
            Malformed: one of them is not a member list.
        """
        return members.compare(members.decode(first), members.decode(second))


def _kind(request: Mapping[str, Any]) -> str:
    return "mapping" if "git" in request["source"] else "claimed"


def _refuse(value: Mapping[str, Any], file: str) -> None:
    told = value.get("dockerfile")
    if told is not None:
        raise Refusal(
            "bad-request",
            what=f"{file[:80]!a}, {str(told['what'])[:300]}",
            who="the source that was given",
            do=str(told["do"])[:300],
        )
