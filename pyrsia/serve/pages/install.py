"""How each client installs a package from this node: the commands that a package's page shows. Pure."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from pyrsia.wire.purl import Purl


@dataclass(frozen=True, slots=True)
class Install:
    """What one client's user types."""

    client: str
    commands: str


def ways(purl: Purl, version: str, url: str) -> tuple[Install, ...]:
    """The ways to install `version` of a package, the client's own names in them.

    Args:
        purl: versionless; of a node's own name too.
        url: where the client reaches the node, without a slash at its end.
    """
    package, prefix = purl.package, f"{purl.owner}/" if purl.owner else ""
    match package.type:
        case "pypi":
            index = f"{url}/pypi/{prefix}simple/"
            named = f"{package.name}=={version}"
            return (
                Install("pip", f"pip install --index-url {index} {named}"),
                Install("uv", f"uv pip install --default-index {index} {named}"),
            )
        case "maven":
            return (
                Install("Maven", _maven(package, version, f"{url}/maven2/{prefix}")),
                Install(
                    "Gradle",
                    f'repositories {{ maven {{ url = uri("{url}/maven2/{prefix}") }} }}\n'
                    f'dependencies {{ implementation("{package.namespace}:{package.name}:{version}") }}',
                ),
            )
        case "conan":
            return (
                Install(
                    "Conan",
                    f"conan remote add pyrsia {url}/conan/{prefix}".rstrip("/")
                    + f"\nconan install --requires={_reference(package, version)} -r pyrsia",
                ),
            )
        case "docker":
            return _images(f"{urlsplit(url).netloc}/{prefix}{_path(package)}", version, url)
        case _:
            return ()


def _maven(package: Purl, version: str, repository: str) -> str:
    return (
        f"<!-- from {repository} -->\n<dependency>\n  <groupId>{package.namespace}</groupId>\n"
        f"  <artifactId>{package.name}</artifactId>\n  <version>{version}</version>\n</dependency>"
    )


def _images(name: str, version: str, url: str) -> tuple[Install, ...]:
    image = f"{name}@{version}" if version.startswith("sha256:") else f"{name}:{version}"
    plain = " --tls-verify=false" if url.startswith("http://") else ""
    unsafe = " --src-tls-verify=false" if plain else ""
    http = " --plain-http" if plain else ""
    return (
        Install("Docker", f"docker pull {image}"),
        Install("Podman", f"podman pull{plain} {image}"),
        Install("containerd", f"ctr images pull{http} {image}"),
        Install("skopeo", f"skopeo copy{unsafe} docker://{image} oci:{name.rpartition('/')[2]}"),
    )


def _reference(package: Purl, version: str) -> str:
    """`user/channel/name` of a purl is `name/version@user/channel` to Conan."""
    return f"{package.name}/{version}" + (f"@{package.namespace}" if package.namespace else "")


def _path(package: Purl) -> str:
    return f"{package.namespace}/{package.name}" if package.namespace else package.name
