"""Where the registry applications take packages from: the log, this node's own shelf, upstream. Protocols only.

Each versionless purl has one owner: local, then the network, then upstream (docs/consumers.md, "Who owns a name").
`Supply.owner` says which; an application asks only that one, but for versions that a proxy adds to a network's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pyrsia.errors import Refusal
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED
from pyrsia.serve.desks.views import Arriving as Arriving
from pyrsia.serve.desks.views import Catalog


@dataclass(frozen=True, slots=True)
class LocalRow:
    """One thing that was pushed under a local package.

    Attributes:
        key: the application's own name for it (`manifests/sha256:...`, `1.0/lib-1.0.jar`).
        sha256, size: of its bytes.
        by: name of the token that pushed it.
        more: what the application wants to remember (media type, other digests, where a tag leads).
    """

    package: str
    key: str
    sha256: str
    size: int
    time_ms: int
    by: str
    more: Mapping[str, str] = field(default_factory=dict)


class Upload(Protocol):
    """Bytes of one file on their way in; at most one request writes at a time.

    Attributes:
        id: unguessable text.
        package: versionless purl that it will belong to.
        size: bytes so far.
    """

    id: str
    package: str
    size: int

    async def write(self, piece: bytes) -> None:
        """Append.

        Raises:
            Refusal: `too-large` for one file, or `storage-full` when the quota is used up; the upload is dropped.
        """
        ...

    def digest(self, algorithm: str) -> str:
        """Hex of what was written so far: sha256 and what else the ecosystem's clients compare (sha512, sha1, md5)."""
        ...

    async def keep(self, key: str, *, by: str, more: Mapping[str, str] | None = None) -> LocalRow:
        """Durable when this returns, in the place of what stood under `key`. The upload is gone then."""
        ...

    async def peek(self) -> Path:
        """A file that holds what was written so far, to be read and no more; gone with the upload."""
        ...

    def drop(self) -> None:
        """Forget it and its bytes."""
        ...


