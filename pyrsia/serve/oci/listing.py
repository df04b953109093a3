"""Lists: tags of an image, names of images, referrers of a manifest; who refers to what, by whom it is owned.

Source: OCI distribution-spec 1.1, "Listing Tags", "Listing Referrers"; `_catalog` is Docker's registry's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from pyrsia.builds.oci import documents
from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.answers import REVALIDATE, send_body
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.serve.http.reading import Header
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.oci import names, replies
from pyrsia.serve.oci.attested import Attested
from pyrsia.serve.oci.errors import VERSION
from pyrsia.serve.oci.images import Image, Images
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.proxying import Proxied
from pyrsia.serve.oci.replies import Request, page
from pyrsia.serve.oci.shelf import DOCKER, MANIFEST, REFERRER, Shelf
from pyrsia.units import Limit

MAX_REFERRERS = Limit(512, "of one page: a manifest each is read; a client follows the Link")
MAX_READ_BYTES = Limit(16 << 20, "of manifests for one page of referrers; usual ones have some kB")
MAX_LIST_BYTES = Limit(4 << 20, "of one page of referrers, which clients take as a manifest")


class _Annotated(msgspec.Struct):
    """What a list tells of a manifest; the rest is passed over, which takes a hundredth of the time of reading it."""

    annotations: dict[str, Any] | None = None


class Lists:
    """`tags/list`, `_catalog`, `referrers/`."""

    def __init__(
        self, supply: Supply, shelf: Shelf, images: Images, attested: Attested, proxied: Proxied
    ) -> None:
        self._supply = supply
        self._shelf = shelf
        self._images = images
        self._attested = attested
        self._proxied = proxied
        self._named: Sequence[str] = ()
        self._named_at = (-1, -1)

    async def tags(self, request: Request, name: Name) -> None:
        mark: Header = replies.LOCAL
        if self._shelf.owns(name):
            found = set(self._shelf.tags(name))
        else:
            image = await self._images.look(name)
            found, mark = set(image.tags), replies.NETWORK
            if self._proxied.takes(name):
                more = await self._upstreams(request, name, image)
                mark = replies.PROXIED if more - found else mark
                found |= more
            elif not image.known:
                raise replies.name_unknown(name, how_to_get(name))
        rows, link = page(sorted(found), name.address("tags/list"), request)
        await request.json({"name": name.asked, "tags": rows}, link=link, more=(mark,))

    async def _upstreams(self, request: Request, name: Name, image: Image) -> set[str]:
        """Tags that upstream adds. The log's are told whether or not upstream answers."""
        try:
            found = await self._proxied.tags(request, name)
        except (Refusal, Unavailable):
            if not image.known:
                raise
            found = None
        if found is None and not image.known:
            raise replies.name_unknown(name, "neither the log nor upstream has it")
        return {tag for tag in found or () if tag not in image.refused}

    async def catalogue(self, request: Request) -> None:
        """Names of images: local, then the log's; what a node claims stands behind its id."""
        found = self._names()
        rows, link = page(found, "/v2/_catalog", request)
        await request.json({"repositories": rows}, link=link)

    def _names(self) -> Sequence[str]:
        """Sorted; made once for each change, since a log has many packages."""
        network, local = self._supply.network, self._supply.local
        now = (network.revision(), local.revision())
        if now != self._named_at:
            purls = {*local.packages(DOCKER), *network.packages(DOCKER), *network.packages("pkg:generic/")}
            self._named = sorted({name for name in map(names.shown, purls) if name})
            self._named_at = now
        return self._named

    async def referrers(self, request: Request, name: Name, subject: str) -> None:
        """An unknown subject has an empty list."""
        algorithm, found = names.digest(subject)
        wanted = request.query.get("artifactType", "")
        link, mark = "", replies.NETWORK
        rows: list[Mapping[str, Any]]
        if self._shelf.owns(name):
            rows, link = await self._pushed(request, name, subject, wanted)
            mark = replies.LOCAL
        else:
            image = await self._images.look(name)
            made: Sequence[Mapping[str, Any]] = ()
            if algorithm == "sha256":
                ask = partial(self._attested.referrers, name.package, image, found)
                made = await while_there(request.receive, ask)
            rows = [one for one in made if not wanted or one.get("artifactType") == wanted]
        value = {"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": rows}
        headers: list[Header] = [
            (b"content-type", documents.INDEX.encode("ascii")),
            (b"cache-control", REVALIDATE),
            VERSION,
            mark,
        ]
        if wanted:
            headers.append((b"oci-filters-applied", b"artifactType"))
        if link:
            headers.append((b"link", link.encode("ascii")))
        await send_body(request.send, 200, msgspec.json.encode(value), headers)

    async def _pushed(
        self, request: Request, name: Name, subject: str, wanted: str
    ) -> tuple[list[Mapping[str, Any]], str]:
        """A page of what refers to a local manifest, in the order of digests."""
        start, last = f"{REFERRER}{subject}/", request.query.get("last", "")
        every = self._supply.local.rows(name.package, start)
        standing = self._supply.local.row(name.package, MANIFEST + subject)
        if standing is not None:
            self._shelf.judge(name, subject, standing)
        left = [row for row in _of_type(every, wanted) if row.key.removeprefix(start) > last]
        rows: list[Mapping[str, Any]] = []
        seen = taken = read = 0
        for row in left[: MAX_REFERRERS.value]:
            data = await self._shelf.document(row)
            seen, read = seen + 1, read + row.size
            if data is not None:
                rows.append(described(data, row.key.removeprefix(start), row))
                taken += len(msgspec.json.encode(rows[-1]))
            if taken > MAX_LIST_BYTES.value or read > MAX_READ_BYTES.value:
                break
            await trio.lowlevel.checkpoint()
        if seen == len(left):
            return rows, ""
        behind = left[seen - 1].key.removeprefix(start)
        address = name.address(f"referrers/{subject}")
        join = "&" if "?" in address else "?"
        kind = f"&artifactType={quote(wanted, safe='')}" if wanted else ""
        return rows, f'<{address}{join}last={quote(behind, safe="")}{kind}>; rel="next"'


def described(data: bytes, digest: str, row: LocalRow) -> Mapping[str, Any]:
    """A referrer as a list has it: its own annotations, and what it is."""
    found: dict[str, Any] = {"mediaType": row.more["kind"], "digest": digest, "size": row.size}
    if kind := row.more.get("artifact"):
        found["artifactType"] = kind
    try:
        annotations = msgspec.json.decode(data, type=_Annotated).annotations
    except (msgspec.MsgspecError, RecursionError):
        return found
    if annotations is not None:
        found["annotations"] = annotations
    return found


def how_to_get(name: Name) -> str:
    return f"ask for it: pyrsia build request {name.package}@TAG builds it, or witnesses it at its registry"


def _of_type(rows: Sequence[LocalRow], wanted: str) -> Iterator[LocalRow]:
    return (row for row in rows if not wanted or row.more.get("artifact") == wanted)
