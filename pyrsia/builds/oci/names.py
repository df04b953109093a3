"""How an image is named: in words, as a purl, and its files among the results.

A result's files are `sha256~<hex>` for each blob (layers and configurations), `manifest~<tag>` for what the tag leads
to, and `manifest~sha256~<hex>` for each platform's manifest below an index.

Source: docs/builds-oci.md; OCI distribution-spec, "Pulling manifests".
"""

from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

BLOB: Final = "sha256~"
MANIFEST: Final = "manifest~"
_ARCHES: Final = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i686": "386",
    "riscv64": "riscv64",
    "armv7l": "arm/v7",
}


def purl(name: str, version: str | None) -> Purl:
    """`team/app` and `1.0` -> `pkg:docker/team/app@1.0`.

    Raises:
        Refusal: `bad-request`.
    """
    namespace, _, last = name.rpartition("/")
    try:
        if not version:
            raise Malformed("an image is asked for with its tag")
        return purls.parse(str(Purl("docker", namespace, last, version)))
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"{name[:80]!a} with the tag {str(version)[:40]!a} is no image: {error}",
            who="your request",
            do="write the name in lower case and the tag after it, as in team/app@1.0",
        ) from error


def coordinates(image: Purl) -> dict[str, str]:
    found = {"name": image.name, "version": image.version}
    return found | ({"namespace": image.namespace} if image.namespace else {})


def native(arch: str) -> str:
    """The platform of a machine, `uname -m` in the words of images."""
    return f"linux/{_ARCHES.get(arch, arch)}"


def inner(file: str) -> str:
    """What a source is called inside: its kind is all that matters there."""
    for ending in (".tar.gz", ".tgz", ".tar", ".zip"):
        if file.endswith(ending):
            return f"source{ending}"
    return "source.tar.gz"
