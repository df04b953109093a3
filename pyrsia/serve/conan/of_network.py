"""Answers out of the log: its revisions, its bytes, its proofs, and its refusals."""

from collections.abc import Mapping
from typing import Final

import trio

from pyrsia.builds.conan import rest
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.errors import Refusal
from pyrsia.serve.answers import REVALIDATE, not_found, send_bundle, send_cached
from pyrsia.serve.bringing import brought, send_proof, send_published
from pyrsia.serve.conan.published import Published, package_of
from pyrsia.serve.conan.signing import BUNDLE, DIGESTS, FACTS, FOLDER, PROOF, Signing
from pyrsia.serve.conan.words import NETWORK_MARK, OCTETS, Call, no_such, send_json
from pyrsia.serve.desks.views import Catalog, ProjectFile
from pyrsia.units import MAX_CONAN_INFO_BYTES, Limit

INFOS = Limit(500, "packages whose settings one search tells; a recipe has some dozen")
_BESIDE: Final = (PROOF, BUNDLE)


class OfNetwork:
    """What the log publishes, for one catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._signing = Signing(catalog)

    async def answer(self, call: Call, published: Published) -> None:
        """
        Raises:
            Refusal: by policy; `not-found`; nobody gives the bytes.
        """
        if call.target.file and not await self._file(call, published):
            self._refuse(call, published)
        if call.target.file:
            return
        shelf = published.whole if _is_chosen(call) else published.shelf
        match rest.answer(call.path, call.query, lambda: (), lambda _: shelf):
            case rest.Json({"files": files}):
                here = _of_revision(published, call.target)
                listed = [*files, *await self._signing.listed(here)]
                await send_json(call.send, {"files": {name: {} for name in listed}}, NETWORK_MARK)
            case rest.Json(value):
                await send_json(call.send, value, NETWORK_MARK)
            case rest.Infos(_, places):
                await send_json(call.send, await self._infos(call, published, places), NETWORK_MARK)
            case _:
                self._refuse(call, published)

    def _refuse(self, call: Call, published: Published) -> None:
        """Say why there is nothing: the policy, or that the log has no such thing.

        Raises:
            Refusal: always.
        """
        refusal = published.refusal(call.target)
        if refusal is not None:
            raise refusal
        ref = call.target.ref
        if published.held:
            raise no_such(f"the network has {ref}, and not in this form")
        if call.owner:
            raise no_such(f"this node claims no {ref}")
        raise not_found(f"the network has no {ref}", do=f"ask for a build: {_order(ref)}")

    async def _file(self, call: Call, published: Published) -> bool:
        """Send one file; False for one that is not given."""
        target = call.target
        files = _of_revision(published, target)
        if target.file.startswith(FOLDER):
            return await self._signed(call, files)
        beside = next((one for one in _BESIDE if target.file.endswith(one)), "")
        file = files.get(target.file.removesuffix(beside))
        if file is None:
            return False
        if beside:
            await self._beside(call, file, beside)
            return True
        etag = b'"%b"' % file.sha256.encode("ascii")
        await send_published(
            self._catalog,
            call.scope,
            call.receive,
            call.send,
            file,
            kind=OCTETS,
            etag=etag,
            more=[NETWORK_MARK],
        )
        return True

    async def _signed(self, call: Call, files: Mapping[str, ProjectFile]) -> bool:
        target = call.target
        about = self._signing.beside(files, target.file)
        if about is not None:
            await self._beside(call, *about)
            return True
        if target.file not in (FACTS, DIGESTS) or not files:
            return False
        place = Place(target.rrev, target.file, target.package_id, target.prev)
        body, etag = self._signing.document(files, place)
        kind = b"application/json"
        await send_cached(
            call.scope, call.send, body, kind=kind, etag=etag, caching=REVALIDATE, more=[NETWORK_MARK]
        )
        return True

    async def _beside(self, call: Call, file: ProjectFile, suffix: str) -> None:
        if suffix == PROOF:
            await send_proof(self._catalog, call.scope, call.send, file)
        else:
            await send_bundle(call.scope, call.send, await self._catalog.attestations(file.sha256))

    async def _infos(
        self, call: Call, published: Published, places: Mapping[str, Place]
    ) -> dict[str, dict[str, str]]:
        """The settings of each package, out of its conaninfo.txt; one that nobody gives now is left out."""
        found: dict[str, dict[str, str]] = {}
        for package_id, place in list(places.items())[: INFOS.value]:
            file = published.files[str(place)]
            if file.size > MAX_CONAN_INFO_BYTES.value:
                continue
            try:
                path = await brought(self._catalog, call.receive, file)
            except Refusal:  # of the others a client may still find one that suits it
                continue
            found[package_id] = {"content": await trio.Path(path).read_text("utf-8", "replace")}
        return found


def _of_revision(published: Published, target: rest.Target) -> dict[str, ProjectFile]:
    """The files of the revision that `target` is in, by their own names; none of one that is not whole."""
    shelf = published.whole
    if target.packages:
        listed = shelf.package_files(target.rrev, target.package_id, target.prev)
    else:
        listed = shelf.recipe_files(target.rrev)
    places = {file: Place(target.rrev, file, target.package_id, target.prev) for file in listed}
    return {file: published.files[str(place)] for file, place in places.items()}


def _is_chosen(call: Call) -> bool:
    """Whether the client names one revision, or asks for all of them to find the one that it was given.

    Who was given none asks for `latest`, or searches: what is withdrawn is not among that.
    """
    return call.path.rpartition("/")[2] in ("files", "revisions")


def _order(ref: Ref) -> str:
    return f"pyrsia build request {package_of(ref)}@{ref.version}"
