"""Revisions that people push to this node: on their way in, visible, and taken back.

A revision becomes visible by its conanmanifest.txt, which clients send behind its other files: what came before is
compared with the manifest, everything is kept, the manifest last. Until then nothing of it is on the shelf. A visible
revision does not change, since its name is the digest of what it holds; files below `metadata/` may, as Conan has it.

The key of a file is the end of its address: `1.0/revisions/<rrev>/files/conanfile.py`.

Source: Conan 2, `conan/internal/rest/rest_client_v2.py` (`_upload_files`), `file_uploader.py` (X-Checksum-Deploy),
`conan/internal/model/manifest.py`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import trio

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.conan.published import package_of, versions_of
from pyrsia.serve.conan.signing import BUNDLE, FACTS, PROOF
from pyrsia.serve.desks.supply import Local, LocalRow, Upload
from pyrsia.units import MAX_CONAN_INFO_BYTES, MAX_CONAN_MANIFEST_BYTES, Limit

METADATA: Final = "metadata/"
STAGED = Limit(
    96, "files without their manifest, four a revision; beyond, the oldest are sent again by their client"
)
FILES = Limit(200, "files of one revision: four of Conan's own, and what plugins put below metadata/")
PATH_CHARS = Limit(300, "of a file below metadata/")
KEPT = Limit(2_000, "shelves of references remembered between two pushes")

_PACKED: Final = r"\.(?:tgz|txz|tzst)"
_RECIPE_FILE: Final = re.compile(
    rf"conanfile\.py|conanmanifest\.txt|conan_(?:export|sources){_PACKED}|metadata/.+"
)
_PACKAGE_FILE: Final = re.compile(rf"conaninfo\.txt|conanmanifest\.txt|conan_package{_PACKED}|metadata/.+")
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=~ -]{0,120}|\.[A-Za-z0-9_][A-Za-z0-9_.+-]{0,120}")
_RREV: Final = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{40}"
)  # the hash of the recipe, or a commit (revision_mode scm)


def place_of(target: rest.Target) -> Place:
    """Where a pushed file goes.

    Raises:
        Malformed: no client of Conan's pushes such a file.
    """
    if _RREV.fullmatch(target.rrev) is None or not target.file:
        raise Malformed("not a file of a Conan revision")
    known = _PACKAGE_FILE if target.packages else _RECIPE_FILE
    parts = target.file.split("/")
    if (
        known.fullmatch(target.file) is None
        or len(target.file) > PATH_CHARS.value
        or any(_PART.fullmatch(part) is None for part in parts)
        or target.file == FACTS
        or target.file.endswith((PROOF, BUNDLE))  # what a node claims stands in the log, and nobody brings it
    ):
        raise Malformed(f"not a file of a Conan revision: {target.file[:80]!r}")
    if target.packages and not (names.is_package_id(target.package_id) and names.is_revision(target.prev)):
        raise Malformed("not the address of a Conan package")
    return Place(target.rrev, target.file, target.package_id, target.prev)


def key_of(version: str, place: Place) -> str:
    """The key of a file on the shelf."""
    return f"{_start(version, place)}files/{place.file}"


def read_key(key: str) -> tuple[str, Place] | None:
    """Version and place of a key; None for one that `key_of` does not write."""
    version, _, path = key.partition("/")
    try:
        target = rest.target(f"v2/conans/xx/{version}/_/_/{path}")
        return (version, place_of(target)) if target is not None else None
    except Malformed:
        return None


def _start(version: str, place: Place) -> str:
    inside = f"packages/{place.package_id}/revisions/{place.prev}/" if place.package_id else ""
    return f"{version}/revisions/{place.rrev}/{inside}"


@dataclass(frozen=True, slots=True)
class Staged:
    """A file of a revision that is not visible yet: its upload, or (None) bytes that are on the shelf already."""

    sha256: str
    md5: str
    sha1: str
    upload: Upload | None


@dataclass(slots=True)
class _Arrivals:
    """The files of one revision so far, by name."""

    files: dict[str, Staged] = field(default_factory=dict)

    def take(self, file: str) -> None:
        old = self.files.pop(file, None)
        if old is not None and old.upload is not None:
            old.upload.drop()

    def drop(self) -> None:
        for file in list(self.files):
            self.take(file)


class Pushed:
    """The node's own shelf, as Conan has it."""

    def __init__(self, local: Local, policy_revision: Callable[[], int]) -> None:
        """`policy_revision` changes whenever `Local.refusal` may."""
        self._local = local
        self._policy_revision = policy_revision
        self._revision = (-1, -1)
        self._refs: list[Ref] | None = None
        self._whole: dict[
            str, Collection[str]
        ] = {}  # package -> versions; all that changes them goes this way
        self._shelves: dict[Ref, rest.Shelf] = {}
        self._arrivals: dict[
            tuple[str, str], _Arrivals
        ] = {}  # by package and start of the keys, oldest first
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    # -- reading --

    def of(self, ref: Ref) -> rest.Shelf:
        """What is visible of a reference."""
        self._renew()
        found = self._shelves.get(ref)
        if found is None:
            found = rest.Shelf(())
            rows = self._local.rows(package_of(ref), f"{ref.version}/")
            for row in sorted(rows, key=lambda one: (one.time_ms, int(one.more.get("order", "0")))):
                known = read_key(row.key)
                if known is not None:
                    # A revision is as old as its manifest: metadata may come years later.
                    late = known[1].file.startswith(METADATA)
                    found.add(known[1], 0 if late else row.time_ms)
            if len(self._shelves) >= KEPT.value:
                del self._shelves[next(iter(self._shelves))]
            self._shelves[ref] = found
        return found

    def refs(self) -> list[Ref]:
        """Every reference with a visible recipe; a denied one where its package has no other: who asks is told why."""
        self._renew()
        if self._refs is None:
            self._refs = list(self._references())
        return self._refs

    def _references(self) -> Iterable[Ref]:
        for package in self._local.packages(names.PURL):
            found = versions_of(package, self._versions(package))
            given = [ref for ref in found if self._local.refusal(package, ref.version) is None]
            yield from given or found

    def _versions(self, package: str) -> Collection[str]:
        """Those with a visible recipe. Remembered, since a package may have thousands of files."""
        found = self._whole.get(package)
        if found is None:
            recipes: dict[str, set[str]] = {}
            for key in self._local.keys(package):
                start, _, file = key.rpartition("/files/")
                if file in (names.MANIFEST, names.CONANFILE) and "/packages/" not in start:
                    recipes.setdefault(start, set()).add(file)
            found = {start.partition("/")[0] for start, files in recipes.items() if rest.whole_recipe(files)}
            if len(self._whole) >= KEPT.value:
                self._whole.clear()
            self._whole[package] = found
        return found

    def row(self, ref: Ref, place: Place) -> LocalRow | None:
        return self._local.row(package_of(ref), key_of(ref.version, place))

    async def text(self, ref: Ref, place: Place) -> str | None:
        """A small text file; None for what is none."""
        row = self.row(ref, place)
        path = self._local.path(row.sha256) if row is not None else None
        if row is None or path is None or row.size > MAX_CONAN_INFO_BYTES.value:
            return None
        return await trio.Path(path).read_text("utf-8", "replace")

    def _renew(self) -> None:
        revision = (self._local.revision(), self._policy_revision())
        if revision != self._revision:
            self._shelves.clear()
            self._refs = None
            self._revision = revision

    # -- pushing --

    async def take(self, ref: Ref, place: Place, upload: Upload, manifest: bytes, by: str) -> None:
        """Take one whole file. `manifest`: its bytes, if it is the manifest.

        Raises:
            Refusal: `conflict` for other bytes of a visible revision, `bad-request` for a manifest that the files
                before it do not fit. The upload is dropped.
        """
        staged = Staged(upload.digest("sha256"), upload.digest("md5"), upload.digest("sha1"), upload)
        try:
            await self._place(ref, place, staged, manifest, by)
        except BaseException:
            upload.drop()
            raise

    async def again(self, ref: Ref, place: Place, sha1: str, by: str) -> bool:
        """Take a file whose bytes are here already under this package; False if they are not. Raises as `take`."""
        row = self._by_sha1(package_of(ref), sha1)
        if row is None:
            return False
        manifest = b""
        if place.file == names.MANIFEST:
            path = self._local.path(row.sha256)
            if path is None or row.size > MAX_CONAN_MANIFEST_BYTES.value:
                return False
            manifest = await trio.Path(path).read_bytes()
        await self._place(ref, place, Staged(row.sha256, row.more.get("md5", ""), sha1, None), manifest, by)
        return True

    def _by_sha1(self, package: str, sha1: str) -> LocalRow | None:
        rows = self._local.rows(package) if re.fullmatch(r"[0-9a-f]{40}", sha1) else ()
        return next((row for row in rows if row.more.get("sha1") == sha1), None)

    async def _place(self, ref: Ref, place: Place, staged: Staged, manifest: bytes, by: str) -> None:
        package = package_of(ref)
        lock = self._locks.setdefault(package, trio.Lock())
        async with lock:
            if self._visible(ref, place):
                await self._replace(ref, place, staged, by, manifest)
            elif place.file == names.MANIFEST:
                await self._finish(ref, place, staged, manifest, by)
            else:
                self._stage(package, ref, place, staged)

    def _visible(self, ref: Ref, place: Place) -> bool:
        return self.row(ref, Place(place.rrev, names.MANIFEST, place.package_id, place.prev)) is not None

    async def _replace(self, ref: Ref, place: Place, staged: Staged, by: str, manifest: bytes) -> None:
        """A file of a visible revision: the same once more, or metadata."""
        row = self.row(ref, place)
        if place.file.startswith(METADATA):
            start = _start(ref.version, place)
            # Below `files/`: a recipe's packages stand behind the same start, and have bounds of their own.
            if row is None and len(self._local.keys(package_of(ref), f"{start}files/")) >= FILES.value:
                raise _too_many()
            await self._keep(ref, place, staged, by)
            return
        same = row is not None and row.sha256 == staged.sha256
        if not same and place.file == names.MANIFEST:
            # Another machine exported the same recipe at another time: the first line is that time.
            old = self._local.path(row.sha256) if row is not None else None
            same = old is not None and _lines(await trio.Path(old).read_bytes()) == _lines(manifest)
        if not same:
            here = f"{place.file} of {ref}#{place.prev or place.rrev} is here with other bytes"
            raise Refusal(
                "conflict",
                what=f"{here}, and a revision does not change",
                who="the client's request",
                do="push what is changed as a new revision, or delete this one first: conan remove",
            )
        if staged.upload is not None:
            staged.upload.drop()

    def _stage(self, package: str, ref: Ref, place: Place, staged: Staged) -> None:
        key = (package, _start(ref.version, place))
        arrivals = self._arrivals.pop(key, None) or _Arrivals()
        self._arrivals[key] = arrivals  # the youngest now
        arrivals.take(place.file)
        while sum(len(one.files) for one in self._arrivals.values()) >= STAGED.value:
            if len(self._arrivals) == 1:
                raise _too_many()
            self._arrivals.pop(next(iter(self._arrivals))).drop()
        arrivals.files[place.file] = staged

    async def _finish(self, ref: Ref, place: Place, staged: Staged, manifest: bytes, by: str) -> None:
        """The manifest came: keep all, and the manifest last."""
        key = (package_of(ref), _start(ref.version, place))
        arrivals = self._arrivals.get(key, _Arrivals())
        lost = [file for file, one in arrivals.files.items() if one.upload and self._gone(one.upload)]
        for file in lost:
            arrivals.take(file)
        _fits(manifest, arrivals.files, package=bool(place.package_id))
        for row in self._local.rows(key[0], f"{key[1]}files/"):
            known = read_key(row.key)
            if known is not None and known[1].file not in arrivals.files:
                # Left by a deletion or a push that was cut short; where nothing is taken back, it stays unnamed.
                with suppress(Refusal):
                    await self._delete(key[0], row.key)
        for file, one in sorted(arrivals.files.items()):
            await self._keep(ref, Place(place.rrev, file, place.package_id, place.prev), one, by)
        await self._keep(ref, place, staged, by)
        self._arrivals.pop(key, None)

    def _gone(self, upload: Upload) -> bool:
        return self._local.upload(upload.id) is None

    async def _keep(self, ref: Ref, place: Place, staged: Staged, by: str) -> None:
        # Of two pushes in one millisecond the later one is the later one.
        more = {"sha1": staged.sha1, "md5": staged.md5, "order": str(self._local.revision())}
        package, key = package_of(ref), key_of(ref.version, place)
        try:
            if staged.upload is not None:
                await staged.upload.keep(key, by=by, more=more)
            elif await self._local.link(package, key, staged.sha256, by=by, more=more) is None:
                raise _sent_again(place.file)
        finally:
            self._whole.pop(package, None)

    async def _delete(self, package: str, key: str) -> None:
        try:
            await self._local.delete(package, key)
        finally:
            self._whole.pop(package, None)

    # -- taking back --

    async def delete(self, target: rest.Target) -> bool:
        """Delete all that `target` is about, its manifests first; whether there was anything."""
        ref = target.ref
        package = package_of(ref)
        async with self._locks.setdefault(package, trio.Lock()):
            found = []
            for row in self._local.rows(package, f"{ref.version}/"):
                known = read_key(row.key)
                if known is not None and target.reaches(known[1]):
                    found.append((known[1], row.key))
            # A recipe without its manifest shows none of its packages, so that goes first of all.
            found.sort(key=lambda one: (one[0].file != names.MANIFEST, bool(one[0].package_id)))
            for _, key in found:
                await self._delete(package, key)
            return bool(found)


