"""Where the recipe of a conan build comes from: the operator's remotes, the mapped repository, or its author.

Each builder gets it itself; what a request says of it is only compared.

Source: docs/builds-conan.md; docs/sources.md, "The rules of every fetch"; docs/ledger.md, "A request".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pyrsia.builds.conan import names, profile
from pyrsia.builds.conan.names import Ref
from pyrsia.builds.conan.planning import rrev_of
from pyrsia.builds.model import LocalSource, SourceMapping, Want
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources import git
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire.purl import Purl

Kind = Literal["claimed", "mapping", "registry"]
ANY: Final = ""  # name or version of a source that says so itself


@dataclass(frozen=True, slots=True)
class Origin:
    """A recipe, and who vouches for it.

    Attributes:
        ref: what was asked for; its name and version may be ANY.
        rrev: recipe revision that a remote is asked for; "" for its newest, and for other kinds.
        folder: the archive with the recipe's folder; None for a recipe of a remote.
        source: as a request names it; None for a recipe of a remote, whose archive planning packs.
        parameters: as they stand in the recipe.
        environment: that a mapping or a want names, or "".
    """

    kind: Kind
    ref: Ref
    rrev: str
    folder: LocalSource | None
    source: dict[str, Any] | None
    parameters: Mapping[str, str]
    environment: str = ""


def kind_of(request: Mapping[str, Any]) -> Kind:
    """How a request's body says that its recipe is to be had."""
    if "git" in request["source"]:
        return "mapping"
    return "claimed" if "manifest" in request["source"] else "registry"


def purl(ref: Ref) -> Purl:
    return Purl("conan", ref.namespace, ref.name, ref.version)


def ref_of(request: Mapping[str, Any]) -> Ref:
    """The package that a request's body names; raises `Malformed` for a name that Conan does not take."""
    coordinates = request["coordinates"]
    return names.from_namespace(coordinates.get("namespace", ""), coordinates["name"], coordinates["version"])


class Origins:
    """Brings recipes' folders, for the requests of others and for our own wants."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def wanted(self, want: Want) -> Origin:
        """
        Raises:
            Refusal: `bad-request`; for a mapped repository `version-unknown`, `source-unreachable`.
        """
        ref = _wanted(want)
        if want.source is not None:
            given = want.source
            source = {"file": given.file, "sha256": given.sha256, "size": given.size}
            source |= {"manifest": given.manifest} if given.manifest else {}
            parameters = checked(want.parameters)
            return Origin("claimed", ref, "", given, source, parameters, want.environment)
        if want.version is None:
            raise _bad(
                "a conan package is asked for with its version", "add it after the name, as in zlib@1.3.1"
            )
        mapping = want.mapping or self._shop.mapping(str(purl(ref).versionless))
        if mapping is not None:
            return (await self._mapped(ref, mapping, want.environment))[0]
        return Origin("registry", ref, "", None, None, checked(want.parameters), want.environment)

    async def of(self, request: Mapping[str, Any]) -> Origin:
        """The recipe of a request, as this node gets it.

        Raises:
            Refusal: `digest-mismatch`, `lock-mismatch`, `version-unknown`, `source-unreachable`, `bad-request`.
        """
        kind, named, ref = kind_of(request), request["source"], ref_of(request)
        if kind == "claimed":
            given = LocalSource(
                named["file"], await self._shop.claimed(request), named["sha256"], named["size"]
            )
            return Origin(kind, ref, "", given, dict(named), self._told(request))
        mapping = self._shop.mapping(str(purl(ref).versionless))
        if kind == "registry":
            # What a requester set stands under its own name, and is its own word; the rules set nothing.
            own = request["purl"].startswith("pkg:generic/")
            if mapping is not None and not own:
                raise _mismatch(
                    f"the recipe of {request['purl']} is in the repository that its mapping names",
                    "ask for it again",
                )
            parameters = self._told(request) if own else checked({})
            return Origin(kind, ref, rrev_of(named["file"]), None, None, parameters)
        if mapping is None:
            raise _mismatch(
                f"no mapping says where the source of {request['purl']} is",
                "have the package mapped first (`pyrsia package map`)",
            )
        origin, found = await self._mapped(ref, mapping, "")
        git.same(named, found)
        return origin

    @staticmethod
    def _told(request: Mapping[str, Any]) -> dict[str, str]:
        return checked(dict(request["recipe"].get("parameters", ())))

    async def _mapped(self, ref: Ref, mapping: SourceMapping, chosen: str) -> tuple[Origin, git.GitArchive]:
        found = await self._shop.git.mapped(mapping, name=ref.name, version=ref.version)
        folder = LocalSource(found.file.name, found.file.path, found.sha256, found.size)
        parameters = checked(dict(mapping.recipe.get("parameters", ())))
        environment = str(mapping.recipe.get("environment", "")) or chosen
        return Origin("mapping", ref, "", folder, found.as_source(), parameters, environment), found


def checked(told: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a recipe; raises `bad-request` for some that no conan recipe has."""
    try:
        return profile.checked(told)
    except Malformed as error:
        raise _bad(str(error), "change the parameters") from error


def _wanted(want: Want) -> Ref:
    """The reference of `zlib`, `zlib@user/channel`, or `user/channel/zlib` as a purl has it."""
    if not want.name and want.source is not None:
        return Ref(ANY, want.version or ANY)
    try:
        namespace, _, last = want.name.rpartition("/")
        if "@" in want.name:
            ref = names.titled(want.name, want.version or "0")
        else:
            ref = names.from_namespace(namespace, last, want.version or "0")
    except Malformed as error:
        raise _bad(str(error), "name it as Conan does: zlib, or zlib@user/channel") from error
    return Ref(ref.name, want.version or ANY, ref.user, ref.channel)


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the request", do=do)


def _mismatch(what: str, do: str) -> Refusal:
    return Refusal("lock-mismatch", what=what, who="the request", do=do)
