"""What the log publishes of Conan's packages, as shelves of revisions, and why the rest of it is not given.

A revision is shown only when all of its files may be given. Where one may not, the revision is not shown, and who asks
for it is told why: a client takes 404 as leave to ask its next remote, and stops at a refusal. What is withdrawn and
given by digest is not shown either; who writes its revision out (`zlib/1.3#rrev:id#prev`) gets it: these are digests.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Ref
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.desks.views import Catalog, ProjectFile, Refused
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

SHELVES: Final = Limit(2_000, "references remembered between two blocks; a client asks for some hundred")


@dataclass(frozen=True, slots=True)
class Published:
    """What the log has of one reference.

    Attributes:
        shelf: what anybody may choose. whole: that, and the revisions which are given to who writes them out.
        files: by published name, what may be given, so or so; the first of a name stays.
        kept_back: what is not listed.
    """

    shelf: rest.Shelf
    whole: rest.Shelf
    files: dict[str, ProjectFile]
    kept_back: tuple[Refused, ...]

    @property
    def held(self) -> bool:
        """Whether the log has any file of this version."""
        return bool(self.files or self.kept_back)

    def refusal(self, target: rest.Target) -> Refusal | None:
        """Why what `target` is about is not given; None where the log does not have it."""
        recipe = None
        for one in self.kept_back:
            try:
                place = names.place(one.file.filename)
            except Malformed:
                continue
            if target.reaches(place):
                return one.refusal
            if target.packages and place.rrev == target.rrev and not place.package_id:
                recipe = recipe or one.refusal  # a package of a recipe that is not given is not either
        return recipe


class Shelves:
    """The catalogue's packages, put in order once between two blocks."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._revision = -1
        self._shelves: dict[tuple[str, Ref], Published] = {}
        self._refs: dict[tuple[str, str], list[Ref]] = {}

    def of(self, owner: str, ref: Ref) -> Published:
        """What stands under `ref`. `owner`: the node whose claims are meant; "" for the names of all."""
        self._renew()
        found = self._shelves.get((owner, ref))
        if found is None:
            found = self._read(owner, ref)
            if len(self._shelves) >= SHELVES.value:
                del self._shelves[next(iter(self._shelves))]
            self._shelves[owner, ref] = found
        return found

    async def prepare(self, owner: str, name: str = "") -> None:
        """Look at packages in turns with others, so that `refs` answers at once."""
        self._renew()
        if (owner, name) not in self._refs:
            for package in self._packages(owner, name):
                await self._catalog.prepare(package)

    def refs(self, owner: str, name: str = "") -> Sequence[Ref]:
        """Every reference with a recipe that is given, or those of one name; of a package that has no such one the
        refused ones, so that its clients come and are told why."""
        self._renew()
        found = self._refs.get((owner, name))
        if found is None:
            if len(self._refs) >= SHELVES.value:
                del self._refs[next(iter(self._refs))]
            found = self._refs[owner, name] = list(self._references(owner, name))
        return found

    def _renew(self) -> None:
        revision = self._catalog.revision()
        if revision != self._revision:
            self._shelves.clear()
            self._refs.clear()
            self._revision = revision

    def _read(self, owner: str, ref: Ref) -> Published:
        files: dict[str, ProjectFile] = {}
        name = package_of(ref, owner)
        for file in self._catalog.files(name):
            if file.version == ref.version:
                files.setdefault(file.filename, file)
        kept_back = tuple(
            one
            for one in self._catalog.refused(name)
            if one.file.version == ref.version and one.file.filename not in files
        )
        listed = _shelf(files, kept_back)
        files |= {one.file.filename: one.file for one in kept_back if one.by_digest}
        whole = _shelf(files, [one for one in kept_back if one.file.filename not in files])
        return Published(listed, whole, files, kept_back)

    def _packages(self, owner: str, wanted: str) -> Iterable[str]:
        start = f"pkg:{purls.GENERIC}/{owner}/conan/" if owner else names.PURL
        last = str(Purl("conan", "", wanted, "")).rpartition("/")[2] if wanted else ""  # as purls write it
        return [one for one in self._catalog.packages(start) if not last or one.rpartition("/")[2] == last]

    def _references(self, owner: str, wanted: str) -> Iterable[Ref]:
        for name in self._packages(owner, wanted):
            given = {file.version for file in self._catalog.files(name)}
            found = [ref for ref in versions_of(name, given) if self.of(owner, ref).shelf.recipes()]
            if not found:
                found = versions_of(name, {one.file.version for one in self._catalog.refused(name)})
            yield from found


def _shelf(files: Mapping[str, ProjectFile], without: Iterable[Refused]) -> rest.Shelf:
    """The revisions of which nothing is kept back."""
    torn = {_revision(one.file.filename) for one in without}
    return rest.Shelf(
        [(name, file.upload_time_ms) for name, file in files.items() if _revision(name) not in torn]
    )


def _revision(filename: str) -> tuple[str, ...]:
    """The recipe or package revision that a published file is of: what stands in front of its own name."""
    return tuple(filename.split("~")[:-1])


def package_of(ref: Ref, owner: str = "") -> str:
    """The versionless purl of a reference."""
    package = Purl("conan", ref.namespace, ref.name, "")
    return str(purls.under(owner, package) if owner else package)


def ref_of(name: str, version: str) -> Ref:
    """The reference of a versionless purl and a version; raises `Malformed`."""
    package = purls.parse(name).package
    return names.from_namespace(package.namespace, package.name, version)


def versions_of(name: str, versions: Iterable[str]) -> list[Ref]:
    """The references of a versionless purl's versions, as far as Conan can say them."""
    found = []
    for version in versions:
        try:
            found.append(ref_of(name, version))
        except Malformed:
            continue  # a name that the log took and no Conan client can say
    return found