def _lines(manifest: bytes) -> bytes:
    return manifest.partition(b"\n")[2]


def _fits(manifest: bytes, files: Mapping[str, Staged], *, package: bool) -> None:
    """Whether the files before a manifest are those that it speaks of.

    Raises:
        Refusal: `bad-request`.
    """
    sums = _sums(manifest)
    missing = _missing_of_package(files) if package else _missing_of_recipe(sums, files)
    if missing:
        raise Refusal(
            "bad-request",
            what=f"the manifest came before {missing}: a revision is whole with its manifest",
            who="the client's request",
            do="send the other files first; conan upload does, so run it again",
        )
    said = names.INFO if package else names.CONANFILE
    for file, staged in files.items():
        if (file == said or file in sums) and sums.get(file) != staged.md5:
            raise Refusal(
                "bad-request",
                what=f"the MD5 of {file} is not what the manifest says",
                who="the client's request",
                do="run conan cache check-integrity on the package, then upload it again",
            )


def _missing_of_package(files: Collection[str]) -> str:
    whole = rest.whole_package({*files, names.MANIFEST})
    return "" if whole else f"{names.INFO} and one conan_package file"


def _missing_of_recipe(sums: Collection[str], files: Collection[str]) -> str:
    """A manifest lists every file of a recipe, and all but conanfile.py travel in one of two archives.

    Source: Conan 2, `conan/internal/api/uploader.py` (`_compress_recipe_files`).
    """
    if names.CONANFILE not in files:
        return names.CONANFILE
    sources = {file for file in sums if file.startswith("export_source/")}
    for start, needed in (
        ("conan_sources.", sources),
        ("conan_export.", set(sums) - sources - {names.CONANFILE}),
    ):
        if needed and not any(file.startswith(start) for file in files):
            return f"{start}tgz"
    return ""


def _sums(manifest: bytes) -> dict[str, str]:
    """File -> MD5 of a manifest.

    Raises:
        Refusal: `bad-request`: it is none.
    """
    time, _, lines = manifest.partition(b"\n")
    found: dict[str, str] = {}
    for line in lines.decode("utf-8", "replace").splitlines():
        file, colon, md5 = line.rpartition(": ")
        if not colon or re.fullmatch(r"[0-9a-f]{32}", md5) is None:
            break
        found[file] = md5
    else:
        if time.isdigit():
            return found
    raise Refusal(
        "bad-request",
        what="conanmanifest.txt is no manifest",
        who="the client's request",
        do="it begins with a time, then has lines of `file: MD5`",
    )


def _too_many() -> Refusal:
    return Refusal(
        "too-large",
        what=f"a revision has at most {FILES.value} files",
        who="the client's request",
        do="pack what stands below metadata/ into one archive",
    )


def _sent_again(file: str) -> Refusal:
    return Refusal(
        "unavailable",
        what=f"{file} is not here any more",
        who="this node's shelf, which somebody deletes from",
        do="run conan upload again",
    )
