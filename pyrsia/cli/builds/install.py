"""In whose words a built package is installed: the command of its ecosystem's own client, whole, to be copied.

Source: docs/builds.md; docs/http.md (the addresses).
"""

from collections.abc import Iterator
from typing import Any

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls


def address(node: Client) -> str:
    """Where the node that was asked serves packages: as it was asked, else what it says of itself; "" for nowhere."""
    if node.target.startswith(("http://", "https://")):
        return node.target.rstrip("/")
    try:
        return str(shaped(node.get("/api/v1/status"), answers.Status)["http"])
    except Refusal:
        return ""


def words(build: dict[str, Any], at: str) -> Iterator[str]:
    """The lines for what `build` published; none for what has no file, or no client that could be named.

    Args:
        at: `address`.
    """
    try:
        purl = purls.parse(build["purl"])
    except Malformed:
        return
    if not build["file"] or not at or not purl.version:
        return
    own, package = f"{purl.owner}/" if purl.owner else "", purl.package
    match package.type:
        case "pypi":
            yield f"pip install --index-url {at}/pypi/{own}simple/ {package.name}=={package.version}"
        case "maven":
            artifact = f"{package.namespace}:{package.name}:{package.version}"
            yield f"mvn dependency:get -Dartifact={artifact} -DremoteRepositories={at}/maven2/{own}"
        case "conan":
            remote = f"pyrsia-{purl.owner[:8]}" if own else "pyrsia"
            at_user = f"@{package.namespace}" if package.namespace else ""
            yield f"conan remote add {remote} {at}/conan{'/' if own else ''}{purl.owner}"
            yield f"conan install --requires={package.name}/{package.version}{at_user} --build=never -r {remote}"
        case "docker":
            place = at.partition("://")[2]
            path = f"{package.namespace}/{package.name}" if package.namespace else package.name
            mark = "@" if package.version.startswith("sha256:") else ":"
            image = f"{place}/{own}{path}{mark}{package.version}"
            yield f"docker pull {image}"
            yield f"skopeo copy --src-tls-verify=false docker://{image} oci:{package.name}"
