"""What an image is called: one package for every form in which clients and their mirrors write it.

`alpine`, `library/alpine`, `docker.io/library/alpine`, `dockerhub/alpine` and any of them with `?ns=docker.io` are
`pkg:docker/alpine`. An image of another registry has that registry's host in front, whether a client says it in the
path or in `ns`: `pkg:docker/ghcr.io/org/app`, which is never taken for Docker Hub's `org/app`. `<NodeId>/<name>` is
what that node claims (`wire.purl.under`). `ns` only makes a name: nothing is ever contacted because of it.

Source: OCI distribution-spec, "Pulling manifests" (grammar) and "Registry Proxying" (`ns`); docs/consumers-oci.md.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from pyrsia.errors import Malformed
from pyrsia.serve.oci.errors import Problem
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import NODE_ID, safe

MAX_NAME_CHARS = Limit(255, "what clients keep a host and a name in")

_NAMES: Final = 4_096  # that are read once; a stranger's name only pushes another out
_HUB: Final = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"))
_HUB_FOLDERS: Final = (*_HUB, "dockerhub")  # what mirrors are told to put in front of Docker Hub's names
_LIBRARY: Final = "library/"
_HOST: Final = re.compile(r"[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)+")
_TAG: Final = re.compile("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Name:
    """An image, as it was asked for and as it is known here.

    Attributes:
        asked: the path's own spelling, for addresses in answers.
        space: what `ns` said, "" without it.
        package: versionless purl.
        spellings: purls under which the log may hold it, `package` first.
    """

    asked: str
    space: str
    package: str
    spellings: tuple[str, ...]

    def address(self, rest: str) -> str:
        """A place below this name, for `Location`."""
        more = f"?ns={quote(self.space, safe='')}" if self.space else ""
        return f"/v2/{self.asked}/{rest}{more}"


@lru_cache(_NAMES)
def read(asked: str, space: str = "") -> Name:
    """
    Raises:
        Problem: it is no name, or `space` is no registry's.
    """
    host = space.lower()
    if len(asked) > MAX_NAME_CHARS.value:
        raise _no_name(asked, f"it has more than {MAX_NAME_CHARS.value} characters")
    if host and not (space.isascii() and (host in _HUB or _HOST.fullmatch(host))):
        raise _no_name(asked, "ns= is no host of a registry")
    owner, _, rest = asked.partition("/")
    if not host and rest and NODE_ID.fullmatch(owner):
        purl = str(purls.under(owner, _package(asked, rest)))
        return Name(asked, space, purl, (purl,))
    plain = _plain(asked, host)
    purl = str(_package(asked, plain))
    both = (purl,) if "/" in plain else (purl, str(_package(asked, _LIBRARY + plain)))
    return Name(asked, space, purl, both)


def shown(purl: str) -> str:
    """`pkg:docker/team/app` -> `team/app`, with the node's id in front of what it claims; "" for another type."""
    found = purls.parse(purl)
    package = found.package
    if package.type != "docker":
        return ""
    name = "/".join(part for part in (package.namespace, package.name) if part)
    return f"{found.owner}/{name}" if found.owner else name.removeprefix(_LIBRARY)


def at_registry(purl: str) -> str:
    """What the image's registry calls it: without the host that stands in front here."""
    package = purls.parse(purl).package
    name = "/".join(part for part in (package.namespace, package.name) if part)
    host, _, rest = name.partition("/")
    return rest if rest and _HOST.fullmatch(host) else name


def is_tag(reference: str) -> bool:
    return _TAG.fullmatch(reference) is not None


def digest(text: str) -> tuple[str, str]:
    """(algorithm, lower-case hex).

    Raises:
        Problem: DIGEST_INVALID.
    """
    if not _DIGEST.fullmatch(text):
        raise Problem(
            400,
            "DIGEST_INVALID",
            f"{safe(text[:80])} is no digest",
            "write sha256: or sha512: and the digest in lower-case hex",
        )
    algorithm, _, found = text.partition(":")
    return algorithm, found


def _plain(asked: str, host: str) -> str:
    """The name below Docker Hub, or behind another registry's host."""
    folder, _, rest = asked.partition("/")
    if host and host not in _HUB:
        return asked if rest and folder == host else f"{host}/{asked}"
    return below_hub(asked)


def below_hub(name: str) -> str:
    """Docker Hub's name without the folders that mirrors put in front; any other name as it is."""
    folder, _, rest = name.partition("/")
    while rest and folder in _HUB_FOLDERS:  # a second one would be another name of the same image
        name = rest
        folder, _, rest = name.partition("/")
    below = name.removeprefix(_LIBRARY)
    return name if "/" in below else below


def _package(asked: str, name: str) -> Purl:
    namespace, _, last = name.rpartition("/")
    try:
        return purls.parse(str(Purl("docker", namespace, last, "")))
    except Malformed as error:
        raise _no_name(asked, str(error)) from None


def _no_name(asked: str, why: str) -> Problem:
    return Problem(
        400, "NAME_INVALID", f"{safe(asked[:80])} is no name of an image: {why}", "check its spelling"
    )
