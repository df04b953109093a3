"""Where the source of a Maven build comes from: the operator's repositories, the mapped git repository, its author.

Each builder gets the source itself; what a request says of it is only compared. Without a mapping the source is the
archive that the project released beside its jar, or beside the parent of the same version that it was released with.

Source: docs/builds-maven.md, "Where the source comes from".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.inside import Inside
from pyrsia.builds.maven.coordinates import Artifact, of_request, parse_name, plain, release
from pyrsia.builds.maven.remotes import Remotes, other_digest
from pyrsia.builds.model import FileOut, SourceMapping, Want
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources import git
from pyrsia.errors import Refusal
from pyrsia.units import MAX_MAVEN_PAGE_BYTES, MAX_MAVEN_PARENTS, MAX_SOURCE_BYTES

# What Apache's projects and those built like them call the archive that their release is.
ARCHIVES: Final = ("-source-release.zip", "-src.zip", "-source-release.tar.gz", "-src.tar.gz")


@dataclass(frozen=True, slots=True)
class Origin:
    """A source, and who vouches for it.

    Attributes:
        kind: `registry`, `mapping` or `claimed`.
        artifact: what was asked for; None, or without a version, where the source itself must say.
        source: as the request names it.
        parameters: of the recipe, from a mapping or from who gave the source along.
    """

    kind: str
    artifact: Artifact | None
    source: dict[str, Any]
    path: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    mapping: SourceMapping | None = None

    @property
    def inner(self) -> str:
        return self.name_inside(self.source["file"])

    @staticmethod
    def name_inside(file: str) -> str:
        """A name for the sandbox that tells the kind of archive and nothing else."""
        return "source.zip" if file.endswith(".zip") else "source.tar.gz"


class Origins:
    """Brings sources, for the requests of others and for our own."""

    def __init__(self, shop: Shop, remotes: Remotes, inside: Inside) -> None:
        self._shop = shop
        self._remotes = remotes
        self._inside = inside

    @staticmethod
    def kind_of(request: Mapping[str, Any]) -> str:
        """How a request's body says that its source is to be had."""
        if "git" in request["source"]:
            return "mapping"
        return "claimed" if "manifest" in request["source"] else "registry"

    async def wanted(self, want: Want) -> Origin:
        """The source of what somebody asks for.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `bad-request`, `index-unreachable`.
        """
        if want.source is not None:
            given = want.source
            source = {"file": given.file, "sha256": given.sha256, "size": given.size}
            source |= {"manifest": given.manifest} if given.manifest else {}
            asked = None
            if want.name:
                asked = Artifact(*parse_name(want.name), release(want.version) if want.version else "")
            return Origin("claimed", asked, source, given.path, want.parameters)
        group, name = parse_name(want.name)
        version = release(want.version) if want.version else await self._newest(group, name)
        artifact = Artifact(group, name, version)
        mapping = want.mapping or self._shop.mapping(Artifact(group, name, "").purl())
        if mapping is not None:
            return (await self._mapped(artifact, mapping))[0]
        return await self._registry(artifact)

    async def of(self, request: Mapping[str, Any]) -> Origin:
        """The source of a request, as this node gets it.

        Raises:
            Refusal: `digest-mismatch` with both digests, `version-unknown`, `no-sdist`, `source-unreachable`.
        """
        artifact, named = of_request(request), request["source"]
        kind = self.kind_of(request)
        if kind == "claimed":
            parameters = {str(key): str(value) for key, value in request["recipe"].get("parameters", [])}
            return Origin(kind, artifact, dict(named), await self._shop.claimed(request), parameters)
        if kind == "mapping":
            mapping = self._shop.mapping(Artifact(artifact.group, artifact.name, "").purl())
            if mapping is None:
                raise _unmapped(artifact)
            origin, archive = await self._mapped(artifact, mapping)
            git.same(named, archive)
            return origin
        found = await self._registry(artifact)
        if found.source["sha256"] != named["sha256"]:
            raise other_digest(named["file"], found.source["sha256"], named["sha256"])
        return found

    # -- registry --

    async def _registry(self, artifact: Artifact) -> Origin:
        """The source archive that was released beside `artifact`, or beside the project that it is a module of."""
        pom = await self._remotes.find(artifact.path(".pom"), MAX_MAVEN_PAGE_BYTES.value)
        if pom is None:
            raise await self._unknown(artifact)
        owner: Artifact | None = artifact
        for _ in range(MAX_MAVEN_PARENTS.value):
            if owner is None:
                break
            for ending in ARCHIVES:
                file = await self._remotes.find(owner.path(ending), MAX_SOURCE_BYTES.value)
                if file is not None:
                    source = {"file": owner.file(ending), "sha256": file.sha256, "size": file.size}
                    return Origin("registry", artifact, source, file.path)
            owner = await self._released_with(owner, pom)
            if owner is not None:
                pom = await self._remotes.find(owner.path(".pom"), MAX_MAVEN_PAGE_BYTES.value)
        raise Refusal(
            "no-sdist",
            what=f"{artifact} was released without a source archive ({', '.join(ARCHIVES)})",
            who="the Maven repositories of your settings",
            do="ask for it with `witness`, or have its repository mapped: `pyrsia package map`",
        )

    async def _released_with(self, artifact: Artifact, pom: FileOut | None) -> Artifact | None:
        """The parent of `artifact` where it was released together with it: same version, same or shorter group."""
        if pom is None:
            return None
        job = {"operation": "pom", "pom": "pom.xml"}
        async with self._inside.run(
            job, {"pom.xml": pom.path}, phase="metadata", who=str(artifact)
        ) as answer:
            group, name, version = (str(part) for part in answer.value["parent"])
        together = version == artifact.version and f"{artifact.group}.".startswith(f"{group}.")
        return Artifact(group, name, version) if together and plain(group) and plain(name) else None

    async def _newest(self, group: str, name: str) -> str:
        """The newest release that the first repository with such a list names."""
        path = f"{group.replace('.', '/')}/{name}/maven-metadata.xml"
        listed = await self._remotes.find(path, MAX_MAVEN_PAGE_BYTES.value)
        if listed is None:
            raise _package_unknown(group, name)
        job = {"operation": "versions", "metadata": "list.xml"}
        async with self._inside.run(
            job, {"list.xml": listed.path}, phase="metadata", who=f"{group}:{name}"
        ) as answer:
            return release(str(answer.value["release"]))

    async def _unknown(self, artifact: Artifact) -> Refusal:
        path = f"{artifact.group.replace('.', '/')}/{artifact.name}/maven-metadata.xml"
        if await self._remotes.find(path, MAX_MAVEN_PAGE_BYTES.value) is None:
            return _package_unknown(artifact.group, artifact.name)
        return Refusal(
            "version-unknown",
            what=f"{artifact.group}:{artifact.name} has no version {artifact.version}",
            who="the Maven repositories of your settings",
            do="look at the versions that they have, or leave the version out",
        )

    # -- mapping --

    async def _mapped(self, artifact: Artifact, mapping: SourceMapping) -> tuple[Origin, git.GitArchive]:
        """The commit that the mapping's tag leads to now, packed."""
        found = await self._shop.git.mapped(mapping, name=artifact.name, version=artifact.version)
        parameters = {
            str(key): str(value) for key, value in dict(mapping.recipe.get("parameters", ())).items()
        }
        path = found.file.path
        return Origin("mapping", artifact, found.as_source(), path, parameters, mapping), found


def _package_unknown(group: str, name: str) -> Refusal:
    return Refusal(
        "package-unknown",
        what=f"no repository has {group}:{name}",
        who="the Maven repositories of your settings",
        do="check its spelling: group:artifact",
    )


def _unmapped(artifact: Artifact) -> Refusal:
    return Refusal(
        "lock-mismatch",
        what=f"the request takes {artifact} from a repository, and no mapping is enacted for it",
        who="the request",
        do="ask for the package again",
    )