class Local(Protocol):
    """Packages that were pushed to this node. Purls are versionless and canonical."""

    def owns(self, package: str) -> bool: ...

    def pushers_delete(self) -> bool:
        """Whether a push token may also take back what was pushed; `grants.require_delete` asks."""
        ...

    def revision(self) -> int:
        """Changes with every push and deletion."""
        ...

    def refusal(self, package: str, version: str) -> Refusal | None:
        """Why policy is against giving what was pushed as this version of a package; None: it is not.

        Registries ask it wherever they give bytes of this shelf; it changes with `Catalog.revision`.
        """
        ...

    def packages(self, start: str) -> Sequence[str]:
        """Owned purls that begin with `start`, sorted."""
        ...

    def rows(self, package: str, start: str = "", *, most: int | None = None) -> Sequence[LocalRow]:
        """What stands under keys that begin with `start`, sorted by key; of more the `most` pushed last."""
        ...

    def keys(self, package: str, start: str = "") -> Sequence[str]:
        """The keys of `rows`, without reading what stands there."""
        ...

    def row(self, package: str, key: str) -> LocalRow | None: ...

    def path(self, sha256: str) -> Path | None:
        """The bytes of a row; an immutable file."""
        ...

    async def open(self, package: str, *keys: str, by: str = "") -> Upload:
        """Begin an upload, for the token that is called so.

        Args:
            keys: all that will name its bytes, where they are known: so that there is room for each or none is written.

        Raises:
            Refusal: `busy` when there are too many, `denied` when the node takes no packages, `too-large` without room.
        """
        ...

    def upload(self, id: str) -> Upload | None:
        """One that was begun and neither kept nor dropped; idle ones are dropped after an hour."""
        ...

    async def link(
        self, package: str, key: str, sha256: str, *, by: str, more: Mapping[str, str] | None = None
    ) -> LocalRow | None:
        """A row for bytes that are here already (a mount, a second tag); None if they are not."""
        ...

    async def delete(self, package: str, key: str) -> bool:
        """Whether there was such a row. Bytes that no row names any more are deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """A page or list of upstream's, whole: at most a few MiB.

    Attributes:
        kind: its Content-Type.
        stale: upstream did not answer, and this is what it said before.
        url: where it came from in the end; relative links in it start there. Not for clients.
    """

    data: bytes
    kind: str
    stale: bool = False
    url: str = ""


class Upstream(Protocol):
    """Unverified packages, where the mode of an ecosystem is `proxy`. Ecosystems: pip, maven, conan, oci.

    A path is what the ecosystem's own clients ask for below a root that the operator configured, and it must be one
    of `package`'s: pip `six/` (a page), Maven `org/acme/lib/1.0/lib-1.0.jar`, Conan `v2/conans/zlib/1.3/_/_/latest`,
    images `v2/library/alpine/manifests/3` (a name of one part is also looked for below `library/`). A file of pip's is
    named by the absolute URL that a page of the same package gives it, with `.metadata` behind it for that; other URLs
    are refused.

    Which nodes a request has come through already (`serve.via`) is known from its head: this node asks nobody a
    second time for it.
    """

    def takes(self, package: str) -> bool:
        """Whether upstream may be asked for this versionless purl: by mode and globs, and by nothing that it has."""
        ...

    def proxies(self, ecosystem: str) -> bool:
        """Whether the ecosystem is in the mode `proxy`, so that there may be more than is known here."""
        ...

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        """What upstream has at `path` (below its configured root); None if it has nothing there.

        Raises:
            Refusal: `denied` outside of the mode and globs, `index-unreachable` with nothing kept to give instead.
        """
        ...

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Arriving | None:
        """A file of upstream's, from here or on its way; None if upstream has none there.

        A digest that is given must hold, or the last bytes never become ready. Raises as `document`.
        """
        ...

    def kept(self, package: str, path: str) -> Path | None:
        """The file if it is here whole; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Supply:
    """All of it, for one application to choose from."""

    network: Catalog
    local: Local
    upstream: Upstream

    def owner(self, package: str) -> str:
        """`LOCAL`, `NETWORK` or `PROXIED` (which may have nothing) for a versionless purl.

        A name that the log holds belongs to the network even where policy refuses each of its files. Nobody hears of
        the question: a name that is pushed here for the first time is as private as all that are.
        """
        if self.local.owns(package):
            return LOCAL
        return NETWORK if self.network.holds(package) else PROXIED


class NoLocal:
    """The shelf of a node that takes no packages: nothing is on it."""

    def owns(self, package: str) -> bool:
        return False

    def pushers_delete(self) -> bool:
        return False

    def revision(self) -> int:
        return 0

    def refusal(self, package: str, version: str) -> Refusal | None:
        return None

    def packages(self, start: str) -> Sequence[str]:
        return ()

    def rows(self, package: str, start: str = "", *, most: int | None = None) -> Sequence[LocalRow]:
        return ()

    def keys(self, package: str, start: str = "") -> Sequence[str]:
        return ()

    def row(self, package: str, key: str) -> LocalRow | None:
        return None

    def path(self, sha256: str) -> Path | None:
        return None

    async def open(self, package: str, *keys: str, by: str = "") -> Upload:
        raise Refusal(
            "denied",
            what="this node takes no packages",
            who="its configuration",
            do="its operator sets local.quota_gb in config.toml",
        )

    def upload(self, id: str) -> Upload | None:
        return None

    async def link(
        self, package: str, key: str, sha256: str, *, by: str, more: Mapping[str, str] | None = None
    ) -> LocalRow | None:
        return None

    async def delete(self, package: str, key: str) -> bool:
        return False


class NoUpstream:
    """No ecosystem is in the mode `proxy`."""

    def takes(self, package: str) -> bool:
        return False

    def proxies(self, ecosystem: str) -> bool:
        return False

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        return None

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Arriving | None:
        return None

    def kept(self, package: str, path: str) -> Path | None:
        return None


def of_log(catalog: Catalog) -> Supply:
    """What a node serves that has nothing but the log."""
    return Supply(catalog, NoLocal(), NoUpstream())
